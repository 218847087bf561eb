/**
 * `start`, step by step: configuration, gate, bot, lock, then the loop (strays, webhook, worker), then everything undone in
 * the reverse order. Each step is a line on stderr. Returns the exit code.
 */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { basename, join } from 'node:path';
import { CONTROL_SOCKET, deploySocket } from '../commands/locate.ts';
import type { Config } from '../config/config.ts';
import type { RawFlags } from '../config/sources.ts';
import { openBotDir, openStateDir } from '../config/state-dir.ts';
import type { StrayEntry } from '../core/status.ts';
import type { Ending } from '../core/supervisor.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { findExecutable } from '../machine/executable.ts';
import { type Lock, lockKey } from '../machine/lock.ts';
import { findRespawner, linuxRespawnerContext } from '../machine/respawner/index.ts';
import { createStrayFinder } from '../machine/strays.ts';
import { findSetpriv } from '../machine/worker.ts';
import { createWorkerTree } from '../machine/worker-tree.ts';
import { plainCommand } from '../output/plain.ts';
import { createReport, painter, type Report } from '../output/report.ts';
import { type BotApi, type Me, openBotApi } from '../telegram/api.ts';
import { VERSION } from '../version.ts';
import { claim } from './claim.ts';
import { dryRun } from './dry-run.ts';
import { identify } from './identify.ts';
import { rememberStart } from './last-start.ts';
import { type Rehearsal, rehearsal } from './rehearsal.ts';
import { type Running, runSupervisor } from './run.ts';
import { serve } from './serve.ts';
import { listen } from './signals.ts';
import { type Facts, statusDocument } from './status-document.ts';
import { createSweeper } from './sweep.ts';
import { watch } from './watch.ts';
import { createWebhookWatch } from './webhook-watch.ts';

export interface StartRequest {
  readonly config: Config;
  readonly warnings: readonly string[];
  readonly flags: RawFlags;
}

/** Asked to stop before there was a worker. */
class Stopped extends Error {}

/** Runs a supervisor in the foreground until it ends. Throws SinglepollError for its own reasons to end early. */
export async function start(request: StartRequest): Promise<number> {
  const boot = new AbortController();
  const asks = {
    stop: (_reason: string) => boot.abort(new Stopped()),
    restart: (_reason: string) => {},
    forward: (_signal: NodeJS.Signals) => {},
  };
  listen({
    stop: (reason) => asks.stop(reason),
    restart: (reason) => asks.restart(reason),
    forward: (signal) => asks.forward(signal),
  });
  const paint = await painter(process.stderr, process.env);
  const tokens = request.config.token === null ? [] : [request.config.token];
  const report = createReport(request.config.logFormat, tokens, paint);
  const rehearse = request.config.sandbox ? await rehearsal(request.config, report) : null;
  const config = rehearse?.config ?? request.config;
  const api = config.polling ? openBotApi(config.apiRoot, config.token as string) : null;
  try {
    const startup = { ...request, config, report, rehearse, api, signal: boot.signal };
    const me = api ? await sayBot(startup, api) : sayGate(startup);
    sayConfiguration(startup);
    rehearse?.say();
    if (config.dryRun) return await dryRun(config, api, report, createFinder(config), boot.signal);
    return await supervise(startup, me, asks);
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
    report.line('stop', 'stopped before a worker was started');
    return EXIT.ok;
  } finally {
    api?.close();
    await rehearse?.close();
    await report.drained(1_000);
  }
}

interface Startup extends StartRequest {
  readonly report: Report;
  readonly rehearse: Rehearsal | null;
  readonly api: BotApi | null;
  readonly signal: AbortSignal;
}

/** Step 3. Nothing is stopped or cleared before this has succeeded. */
async function sayBot({ config, report, signal }: Startup, api: BotApi): Promise<Me> {
  const tokenSource = config.tokenSource ?? 'unknown';
  const me = await identify(api, {
    what: 'getMe',
    apiRoot: config.apiRoot,
    tokenSource,
    signal,
    say: (text) => report.line('bot', `bot ${config.botId}, token from ${tokenSource}: ${text}`, 'warn'),
  });
  const root =
    config.apiRootSource === 'default' || config.sandbox
      ? ''
      : `, at ${config.apiRoot} (${config.apiRootSource})`;
  report.line(
    'bot',
    `@${me.username ?? '(no username)'} (id ${me.id}), token from ${tokenSource}${root}`,
    'good',
    {
      id: me.id,
      username: me.username,
    },
  );
  return me;
}

/** Step 2: deploy mode. Telegram is asked nothing. */
function sayGate({ config, report }: Startup): null {
  report.line('INIT', 'Polling disabled by env (POLLING_ENABLED!=1)', 'warn');
  if (config.pollingLooksLikeYes) {
    report.line(
      'INIT',
      `${config.pollingSource ?? 'POLLING_ENABLED'} is "${config.pollingValue}", which reads like a yes, but only 1 enables polling`,
      'warn',
    );
  }
  return null;
}

/** Step 1, said after the bot: the first line names the bot. */
function sayConfiguration({ config, warnings, report }: Startup): void {
  const { command, settings } = config;
  if (command) {
    const found = findExecutable(command.argv[0] ?? '', config.cwd, process.env.PATH);
    if (!found.ok) {
      throw new SinglepollError(
        EXIT.config,
        `the worker can't be started: ${found.problem} (${command.source})`,
        `singlepoll start -- COMMAND    # in ${config.cwd}`,
      );
    }
    const set = settings
      .filter(({ option }) => option !== 'sandbox')
      .map((it) => `${it.option} ${it.value} (${it.from})`);
    report.line(
      'config',
      `worker: ${plainCommand(command.argv)} (${command.source})${set.length > 0 ? `; ${set.join(', ')}` : ''}`,
    );
  }
  for (const warning of warnings) report.line('config', warning, 'warn');
  if (process.pid === 1) {
    report.line(
      'config',
      'running as PID 1: orphans of the worker are not reaped here; use `docker run --init`, `init: true` or tini',
      'warn',
    );
  }
}

function createFinder(config: Config) {
  const envFiles = config.envFile === null ? [] : [basename(config.envFile)];
  return createStrayFinder({
    token: config.token,
    botId: String(config.botId ?? ''),
    apiRoot: config.apiRoot,
    patterns: config.stray.map((source) => new RegExp(source)),
    scope: config.strayScope,
    projectDir: config.cwd,
    envFileNames: envFiles,
    findRespawner: (top, stray, snapshot) => findRespawner(top, stray, linuxRespawnerContext(snapshot.procs)),
  });
}

type Asks = {
  stop: (reason: string) => void;
  restart: (reason: string) => void;
  forward: (signal: NodeJS.Signals) => void;
};

/** Steps 4 to 8, and the way back. */
async function supervise(startup: Startup, me: Me | null, asks: Asks): Promise<number> {
  const { config, report, rehearse, api, signal } = startup;
  const command = config.command?.argv ?? rehearse?.command ?? [];
  const startedAt = new Date().toISOString();
  const botDir = openBotDir(openStateDir(process.env), config.botId ?? 0);
  const socketPath = join(botDir, config.polling ? CONTROL_SOCKET : deploySocket(process.pid));
  const identity = {
    pid: process.pid,
    uid: process.getuid?.() ?? null,
    startedAt,
    cwd: config.cwd,
    version: VERSION,
    control: socketPath,
  };
  let lock: Lock | null = null;
  if (config.polling) {
    lock = await claim(lockKey(String(config.botId), config.token as string), identity, {
      wait: config.wait,
      takeover: config.takeover,
      stopTimeoutMs: config.stopTimeoutMs,
      signal,
      say: (text) => report.line('lock', text),
    });
    report.line('lock', `taken: the only supervisor of bot ${config.botId} on ${hostname()}`, 'good');
  }
  const facts = newFacts(config, me, command, startedAt);
  const run = randomBytes(8).toString('hex');
  const tree = createWorkerTree({
    run,
    botId: String(config.botId ?? ''),
    apiRoot: config.polling ? config.apiRoot : null,
  });
  const halt = new AbortController();
  let running: Running | undefined;
  const guarding =
    config.polling && api
      ? {
          sweeper: createSweeper({
            finder: createFinder(config),
            report,
            stopTimeoutMs: config.stopTimeoutMs,
            dryRun: false,
            worker: () => running?.worker() ?? null,
            onSurvey: (strays, uninspectable) => Object.assign(facts, { strays, uninspectable }),
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
            signal: halt.signal,
            onRefused: (ending) => running?.loop.send({ kind: 'blocked', ending }),
          }),
        }
      : null;
  remember(botDir, startup, command);
  running = runSupervisor({
    config,
    command,
    report,
    facts,
    run,
    tree,
    guarding,
    setpriv: findSetpriv(),
    folder: botDir,
  });
  const { loop } = running;
  // However the end was brought about: a sweep that went on would meet the next supervisor's worker as a stray.
  running.onStep(() => {
    if (loop.state.headed?.to === 'exit') halt.abort(new Stopped());
  });
  asks.stop = (reason) => loop.send({ kind: 'ask-stop', reason });
  asks.restart = (reason) => loop.send({ kind: 'ask-restart', reason });
  asks.forward = (name) => running.forward(name);
  if (signal.aborted) asks.stop('asked to stop');

  const status = () => statusDocument(loop.state, facts, tree.list(loop.state.pid), performance.now());
  const served = await serve({ socketPath, running, status }).catch((error: NodeJS.ErrnoException) => {
    report.line(
      'control',
      `no control channel at ${socketPath}: ${error.message}; stop this supervisor with kill ${process.pid}`,
      'warn',
    );
    return null;
  });
  const stopWatching = guarding
    ? watch({
        running,
        report,
        facts,
        tree,
        ...guarding,
        heartbeatMs: config.heartbeatMs,
        pollsVisible: rehearse !== null,
      })
    : () => {};
  rehearse?.follow(running, facts);

  const ending = await running.ended;
  stopWatching();
  served?.server.close();
  lock?.release();
  sayEnd(report, ending);
  await served?.tellEnd(whatEnded(running.stopped()));
  return ending.code;
}

/** `supervisor 12, worker 34 and 2 more processes (35, 36)`. */
function whatEnded([leader, ...more]: readonly number[]): string {
  const worker = leader === undefined ? ' (no worker lived)' : `, worker ${leader}`;
  const rest =
    more.length === 0
      ? ''
      : ` and ${more.length} more ${more.length === 1 ? 'process' : 'processes'} (${more.join(', ')})`;
  return `supervisor ${process.pid}${worker}${rest}`;
}

function sayEnd(report: Report, { code, reason }: Ending): void {
  const level = code === EXIT.ok ? 'good' : 'error';
  report.line('stop', `${reason}; supervisor and worker have ended (exit ${code})`, level, { code });
}

function remember(botDir: string, { config, flags, report }: Startup, command: readonly string[]): void {
  if (!config.polling || config.sandbox) return;
  try {
    rememberStart(botDir, { command, cwd: config.cwd, flags, at: new Date().toISOString() });
  } catch (error) {
    report.line('config', `\`reset\` will not know this command: ${(error as Error).message}`, 'warn');
  }
}

function newFacts(config: Config, me: Me | null, command: readonly string[], startedAt: string): Facts {
  return {
    bot: me
      ? { id: me.id, username: me.username ?? null }
      : config.botId === null
        ? null
        : { id: config.botId, username: null },
    polling: config.polling,
    pid: process.pid,
    version: VERSION,
    command: command.map((word) => plainCommand([word])),
    cwd: config.cwd,
    startedAt,
    workerStartedAt: null,
    lastExitAt: null,
    polls: 0,
    lastPollAt: null,
    offset: null,
    updates: 0,
    conflicts: { poller: 0, webhook: 0 },
    lastConflictAtMs: null,
    webhook: null,
    webhookSetAgain: 0,
    lastWebhookSetAtMs: null,
    apiProblem: null,
    strays: [] as readonly StrayEntry[],
    uninspectable: 0,
  };
}
