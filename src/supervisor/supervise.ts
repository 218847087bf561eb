/**
 * Steps 5 to 8 of `start`, with the lock in hand: puts the parts of a run together, each before those that need it, lets the loop
 * begin, and tells how it ended. What happens in between is decided in supervisor/table.ts and done in run.ts.
 */
import { randomBytes } from 'node:crypto';
import { EXIT } from '../errors.ts';
import { incumbentAfterMs, watchGateway } from '../gateway/events.ts';
import type { Lease } from '../lease/lease.ts';
import { lockKey } from '../lock/lock.ts';
import { createBus } from '../output/listeners.ts';
import { plain } from '../output/plain.ts';
import type { Me } from '../telegram/bot-api.ts';
import { type ApiReach, createApiReach } from '../telegram/reach.ts';
import type { GivenGateway } from './ahead.ts';
import { sayEnd, whatEnded } from './announce.ts';
import { finderFor } from './finder.ts';
import { forgetEnd, rememberEnd, rememberStart } from './memory.ts';
import { createRun, type Running } from './run.ts';
import { showRun } from './serve.ts';
import { OWNER_GONE, Stopped } from './signals.ts';
import type { Startup } from './startup.ts';
import { createStatus } from './status-document.ts';
import { createSweeper } from './sweep.ts';
import { CRASH_LOOP } from './table.ts';
import { untilReady } from './until-ready.ts';
import { watch } from './watch.ts';
import { createWebhookWatch } from './webhook-watch.ts';
import { createWorkerTree } from './worker-tree.ts';

/** The 409 comes when somebody begins to set a webhook: once it is set, it can be named. */
const WEBHOOK_SETTLES_MS = 300;

/** What the parts of one run share. */
type Shared = ReturnType<typeof share>;

function share(startup: Startup, me: Me | null) {
  const { config, report, botDir, eyes } = startup;
  const status = createStatus({ ...startup, me });
  status.sources.log = startup.output.logFacts;
  const run = randomBytes(8).toString('hex');
  const apiRoot = config.polling ? config.apiRoot : null;
  const tree = createWorkerTree({ run, botId: String(config.botId ?? ''), apiRoot }, eyes);
  const bus = createBus(report);
  const running = createRun({ ...startup, status, bus, run, tree });
  return { ...startup, botDir, status, tree, bus, running, loop: running.loop };
}

/** Runs it until it ends; the exit code. `release` closes what was opened since the lock was taken, and lets go of that. */
export async function supervise(
  startup: Startup,
  me: Me | null,
  release: () => Promise<void>,
): Promise<number> {
  const shared = share(startup, me);
  const { config, link, owner, output, report, service, teardown, running, loop, status } = shared;
  const lease = await openLease(shared);
  const reach = openReach(shared);
  const guarding = reach && openGuarding(shared, reach, lease !== null);
  const gateway = await openGateway(shared, reach, lease);
  const watching = guarding && openWatch(shared, guarding, gateway);
  running.onStep(output.changes.touch);
  running.onStep(() => loop.state.headed?.to === 'exit' && service?.stopping());
  const alertModule = await startup.alertModule;
  running.begin({ gateway, lease, guarding, reach });
  remember(startup, me?.username ?? null);
  const isStray = (reason: string) => guarding?.sweeper.hasSaid(reason) ?? false;
  const alerts = config.alerts
    ? alertModule?.openAlerts({
        ...{ alerts: config.alerts, apiRoot: config.apiRoot, token: config.token, isStray },
        ...{ report, status, changes: output.changes, running, botDir: startup.botDir },
        secrets: [config.token, gateway?.token].filter((it) => typeof it === 'string'),
      })
    : null;
  answerAsks(startup, running);
  const served = await showRun(startup, { running, status, tree: shared.tree, lease, gateway, watching });
  teardown.add(() => served?.close());
  const waits = link ?? owner;
  const ready = waits ? untilReady({ link: waits, running, config, status, report, output }) : null;

  const ended = await running.ended;
  ready?.end();
  const ending = { ...ended, code: ready?.code(ended) ?? ended.code };
  if (keepsMemory(startup) && (ending.code !== EXIT.ok || ending.reason === CRASH_LOOP))
    rememberEnd(startup.botDir, ending);
  await release();
  sayEnd(report, ending, loop.state.spawn, isStray(ending.reason));
  await served?.tellEnd(whatEnded(running.stopped()));
  startup.asks.answeredBy({ stop: () => alerts?.cut(), restart() {}, forward() {} });
  await alerts?.finish(ended);
  await owner?.end(ending.reason);
  return ending.code;
}

/** Null: no lease was asked for. */
async function openLease({ config, report, teardown, running, status }: Shared): Promise<Lease | null> {
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

/** Null in deploy mode: the Bot API is no affair of ours. */
function openReach({ api, config, report, teardown, status, bus }: Shared): ApiReach | null {
  if (!api) return null;
  const reach = createApiReach({
    ...{ api, report },
    consequence: config.gateway
      ? 'polls are retried, the worker sees empty answers'
      : 'what becomes of the polls is up to the worker',
    onProblem: (problem) => status.note({ kind: 'api', problem }),
    onChange: (isOut) => bus.apiReached.tell(!isOut),
  });
  teardown.add(reach.stop);
  return reach;
}

/** What keeps others from polling: the look for strays and the webhook. */
function openGuarding(shared: Shared, reach: ApiReach, leased: boolean) {
  const { config, report, eyes, status, bus, tree, running, loop, connected } = shared;
  const api = shared.api!;
  const prover = shared.prover!;
  shared.worker.has = (pid) => tree.list(running.worker()?.pid ?? null).some((it) => it.pid === pid);
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
  return { prover, sweeper, webhook, connected };
}

/** Null: the worker gets the API root itself. */
async function openGateway(
  { config, gatewayModule, report, output, sandboxText, status, bus, loop, tree }: Shared,
  reach: ApiReach | null,
  lease: Lease | null,
): Promise<GivenGateway | null> {
  if (!gatewayModule || !reach || config.token === null) return null;
  const { createGateway } = await gatewayModule;
  const { apiRoot, token, allowSetWebhook, gatewayPort } = config;
  // In the shape of a token, of this run only.
  const sealed = () => `${config.botId ?? 0}:${randomBytes(27).toString('base64url').slice(0, 35)}`;
  const workerToken = config.sealed ? sealed() : token;
  const watch = watchGateway({
    ...{ report, status, config, sayUpdates: sandboxText !== null, reach },
    pollOpenMs: () => port.pollOpenMs(),
    onPolled: () => loop.send({ kind: 'polled' }),
    onBlocked: (ending) => loop.send({ kind: 'blocked', ending }),
    onDeaf: (reason) => loop.send({ kind: 'ask-restart', reason }),
    onWebhook: bus.webhookSeen.tell,
    onConflict: () => bus.conflict.tell(false),
    onSent: bus.pollSent.tell,
  });
  const port = createGateway({
    ...{ apiRoot, token, workerToken, port: gatewayPort, allowSetWebhook },
    tree: () => tree.list(loop.state.pid).map(({ pid }) => pid),
    learnTree: tree.learn,
    mayPoll: lease ? lease.valid : () => true,
    onNews(news) {
      watch.news(news);
      output.changes.touch();
    },
  });
  status.sources.gateway = {
    latencyMs: watch.latencyMs,
    pollers: port.pollers,
    pollOpenMs: port.pollOpenMs,
  };
  bus.apiReached.add(watch.reached);
  bus.webhookCleared.add(port.cleared);
  return { port, watch, token: workerToken };
}

function openWatch(
  { config, report, teardown, status, bus, tree, running, loop }: Shared,
  guarding: ReturnType<typeof openGuarding>,
  gateway: GivenGateway | null,
) {
  let firstPolledMs = Number.POSITIVE_INFINITY;
  running.onStep(() => {
    if (loop.state.phase === 'polling') firstPolledMs = Math.min(firstPolledMs, performance.now());
  });
  const hasPolledLong = () => performance.now() - firstPolledMs >= incumbentAfterMs(config);
  const watching = watch({
    ...{ running, report, status, tree, bus, ...guarding, config, gateway: gateway !== null },
    isIncumbent: gateway?.watch.isIncumbent ?? hasPolledLong,
  });
  teardown.add(watching.stop);
  return watching;
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
