/**
 * The only place where the table's effects happen: the real edges of the loop, and the worker that lives. What comes before is in
 * start.ts, how the parts of a run are put together in supervise.ts, and its orders in serve.ts.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { EXIT } from '../errors.ts';
import { LOOK_EVERY_MS } from '../gateway/theft.ts';
import type { LeaseEvent } from '../lease/lease.ts';
import { oomKills } from '../machine/procfs.ts';
import { createBus } from '../output/listeners.ts';
import type { OutputName, WorkerOutput } from '../output/report.ts';
import { duration, howItEnded, ON_REQUEST, size, words } from '../output/words.ts';
import { type Ahead, createAhead, type Parts } from './ahead.ts';
import { createGuard } from './guard.ts';
import type { Taken } from './hold.ts';
import { createLoop, type WorkerEnd } from './loop.ts';
import type { Startup } from './startup.ts';
import type { Ending, Policy, Saying } from './table.ts';
import type { WorkerExit, WorkerProcess } from './worker.ts';
import { workerEnv } from './worker.ts';
import {
  backgroundQuestion,
  type ConflictKind,
  conflictIn,
  inputWords,
  takenPort,
  UNAUTHORIZED,
  whoHasPort,
} from './worker-lines.ts';
import { createWorkerTree } from './worker-tree.ts';

/** A worker that lived this long counts as good where its polls can't be seen. */
const GOOD_AFTER_MS = 5_000;
/** What the next worker needs is made this long after a spawn: well before a run can count as good and its death be answered at once. */
const NEXT_AFTER_MS = 350;
/** What is left in the pipes of a dead worker gets this long to come out. */
const DRAIN_MS = 1_000;
/** How long the last words of a worker that ended by itself are waited for. */
const LAST_WORDS_MS = 5;
const WHOLE_LINE_MS = 50;
/** A worker that ends with 0 this soon, without a poll, may have gone to the background. */
const AT_ONCE_MS = 10_000;
/** A worker that outgrows --max-memory right after its start is not replaced all the time. */
const OUTGROWN_MS = 60_000;
/** Of this many workers, two each. */
const OUTPUTS_MAX = 8;

export type Run = ReturnType<typeof createRun>;

interface Worker {
  readonly process: WorkerProcess;
  readonly spawn: number;
  /** Resolves when the table has heard that its leader has ended. */
  readonly heard: Promise<void>;
}

/** Makes the loop with its edges; nothing happens before `begin`. */
export function createRun(startup: Startup & Taken) {
  const { config, environment, nextWorker, output, report, hold, status } = startup;
  const id = randomBytes(8).toString('hex');
  const of = { run: id, botId: String(config.botId ?? ''), apiRoot: config.polling ? config.apiRoot : null };
  const tree = createWorkerTree(of, startup.eyes);
  const bus = createBus(report);
  const ticks = setInterval(bus.tick.tell, LOOK_EVERY_MS).unref();
  startup.teardown.add(() => clearInterval(ticks));
  let parts: Parts = { gateway: null, lease: null, guarding: null, reach: null };
  const guard = createGuard(tree.offspring);
  bus.tick.add(guard.look);
  let worker: Worker | null = null;
  let oomKillsBefore: number | null = null;
  const explained = new Set<string>();
  /** The output of the last workers, and of the very last one. */
  const outputs: WorkerOutput[] = [];
  let lastOutput: readonly WorkerOutput[] = [];
  let lastConflict: ConflictKind | null = null;
  let killing = new AbortController();
  let stopped: readonly number[] = [];
  const finished = deferred<Ending>();

  const readPolicy = (): Policy => ({
    restart: config.restart,
    backoffMinMs: config.backoff.minMs,
    backoffMaxMs: config.backoff.maxMs,
    maxRestarts: config.maxRestarts.count,
    maxRestartsPeriodMs: config.maxRestarts.periodMs,
    goodAfterMs: config.gateway ? Number.POSITIVE_INFINITY : GOOD_AFTER_MS,
    readyWhenGood: !config.polling,
    lease: config.lease !== null && config.token !== null,
    wait: config.wait,
  });
  const policy = readPolicy();

  const stopOptions = () => ({ stopTimeoutMs: config.stopTimeoutMs, now: killing.signal });
  let ahead: Ahead;

  function spawn(number: number, exited: (end: WorkerEnd) => void): number | null {
    const { gateway, lease } = parts;
    const apiRoot = gateway ? gateway.port.next(config.token ?? undefined) : config.apiRoot;
    const token = gateway ? gateway.token() : config.token;
    const env = workerEnv(config, environment, id, number, { apiRoot, token, epoch: lease?.epoch() ?? null });
    if (gateway?.intercept) Object.assign(env, gateway.intercept.variables(Number(new URL(apiRoot).port)));
    if (gateway && number === 1) {
      const text = gateway.intercept
        ? `open at ${apiRoot}: the worker's calls to api.telegram.org come through it, as does what uses TELEGRAM_API_ROOT`
        : `open at ${apiRoot}: the worker's TELEGRAM_API_ROOT, and its only door to getUpdates`;
      report.line('gateway', text, 'good');
    }
    const heard = deferred<void>();
    lastOutput = [];
    const started = nextWorker.spawn(env, (exit, problem) => {
      workerEnded(exit, problem)
        .then(exited)
        // Only now: a tree stop that waits for this must not be answered before the table knows of the exit.
        .then(heard.resolve)
        .catch(broken);
    });
    // That takes processes too: not beside the first steps of the worker, which should have the machine to itself.
    setTimeout(() => worker && ahead.prepareNext(), NEXT_AFTER_MS).unref();
    if (!started) return null;
    const { pid } = started;
    worker = { process: started, spawn: number, heard: heard.promise };
    oomKillsBefore = oomKills();
    tree.led(pid);
    guard.watch(pid);
    gateway?.port.spawned(pid);
    gateway?.watch.spawned();
    lastOutput = [pump(started.stdout, 'out'), pump(started.stderr, 'err')];
    outputs.push(...lastOutput);
    outputs.splice(0, outputs.length - OUTPUTS_MAX);
    const which = number > 1 ? ` (worker ${number} of this run)` : '';
    report.line('worker', `started, pid ${pid}${which}`, 'info', { pid, spawn: number });
    return pid;
  }

  async function workerEnded(exit: WorkerExit, problem: string | null): Promise<WorkerEnd> {
    guard.watch(null);
    worker = null;
    parts.gateway?.watch.ended();
    const isOom = !loop.state.headed && (oomKills() ?? 0) > (oomKillsBefore ?? Number.POSITIVE_INFINITY);
    const how = `${howItEnded(exit)}${isOom ? ', out of memory' : ''}`;
    status.note({ kind: 'worker-ended', how: loop.state.headed ? ON_REQUEST : how });
    if (isOom) {
      const hint =
        'give it more (docker --memory, MemoryMax= of a unit), or start with a --max-memory below that';
      const text = 'out of memory: the kernel has killed a process of this container or unit';
      report.line('worker', text, 'error', { hint });
    }
    if (problem) report.line('worker', `could not be started: ${problem}`, 'error');
    // A worker that ended by itself may have said why, so its last lines are waited for; one that a signal ended is replaced at once.
    if (exit.signal === null)
      await Promise.race([Promise.all(lastOutput.map((it) => it.done)), pause(LAST_WORDS_MS)]);
    const texts = lastOutput.flatMap(({ texts }) => texts());
    lastConflict = texts.reduce<ConflictKind | null>((found, line) => conflictIn(line) ?? found, null);
    const { good, headed } = loop.state;
    if (!good && !headed) setImmediate(explain, exit, texts);
    const apiInDoubt = problem === null && (parts.reach?.inDoubt() ?? false);
    return { ...exit, conflict: lastConflict !== null, apiInDoubt, random: Math.random() };
  }

  /** Says what stands in the way of a worker that has not polled, once, and after the line that it has ended. */
  function explain({ code }: WorkerExit, texts: readonly string[]): void {
    const { command } = startup;
    const sayOnce = (text: string | null) => {
      if (text === null || explained.has(text)) return;
      explained.add(text);
      report.line('worker', text, 'warn');
    };
    const port = takenPort(texts, command);
    if (port !== null) whoHasPort(port, startup.eyes.processes).then(sayOnce, () => {});
    sayOnce(inputWords(texts, config.stdin));
    if (code === 0 && status.agoMs('worker-start') < AT_ONCE_MS) sayOnce(backgroundQuestion(command));
  }

  function pump(source: WorkerProcess['stdout'], from: OutputName) {
    const tokens = [config.token, parts.gateway?.token()].filter((it) => typeof it === 'string');
    return output.pump(from, { source, tokens, onLines: noticeTrouble });
  }

  function noticeTrouble(text: string): void {
    const { guarding } = parts;
    if (config.sealed && UNAUTHORIZED.test(text)) parts.gateway?.watch.unauthorized();
    const kind = conflictIn(text);
    if (!kind || !guarding) return;
    const isFirst = status.record.last['named-conflict'] === undefined;
    status.note({ kind: kind === 'webhook' ? 'webhook' : 'named-conflict' });
    if (kind === 'webhook') return void guarding.webhook.again(loop.abandoned);
    bus.conflict.tell(true);
    if (!isFirst) return;
    const told = 'the worker names a 409 conflict: another poller is alive; looking for it on this machine';
    // Not into the middle of the worker's own line: Python prints a text and its end apart.
    setTimeout(() => report.line('conflict', told, 'warn'), WHOLE_LINE_MS).unref();
  }

  async function stopTree(done: (survivors: number) => void): Promise<void> {
    killing = new AbortController();
    const present = worker;
    parts.gateway?.port.release();
    const result = await tree.stop(present?.process.pid ?? null, stopOptions());
    stopped = result.targets.map(({ pid }) => pid);
    // The table hears of the leader's end first; an unkillable one must not keep it waiting for ever.
    if (present && result.survivors.length === 0) await present.heard;
    done(result.survivors.length);
  }

  function say(saying: Saying): void {
    const isSaid =
      (saying.what === 'stopping' || saying.what === 'standing-by') &&
      parts.guarding?.sweeper.hasSaid(saying.reason);
    const [tag, text, level] = words(isSaid ? { ...saying, reason: 'as said above' } : saying);
    const hurry =
      saying.what === 'stopping' && worker
        ? `; up to ${duration(config.stopTimeoutMs)}, a second signal kills at once`
        : '';
    report.line(tag, text + hurry, level, { ...saying });
    if (saying.what !== 'crash-loop') return;
    status.note({ kind: 'crash-loop', exits: saying.exits, periodMs: saying.periodMs });
    sayLastLines();
  }

  async function seek(won: () => void): Promise<void> {
    const { abandoned } = loop;
    if (!hold.isHeld()) {
      const newcomer = await hold.takeBack(abandoned).catch((error) => {
        if (!abandoned.aborted) throw error;
      });
      if (abandoned.aborted) return;
      const { pid } = newcomer?.supervisor ?? {};
      if (newcomer)
        return loop.send({ kind: 'ask-stop', reason: `handed over to pid ${pid}, which has polled` });
    }
    // Ahead of the moment in which every millisecond is one without a poller. What goes wrong shows again then.
    ahead.prepare().catch(() => {});
    if (loop.state.obstacle) {
      await ahead.outlast(loop.state.obstacle, abandoned);
      if (abandoned.aborted) return;
      status.note({ kind: 'rival', rival: { here: null, suspect: null, elsewhere: null } });
    }
    if (parts.lease) parts.lease.seek(won);
    else won();
  }

  const lastLines = () => lastOutput.flatMap(({ texts }) => texts().slice(-20)).slice(-20);

  let saidLastLines = false;
  function sayLastLines(): void {
    if (saidLastLines) return;
    saidLastLines = true;
    const lines = lastLines();
    for (const line of lines) report.line('worker', `| ${line}`);
    if (lines.length === 0) report.line('worker', '| (it printed nothing)');
  }

  async function exit(code: number, reason: string, clean: boolean): Promise<void> {
    await Promise.all(outputs.map((it) => it.close(DRAIN_MS)));
    await nextWorker.discard();
    parts.gateway?.watch.stop();
    parts.gateway?.port.close();
    await parts.lease?.end(clean);
    guard.release();
    finished.resolve({ code, reason });
  }

  const loop = createLoop(
    policy,
    {
      now: () => performance.now(),
      seek: (won) => void seek(won).catch(broken),
      release() {
        parts.lease?.release();
        hold.handOver();
      },
      sweep: (first, abandoned, done) => ahead.sweep(first, abandoned, done),
      probe(abandoned, done) {
        const answered = parts.reach?.whenBack(abandoned) ?? Promise.resolve(false);
        answered.then(done, (error) => abandoned.aborted || broken(error));
      },
      spawn,
      stopTree: (done) => void stopTree(done).catch(broken),
      killTree: () => killing.abort(),
      say,
      timer(atMs, due) {
        // Never: where polls can be seen, only a poll makes a run good.
        if (atMs === Number.POSITIVE_INFINITY) return () => {};
        const timer = setTimeout(due, Math.max(0, atMs - performance.now()));
        return () => clearTimeout(timer);
      },
      exit: (code, reason, clean) => void exit(code, reason, clean),
      broken,
    },
    (state) => status.note({ kind: 'step', state }),
  );

  const usage = () => tree.usage(worker?.process.pid ?? null);
  status.sources.usage = usage;
  let outgrownMs = Number.NEGATIVE_INFINITY;
  bus.tick.add(() => {
    const { memoryBytes } = usage();
    const most = config.maxMemory;
    const mayGo = ['starting', 'polling'].includes(loop.state.phase);
    if (most === null || memoryBytes === null || memoryBytes <= most || !mayGo) return;
    if (performance.now() - outgrownMs < OUTGROWN_MS) return;
    outgrownMs = performance.now();
    loop.send({
      kind: 'ask-restart',
      reason: `it has ${size(memoryBytes)} of memory, more than ${size(most)} (--max-memory)`,
    });
  });

  let isBroken = false;
  /** A bug: no more decisions. The worker must not go on unsupervised, and nobody may follow it. */
  function broken(error: unknown): void {
    report.line('bug', `${error instanceof Error ? (error.stack ?? error.message) : String(error)}`, 'error');
    if (isBroken) return;
    isBroken = true;
    for (const line of loop?.history() ?? []) report.line('bug', line);
    report.line('bug', 'this is a bug in singlepoll; please report the lines above', 'error');
    loop?.halt();
    endBroken()
      // Whatever could not be ended in order: the guard ends it with us.
      .catch(() => worker?.process.signal('SIGKILL'))
      .finally(() => finished.resolve({ code: EXIT.bug, reason: 'a bug' }));
  }

  async function endBroken(): Promise<void> {
    killing.abort();
    parts.gateway?.watch.stop();
    parts.gateway?.port.close();
    const present = worker?.process.pid ?? null;
    const { survivors } = await tree.stop(present, { stopTimeoutMs: 1_000, now: killing.signal });
    if (survivors.length === 0) guard.release();
    await nextWorker.discard();
  }

  process.on('uncaughtException', broken);
  process.on('unhandledRejection', broken);

  return {
    ...startup,
    ...{ tree, bus, loop, lastLines, sayLastLines },
    /** The worker that lives, as strays are told apart from it. */
    worker: () => worker && { pid: worker.process.pid, run: id, spawn: String(worker.spawn) },
    forward(signal: NodeJS.Signals): void {
      if (worker?.process.signal(signal))
        report.line('signal', `${signal} passed on to worker ${worker.process.pid}`);
    },
    /** What the last stop of a tree ended, the leader first. */
    stopped: () => stopped,
    onLease(event: LeaseEvent): void {
      if (event.kind === 'unleased' && event.lost) {
        parts.gateway?.port.shut();
        status.note({ kind: 'lease-lost', reason: event.reason });
      }
      if (event.kind === 'taken') {
        // The other machine's worker has confirmed updates meanwhile, so ids that are missing now are no theft.
        parts.gateway?.port.dropped();
        status.note({ kind: 'lease-taken', from: event.from });
      } else if (event.kind === 'kill-due') killing.abort();
      else loop.send(event);
    },
    readPolicy: () => void Object.assign(policy, readPolicy()),
    /** The first step. Called once, when all parts are there. */
    begin(made: Parts): void {
      parts = made;
      ahead = createAhead(made, {
        ...{ gatewayPort: config.gatewayPort, nextWorker, tree, stopOptions, broken },
        isFirst: () => loop.state.spawn === 0 && loop.state.obstacle === null,
        wasWebhook: () => lastConflict === 'webhook',
      });
      // With the lock its port goes, too.
      if (made.gateway) hold.add({ close: made.gateway.port.leave });
      loop.send({ kind: 'booted' });
    },
    /** Resolves once the worker's whole tree is gone and its output has come out. */
    ended: finished.promise,
  };
}

export function deferred<T>() {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
