/**
 * Steps 5 to 8 of `start`, with the lock in hand: puts the parts of a run together, each before those that need it, lets the loop
 * begin, and tells how it ended. What happens in between is decided in supervisor/table.ts and done in run.ts.
 */
import { randomBytes } from 'node:crypto';
import { EXIT } from '../errors.ts';
import { watchGateway } from '../gateway/events.ts';
import type { Lease } from '../lease/lease.ts';
import { lockKey } from '../lock/lock.ts';
import { duration, howItEnded } from '../output/words.ts';
import { createProver } from '../strays/prover.ts';
import type { BotApi } from '../telegram/bot-api.ts';
import { type ApiReach, createApiReach } from '../telegram/reach.ts';
import type { GivenGateway } from './ahead.ts';
import { sayEnd, whatEnded } from './announce.ts';
import type { Taken } from './hold.ts';
import { forgetEnd, rememberEnd, rememberStart } from './memory.ts';
import { openRecorder } from './recorder.ts';
import { createReload, type Reload } from './reload.ts';
import { createRun, type Run } from './run.ts';
import { showRun } from './serve.ts';
import { Stopped } from './signals.ts';
import type { Startup } from './startup.ts';
import { createSweeper } from './sweep.ts';
import { type Ending, workerCode } from './table.ts';
import { untilReady } from './until-ready.ts';
import { watch } from './watch.ts';
import { createWebhookWatch } from './webhook-watch.ts';

/** Runs it until it ends; the exit code. `release` closes what was opened since the lock was taken, and lets go of that. */
export async function supervise(startup: Startup & Taken, release: () => Promise<void>): Promise<number> {
  const run = createRun(startup);
  const recorder = openRecorder(run.status, keepsMemory(startup) ? startup.botDir : null, startup.report);
  run.bus.tick.add(recorder.tick);
  startup.hold.add(recorder);
  const { config, link, output, report, service, teardown, loop, botDir } = run;
  const lease = await openLease(run);
  const reach = openReach(run);
  const guarding = run.api && reach && openGuarding(run, run.api, reach, lease !== null);
  const gateway = await openGateway(run, reach, lease);
  const watching = guarding && watch(run, guarding, gateway);
  teardown.add(() => watching?.stop());
  run.status.onNote(output.changes.touch);
  run.status.onNote(() => {
    const { headed } = loop.state;
    if (headed?.to === 'exit') service?.stopping(headed);
  });
  const alertModule = await startup.alertModule;
  run.begin({ gateway, lease, guarding, reach });
  const keep = () => remember(startup);
  keep();
  // A newcomer that failed has written down its own start.
  startup.hold.add({ open: keep });
  const isStray = (reason: string) => guarding?.sweeper.hasSaid(reason) ?? false;
  const alerts = config.alerts
    ? alertModule?.openAlerts({
        ...{ alerts: config.alerts, apiRoot: config.apiRoot, isStray },
        ...{ report, status: run.status, changes: output.changes, running: run, botDir },
        token: config.token === null ? null : () => config.token as string,
        summary: recorder.summary,
        secrets: [config.token, gateway?.token()].filter((it) => typeof it === 'string'),
      })
    : null;
  const reload = createReload(run, keep);
  answerAsks(run, reload);
  const served = await showRun(run, { lease, gateway, watching, recorder, reload });
  teardown.add(() => served?.close());
  const ready = untilReady(run, link);

  const ended = await run.ended;
  ready.end();
  const ending = { ...ended, code: ready.code(ended) };
  const end = lastEnd(run, ending, ending.code !== ended.code);
  if (keepsMemory(startup) && ending.code !== EXIT.ok) rememberEnd(botDir, end);
  await release();
  sayEnd(report, end, ended.reason, loop.state.spawn, isStray(ending.reason));
  await served?.tellEnd(whatEnded(run.stopped()));
  startup.asks.answeredBy({ stop: () => alerts?.cut(), restart() {}, forward() {} });
  await alerts?.finish(ended);
  await link?.end(ending.reason);
  return ending.code;
}

async function openLease({ config, report, teardown, onLease, status }: Run): Promise<Lease | null> {
  const { lease: asked, botId, token, takeover, noWait } = config;
  if (!asked || botId === null || token === null) return null;
  const { openLease: open } = await import('../lease/lease.ts');
  const lockName = lockKey(token).names[0]!;
  const lease = await open(asked, botId, lockName, {
    ...{ takeover, noWait, report },
    onEvent: onLease,
  });
  // One that the end of the run has not given back runs out by itself: after a bug nobody knows what lives.
  teardown.add(() => lease.end(false));
  status.sources.lease = lease;
  return lease;
}

/** Null in deploy mode, where the Bot API is not asked. */
function openReach({ api, config, report, teardown, status, bus }: Run): ApiReach | null {
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

function openGuarding(run: Run, api: BotApi, reach: ApiReach, leased: boolean) {
  const { config, report, eyes, status, bus, tree, loop, standbys } = run;
  const prover = createProver({
    ...{ api, apiRoot: config.apiRoot, processes: eyes.processes },
    ours() {
      const worker = run.worker();
      return [...standbys, ...(worker ? tree.list(worker.pid) : [])].flatMap(({ pid }) => pid ?? []);
    },
  });
  // However the end was brought about: a sweep that went on would meet the next supervisor's worker as a stray.
  const halt = new AbortController();
  run.status.onNote(() => loop.state.headed?.to === 'exit' && halt.abort(new Stopped()));
  const sweeper = createSweeper({
    ...{ finder: eyes.finder, prover, report, dryRun: false, leased },
    stopTimeoutMs: config.stopTimeoutMs,
    silencesOthers: config.takeover,
    onLate: bus.reacted.tell,
    worker: run.worker,
    former: tree.former,
    mayHaveLeft: tree.checkLeft,
    note: status.note,
    signal: halt.signal,
  });
  return { prover, sweeper, webhook: createWebhookWatch(run, api, reach) };
}

/** Null: the worker gets the API root itself. */
async function openGateway(
  run: Run,
  reach: ApiReach | null,
  lease: Lease | null,
): Promise<GivenGateway | null> {
  const { config, command, gatewayModule, report, output, sandboxText, status, bus, loop, tree } = run;
  if (!gatewayModule || !reach || config.token === null) return null;
  const { createGateway } = await gatewayModule;
  const { apiRoot, token, allowSetWebhook, gatewayPort } = config;
  // In the shape of a token, of this run only.
  const sealed = () => `${config.botId ?? 0}:${randomBytes(27).toString('base64url').slice(0, 35)}`;
  const workerToken = config.sealed ? sealed() : token;
  const watch = watchGateway({
    ...{ report, status, config, reach, bus, send: loop.send },
    sayUpdatesEveryMs: sandboxText === null ? 60_000 : 0,
    pollOpenMs: () => port.pollOpenMs(),
  });
  const env = { ...config.envFileVars, ...process.env };
  const { intercept: mode, cwd } = config;
  const intercept =
    mode === 'off'
      ? null
      : (await import('../intercept/intercept.ts')).openIntercept({ mode, command, env, cwd, report });
  run.teardown.add(() => intercept?.close());
  const port = createGateway({
    ...{ apiRoot, token, workerToken, port: gatewayPort, allowSetWebhook },
    intercept: intercept && { ...intercept.door, env, foreign: !config.sandbox },
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
  bus.tick.add(port.looked);
  bus.webhookCleared.add(port.cleared);
  const used = () => (config.sealed ? workerToken : config.token) as string;
  return { port, watch, token: used, intercept };
}

/** Signals, and the program that it belongs to, speak to the loop from now on. */
function answerAsks({ asks, link, report, loop, forward }: Run, reload: Reload): void {
  // Ctrl-C reaches the program and us, and what it does then may be seen before our own signal: together they are one ask to stop.
  let isStoppedByOwner = false;
  asks.answeredBy({
    stop(reason) {
      if (!isStoppedByOwner) loop.send({ kind: 'ask-stop', reason });
      isStoppedByOwner = false;
    },
    restart(reason) {
      reload().then(
        () => loop.send({ kind: 'ask-restart', reason }),
        (error: Error) => report.line('config', `not restarted: ${error.message}`, 'error'),
      );
    },
    forward,
  });
  if (link?.isDetached) return;
  link?.onStop((reason) => {
    // A second ask to stop would mean: at once.
    if (loop.state.headed?.to === 'exit') return;
    loop.send({ kind: 'ask-stop', reason });
    isStoppedByOwner = true;
  });
}

/** The sandbox's bot is gone with it; without polling there is no bot. */
function keepsMemory({ config, hasFolder }: Startup): boolean {
  return config.polling && !config.sandbox && hasFolder;
}

const LINES_KEPT = 3;

/** For a `status` that finds no supervisor. */
function lastEnd({ status, loop, lastLines, output }: Run, ending: Ending, isGivenUp: boolean) {
  const { crashLoop, state } = status.record;
  const { headed, lastExit } = state;
  const last = lastLines().slice(-LINES_KEPT);
  const exits = crashLoop && `crash loop: ${crashLoop.exits} exits within ${duration(crashLoop.periodMs)}`;
  const reason = exits && lastExit ? `${exits}, the last ${howItEnded(lastExit)}` : ending.reason;
  const isItsCode = ending.code !== EXIT.ok && ending.code === (lastExit && workerCode(lastExit));
  const isOfWorker = isGivenUp || crashLoop !== null || isItsCode;
  return {
    ...(headed?.to === 'exit' ? headed : {}),
    ...{ code: ending.code, reason, log: output.logFacts()?.path ?? null },
    lines: isOfWorker && loop.state.spawn > 0 ? (last.length > 0 ? last : ['(it printed nothing)']) : [],
  };
}

/** For the next `reset`. */
function remember(startup: Startup): void {
  if (!keepsMemory(startup)) return;
  const { config, flags, link, report, botDir, command, status } = startup;
  const username = status.record.bot?.username ?? null;
  forgetEnd(botDir);
  try {
    const again = link?.isDetached ? { ...flags, detach: true } : flags;
    rememberStart(botDir, { command, cwd: config.cwd, flags: again, username, at: new Date().toISOString() });
  } catch (error) {
    report.line('config', `\`reset\` will not know this command: ${(error as Error).message}`, 'warn');
  }
}
