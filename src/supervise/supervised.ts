/** Steps 5 to 8 of `start`, with the lock held: what they need is put together here, and taken down again in the reverse order. */
import { randomBytes } from 'node:crypto';
import type { StrayEntry } from '../core/status.ts';
import { CRASH_LOOP, type Ending } from '../core/supervisor.ts';
import { EXIT } from '../errors.ts';
import { incumbentAfterMs } from '../gateway/events.ts';
import type { Lease, LeaseEvent } from '../lease/lease.ts';
import { type Lock, lockKey } from '../lock/lock.ts';
import type { Answer } from '../machine/control.ts';
import { findSetpriv } from '../machine/worker.ts';
import { createWorkerTree } from '../machine/worker-tree.ts';
import { plain } from '../output/plain.ts';
import { leaseWords } from '../output/words.ts';
import type { Me } from '../telegram/bot-api.ts';
import { sayEnd, whatEnded } from './announce.ts';
import { createApiReach } from './api-reach.ts';
import { type Facts, newFacts } from './facts.ts';
import { finderFor, proverFor } from './finder.ts';
import { forgetEnd, rememberEnd } from './last-end.ts';
import { rememberStart } from './last-start.ts';
import { type GivenGateway, openGateway } from './open-gateway.ts';
import { type Running, runSupervisor } from './run.ts';
import { showRun } from './shown.ts';
import { type Asks, OWNER_GONE, type Startup, Stopped } from './startup.ts';
import { statusDocument } from './status-document.ts';
import { createSweeper } from './sweep.ts';
import { type UntilReady, untilReady } from './until-ready.ts';
import { type Watch, watch } from './watch.ts';
import { createWebhookWatch } from './webhook-watch.ts';

/** The 409 comes when somebody begins to set a webhook: once it is set, it can be named. */
const WEBHOOK_SETTLES_MS = 300;

export interface Place {
  readonly lock: Lock | null;
  readonly socketPath: string;
  readonly startedAt: string;
}

/** Runs it until it ends; the exit code. Gives the lock back as soon as nothing of the worker is left. */
export async function superviseLocked(
  startup: Startup,
  me: Me | null,
  asks: Asks,
  { lock, socketPath, startedAt }: Place,
): Promise<number> {
  const { config, link, owner, voice, report, changes, recent, rehearse, api, botDir, eyes, http, service } =
    startup;
  let running: Running | undefined;
  let gateway: GivenGateway | null = null;
  const command = config.command?.argv ?? rehearse?.command ?? [];
  const facts = newFacts(config, me, command, startedAt);
  const right = await openLease(startup, (event) => {
    if (event.kind === 'taken') {
      facts.leasesTaken += 1;
      facts.lastHolder = event.from;
      return;
    }
    if (event.kind === 'kill-due') return running?.kill();
    if (event.kind === 'unleased' && event.lost) {
      gateway?.port.shut();
      facts.leasesLost += 1;
      facts.lastLeaseLoss = event.reason;
    }
    running?.loop.send(event);
  });
  facts.log = voice.logFacts;
  const run = randomBytes(8).toString('hex');
  const tree = createWorkerTree(
    { run, botId: String(config.botId ?? ''), apiRoot: config.polling ? config.apiRoot : null },
    eyes,
  );
  const halt = new AbortController();
  const reach =
    config.polling && api
      ? createApiReach({
          api,
          report,
          facts,
          consequence: config.gateway
            ? 'polls are retried, the worker sees empty answers'
            : 'what becomes of the polls is up to the worker',
          onChange: (out) => gateway?.watch.reached(!out),
        })
      : null;
  let watching: Watch | null = null;
  const isWorker = (pid: number) => tree.list(running?.worker()?.pid ?? null).some((it) => it.pid === pid);
  const prover = config.polling && api ? proverFor(config, eyes, api, botDir, isWorker) : null;
  const guarding =
    config.polling && api && prover
      ? {
          prover,
          sweeper: createSweeper({
            finder: finderFor(config, eyes),
            prover,
            report,
            stopTimeoutMs: config.stopTimeoutMs,
            dryRun: false,
            silencesOthers: config.takeover,
            leased: right !== null,
            onLate: () => watching?.reacted(),
            worker: () => running?.worker() ?? null,
            former: () => running?.former() ?? null,
            onSurvey: (strays, uninspectable) => Object.assign(facts, { strays, uninspectable }),
            onStopped: (strays) => {
              facts.straysStopped += strays.length;
              facts.lastStray = strayName(strays);
            },
            signal: halt.signal,
          }),
          webhook: createWebhookWatch({
            api,
            report,
            facts,
            token: config.token as string,
            tokenSource: config.tokenSource ?? 'unknown',
            apiRoot: config.apiRoot,
            keep: config.keepWebhook,
            dropPending: config.dropPending,
            onReached(problem) {
              if (problem === null) reach?.answered();
              else reach?.failed(problem);
              gateway?.watch.reached(problem === null);
            },
            onSetAgain: () => gateway?.port.cleared(),
            onBlocked: (ending) => running?.loop.send({ kind: 'blocked', ending }),
          }),
        }
      : null;
  remember(startup, command, me?.username ?? null);
  const clearAgain = () => {
    if (!running || !guarding) return;
    void guarding.webhook.again(running.loop.abandoned, true).then(() => gateway?.port.cleared());
  };
  if (right) Object.assign(facts, { lease: right.status, leaseProblem: right.problem });
  gateway = await openGateway(startup, facts, rehearse !== null, {
    reach,
    mayPoll: right ? right.valid : () => true,
    tree: () => tree.list(running?.worker()?.pid ?? null).map(({ pid }) => pid),
    learnTree: tree.learn,
    onPolled: () => running?.loop.send({ kind: 'polled' }),
    onBlocked: (ending) => running?.loop.send({ kind: 'blocked', ending }),
    onDeaf: (reason) => running?.loop.send({ kind: 'ask-restart', reason }),
    onWebhook: () => void setTimeout(clearAgain, WEBHOOK_SETTLES_MS),
    onConflict: () => running?.conflict(),
    onSent: () => watching?.sent(),
  });
  const alertModule = await startup.alertModule;
  running = runSupervisor({
    gateway,
    config,
    command,
    report,
    voice,
    facts,
    recent,
    changes,
    run,
    tree,
    guarding,
    reach,
    right,
    setpriv: findSetpriv(),
    folder: botDir,
  });
  const { loop } = running;
  running.onStep(changes.touch);
  // However the end was brought about: a sweep that went on would meet the next supervisor's worker as a stray.
  running.onStep(() => {
    if (loop.state.headed?.to !== 'exit') return;
    halt.abort(new Stopped());
    service?.stopping();
  });
  const { alerts: told, apiRoot, token } = config;
  const alerts =
    told && alertModule
      ? alertModule.openAlerts({
          ...{ alerts: told, apiRoot, token, report, facts, changes, running, botDir },
          secrets: [token, gateway?.token].filter((it) => typeof it === 'string'),
          doc: () => statusDocument(loop.state, facts, [], performance.now()),
          isStray: (reason) => guarding?.sweeper.hasSaid(reason) ?? false,
        })
      : null;
  // Ctrl-C reaches the program and us, and its end may be seen before our own signal: together they are one ask to stop.
  let isStoppedByOwner = false;
  asks.stop = (reason) => {
    if (!isStoppedByOwner) loop.send({ kind: 'ask-stop', reason });
    isStoppedByOwner = false;
  };
  asks.restart = (reason) => loop.send({ kind: 'ask-restart', reason });
  asks.forward = (name) => running.forward(name);
  if (startup.signal.aborted) asks.stop('asked to stop');
  owner?.onGone(() => {
    // A second ask to stop would mean: at once.
    if (loop.state.headed?.to === 'exit') return;
    loop.send({ kind: 'ask-stop', reason: OWNER_GONE });
    isStoppedByOwner = true;
  });

  const question = async (): Promise<Answer> => {
    if (right) return { ok: true, text: leaseText(facts) };
    if (!gateway || !watching || facts.via === 'direct')
      return {
        ok: false,
        error: 'its polls do not pass a gateway, so asking would take the poll from its own worker',
      };
    const text = await watching.question(gateway.port.renewPoll);
    return text === null
      ? { ok: false, error: 'no poll went out, or ss of iproute2 does not work here' }
      : { ok: true, text, ...(facts.rivalElsewhere === null ? {} : { elsewhere: facts.rivalElsewhere }) };
  };
  const served = await showRun(startup, { running, facts, tree, socketPath, question });
  const waits = link ?? owner;
  const start: UntilReady | null = waits
    ? untilReady({ link: waits, running, config, facts, report, voice })
    : null;
  watching = guarding
    ? watch({
        running,
        report,
        facts,
        tree,
        ...guarding,
        heartbeatMs: config.heartbeatMs,
        gateway: gateway !== null,
        onLocalRival: (ending) => giveWay(ending),
      })
    : null;

  let firstPolledAtMs: number | null = null;
  running.onStep(() => {
    if (loop.state.phase === 'polling') firstPolledAtMs ??= performance.now();
  });

  /** A rival of this machine that can't be stopped from here: who was here first goes on, unless told otherwise. */
  function giveWay(ending: Ending): void {
    const sinceMs = firstPolledAtMs === null ? 0 : performance.now() - firstPolledAtMs;
    const isIncumbent = gateway?.watch.isIncumbent() ?? sinceMs >= incumbentAfterMs(config);
    const insists = config.onRival === null ? isIncumbent : config.onRival === 'insist';
    if (!insists) loop.send({ kind: 'blocked', ending });
    else if (!insisted.has(ending.reason)) {
      insisted.add(ending.reason);
      const why = config.onRival === 'insist' ? 'as asked (--on-rival insist)' : 'as it was here first';
      report.line(
        'rival',
        `this run goes on, ${why}: the two poll by turns until the other one is stopped`,
        'warn',
      );
    }
  }
  const insisted = new Set<string>();

  const ended = await running.ended;
  start?.end();
  const ending = { ...ended, code: start?.code(ended) ?? ended.code };
  // After a bug nobody knows what lives: the lease runs out by itself.
  await right?.end(false);
  watching?.stop();
  reach?.stop();
  served?.close();
  // Before the lock: who waits for that may want the same port.
  http?.close();
  if (keepsMemory(startup) && (ending.code !== EXIT.ok || ending.reason === CRASH_LOOP))
    rememberEnd(botDir, ending);
  // Whoever takes the lock next asks only where somebody else is connected: this run has nothing to ask any more.
  api?.close();
  lock?.release();
  sayEnd(report, ending, loop.state.spawn, guarding?.sweeper.hasSaid(ending.reason) ?? false);
  await served?.tellEnd(whatEnded(running.stopped()));
  asks.stop = () => alerts?.cut();
  await alerts?.finish(ended);
  await owner?.end(ending.reason);
  return ending.code;
}

/** Null: no lease was asked for. */
async function openLease(
  { config, report }: Startup,
  onEvent: (event: LeaseEvent) => void,
): Promise<Lease | null> {
  const { lease, botId, token, takeover, noWait } = config;
  if (!lease || botId === null || token === null) return null;
  const { openLease: open } = await import('../lease/lease.ts');
  const lockName = lockKey(String(botId), token).names[0]!;
  return await open(lease.url, botId, lockName, { timing: lease.timing, takeover, noWait, report, onEvent });
}

function strayName([first, ...more]: readonly StrayEntry[]): string | null {
  if (!first) return null;
  const others = more.length > 0 ? ` and ${more.length} more` : '';
  return `pid ${first.pid} (${plain(first.command, 120)})${others}`;
}

/** The lease says who polls, on whichever machine: nobody has to be asked. */
function leaseText(facts: Facts): string {
  const lease = facts.lease();
  return lease ? `the lease tells who polls: ${leaseWords(lease, Date.now())}` : 'the lease is not known yet';
}

/** The sandbox's bot is gone with it; without polling there is no bot. */
function keepsMemory({ config }: Startup): boolean {
  return config.polling && !config.sandbox;
}

function remember(startup: Startup, command: readonly string[], username: string | null): void {
  if (!keepsMemory(startup)) return;
  const { config, flags, link, report, botDir } = startup;
  forgetEnd(botDir);
  try {
    const again = link ? { ...flags, detach: true } : flags;
    rememberStart(botDir, { command, cwd: config.cwd, flags: again, username, at: new Date().toISOString() });
  } catch (error) {
    report.line('config', `\`reset\` will not know this command: ${(error as Error).message}`, 'warn');
  }
}
