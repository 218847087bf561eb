/**
 * Steps 5 to 8 of `start`, with the lock in hand: puts the parts of a run together, each before those that need it, lets the loop
 * begin, and tells how it ended. What happens in between is decided in supervisor/table.ts and done in run.ts.
 */
import { randomBytes } from 'node:crypto';
import { EXIT } from '../errors.ts';
import { incumbentAfterMs } from '../gateway/events.ts';
import type { Lease } from '../lease/lease.ts';
import { lockKey } from '../lock/lock.ts';
import { type Bus, createBus } from '../output/listeners.ts';
import { plain } from '../output/plain.ts';
import { type ApiReach, createApiReach } from '../telegram/api-reach.ts';
import type { BotApi, Me } from '../telegram/bot-api.ts';
import { sayEnd, whatEnded } from './announce.ts';
import { finderFor, proverFor } from './finder.ts';
import { forgetEnd, rememberEnd, rememberStart } from './memory.ts';
import { type GivenGateway, openGateway } from './open-gateway.ts';
import { createRun, type Guarding, type Running } from './run.ts';
import { showRun } from './shown.ts';
import { Stopped } from './signals.ts';
import type { Startup } from './startup.ts';
import { createStatus, type Status } from './status-document.ts';
import { createSweeper } from './sweep.ts';
import { CRASH_LOOP, type Ending } from './table.ts';
import { untilReady } from './until-ready.ts';
import { type Watch, watch } from './watch.ts';
import { createWebhookWatch } from './webhook-watch.ts';
import { createWorkerTree, type WorkerTree } from './worker-tree.ts';

export const OWNER_GONE = 'the program that it belongs to has gone';
/** The 409 comes when somebody begins to set a webhook: once it is set, it can be named. */
const WEBHOOK_SETTLES_MS = 300;

/** What the parts of one run share. */
interface Shared {
  readonly startup: Startup;
  readonly status: Status;
  readonly bus: Bus;
  readonly tree: WorkerTree;
  readonly running: Running;
}

/** Runs it until it ends; the exit code. `release` closes what was opened since the lock was taken, and lets go of that. */
export async function supervise(
  startup: Startup,
  me: Me | null,
  release: () => Promise<void>,
): Promise<number> {
  const { config, link, owner, output, report, api, botDir, command, service, teardown } = startup;
  const { changes } = output;
  const status = createStatus({ config, me, command, startedAt: startup.startedAt });
  status.sources.log = output.logFacts;
  const run = randomBytes(8).toString('hex');
  const apiRoot = config.polling ? config.apiRoot : null;
  const tree = createWorkerTree({ run, botId: String(config.botId ?? ''), apiRoot }, startup.eyes);
  const bus = createBus(report);
  const running = createRun({ ...startup, status, bus, run, tree, folder: botDir });
  const { loop } = running;
  const shared = { startup, status, bus, tree, running };
  const lease = await openLease(shared);
  const reach = api ? openReach(shared, api) : null;
  const guarding = api && reach ? openGuarding(shared, api, reach, lease !== null) : null;
  remember(startup, me?.username ?? null);
  const gateway = await openGateway({
    ...{ startup, status, bus, loop, tree, reach },
    mayPoll: lease ? lease.valid : () => true,
  });
  const watching = guarding ? openWatch(shared, guarding, gateway) : null;
  running.onStep(changes.touch);
  running.onStep(() => loop.state.headed?.to === 'exit' && service?.stopping());
  const alertModule = await startup.alertModule;
  running.begin({ gateway, lease, guarding, reach });
  const alerts = config.alerts
    ? alertModule?.openAlerts({
        ...{ alerts: config.alerts, apiRoot: config.apiRoot, token: config.token },
        ...{ report, status, changes, running, botDir },
        secrets: [config.token, gateway?.token].filter((it) => typeof it === 'string'),
        isStray: (reason) => guarding?.sweeper.hasSaid(reason) ?? false,
      })
    : null;
  answerAsks(startup, running);
  const served = await showRun(startup, {
    ...{ running, status, tree, lease, gateway, watching },
    socketPath: startup.socketPath,
  });
  teardown.add(() => served?.close());
  const waits = link ?? owner;
  const ready = waits ? untilReady({ link: waits, running, config, status, report, output }) : null;

  const ended = await running.ended;
  ready?.end();
  const ending = { ...ended, code: ready?.code(ended) ?? ended.code };
  if (keepsMemory(startup) && (ending.code !== EXIT.ok || ending.reason === CRASH_LOOP))
    rememberEnd(botDir, ending);
  await release();
  sayEnd(report, ending, loop.state.spawn, guarding?.sweeper.hasSaid(ending.reason) ?? false);
  await served?.tellEnd(whatEnded(running.stopped()));
  startup.asks.answeredBy({ stop: () => alerts?.cut(), restart() {}, forward() {} });
  await alerts?.finish(ended);
  await owner?.end(ending.reason);
  return ending.code;
}

/** Null: no lease was asked for. */
async function openLease({ startup, status, running }: Shared): Promise<Lease | null> {
  const { config, report, teardown } = startup;
  const { lease: asked, botId, token, takeover, noWait } = config;
  if (!asked || botId === null || token === null) return null;
  const { openLease: open } = await import('../lease/lease.ts');
  const lockName = lockKey(String(botId), token).names[0]!;
  const lease = await open(asked.url, botId, lockName, {
    ...{ timing: asked.timing, takeover, noWait, report },
    onEvent: running.onLease,
  });
  // One that the end of the run has not given back runs out by itself: after a bug nobody knows what lives.
  teardown.add(() => lease.end(false));
  status.sources.lease = lease;
  return lease;
}

function openReach({ startup, status, bus }: Shared, api: BotApi): ApiReach {
  const { config, report, teardown } = startup;
  const consequence = config.gateway
    ? 'polls are retried, the worker sees empty answers'
    : 'what becomes of the polls is up to the worker';
  const onChange = (isOut: boolean) => bus.apiReached.tell(!isOut);
  const onProblem = (problem: string | null) => status.note({ kind: 'api', problem });
  const reach = createApiReach({ api, report, onProblem, consequence, onChange });
  teardown.add(reach.stop);
  return reach;
}

/** What keeps others from polling: the look for strays and the webhook. */
function openGuarding(
  { startup, status, bus, tree, running }: Shared,
  api: BotApi,
  reach: ApiReach,
  leased: boolean,
): Guarding & { readonly prover: ReturnType<typeof proverFor> } {
  const { config, report, eyes, botDir } = startup;
  const { loop } = running;
  const isWorker = (pid: number) => tree.list(running.worker()?.pid ?? null).some((it) => it.pid === pid);
  const prover = proverFor(config, eyes, api, botDir, isWorker);
  // However the end was brought about: a sweep that went on would meet the next supervisor's worker as a stray.
  const halt = new AbortController();
  running.onStep(() => loop.state.headed?.to === 'exit' && halt.abort(new Stopped()));
  const sweeper = createSweeper({
    ...{ finder: finderFor(config, eyes), prover, report, dryRun: false, leased },
    stopTimeoutMs: config.stopTimeoutMs,
    silencesOthers: config.takeover,
    onLate: bus.reacted.tell,
    worker: running.worker,
    former: running.former,
    onSurvey: (strays) => status.note({ kind: 'strays', strays }),
    onStopped([first, ...more]) {
      const others = more.length > 0 ? ` and ${more.length} more` : '';
      const lastStray = first ? `pid ${first.pid} (${plain(first.command, 120)})${others}` : null;
      status.note({ kind: 'strays-stopped', count: 1 + more.length, lastStray });
    },
    signal: halt.signal,
  });
  const webhook = createWebhookWatch({
    ...{ api, report, status, config },
    onReached(problem) {
      if (problem === null) reach.answered();
      else reach.failed(problem);
      bus.apiReached.tell(problem === null);
    },
    onSetAgain: bus.webhookCleared.tell,
    onBlocked: (ending) => loop.send({ kind: 'blocked', ending }),
  });
  bus.webhookSeen.add(() => {
    const clear = () => void webhook.again(loop.abandoned, true).then(bus.webhookCleared.tell);
    setTimeout(clear, WEBHOOK_SETTLES_MS).unref();
  });
  return { prover, sweeper, webhook };
}

function openWatch(
  { startup, status, bus, tree, running }: Shared,
  guarding: ReturnType<typeof openGuarding>,
  gateway: GivenGateway | null,
): Watch {
  const { config, report, teardown } = startup;
  const { loop } = running;
  const insisted = new Set<string>();
  let firstPolledAtMs: number | null = null;
  running.onStep(() => {
    if (loop.state.phase === 'polling') firstPolledAtMs ??= performance.now();
  });
  const isIncumbent = () =>
    gateway
      ? gateway.watch.isIncumbent()
      : firstPolledAtMs !== null && performance.now() - firstPolledAtMs >= incumbentAfterMs(config);
  /** A rival of this machine that can't be stopped from here: who was here first goes on, unless told otherwise. */
  function giveWay(ending: Ending): void {
    const insists = config.onRival === null ? isIncumbent() : config.onRival === 'insist';
    if (!insists) {
      loop.send({ kind: 'blocked', ending });
      return;
    }
    if (insisted.has(ending.reason)) return;
    insisted.add(ending.reason);
    const why = config.onRival === 'insist' ? 'as asked (--on-rival insist)' : 'as it was here first';
    report.line(
      'rival',
      `this run goes on, ${why}: the two poll by turns until the other one is stopped`,
      'warn',
    );
  }
  const { heartbeatMs } = config;
  const it = watch({
    ...{ running, report, status, tree, bus, ...guarding, heartbeatMs, gateway: gateway !== null },
    giveWay,
  });
  teardown.add(it.stop);
  return it;
}

/** Signals, and the program that it belongs to, speak to the loop from now on. */
function answerAsks({ asks, owner }: Startup, { loop, forward }: Running): void {
  // Ctrl-C reaches the program and us, and its end may be seen before our own signal: together they are one ask to stop.
  let isStoppedByOwner = false;
  asks.answeredBy({
    stop(reason) {
      if (!isStoppedByOwner) loop.send({ kind: 'ask-stop', reason });
      isStoppedByOwner = false;
    },
    restart: (reason) => loop.send({ kind: 'ask-restart', reason }),
    forward,
  });
  owner?.onGone(() => {
    // A second ask to stop would mean: at once.
    if (loop.state.headed?.to === 'exit') return;
    loop.send({ kind: 'ask-stop', reason: OWNER_GONE });
    isStoppedByOwner = true;
  });
}

/** The sandbox's bot is gone with it; without polling there is no bot. */
function keepsMemory({ config }: Startup): boolean {
  return config.polling && !config.sandbox;
}

/** For the next `reset`. */
function remember(startup: Startup, username: string | null): void {
  if (!keepsMemory(startup)) return;
  const { config, flags, link, report, botDir, command } = startup;
  forgetEnd(botDir);
  try {
    const again = link ? { ...flags, detach: true } : flags;
    rememberStart(botDir, { command, cwd: config.cwd, flags: again, username, at: new Date().toISOString() });
  } catch (error) {
    report.line('config', `\`reset\` will not know this command: ${(error as Error).message}`, 'warn');
  }
}
