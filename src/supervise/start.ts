/**
 * `start`, step by step: configuration, gate, bot, lock, then the loop (strays, webhook, worker), then everything undone in
 * the reverse order. Each step is a line on stderr. Returns the exit code.
 */
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { AlertService } from '../alert/service.ts';
import type { Config } from '../config/config.ts';
import type { RawFlags } from '../config/sources.ts';
import { openBotDir, openStateDir } from '../config/state-dir.ts';
import type { StrayEntry } from '../core/status.ts';
import type { Link } from '../detach/link.ts';
import { EXIT } from '../errors.ts';
import type { HttpService } from '../http/service.ts';
import { logPath, rememberLog } from '../log/place.ts';
import { isThere } from '../machine/is-there.ts';
import { type Lock, lockKey } from '../machine/lock.ts';
import { startThrift } from '../machine/thrift.ts';
import { findSetpriv } from '../machine/worker.ts';
import { createWorkerTree } from '../machine/worker-tree.ts';
import { leaveGoneTerminal } from '../output/hangup.ts';
import { painter } from '../output/paint.ts';
import { plain } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import type { Owner } from '../owner/link.ts';
import type { Service } from '../service/notify.ts';
import { type BotApi, type Me, openBotApi } from '../telegram/api.ts';
import { VERSION } from '../version.ts';
import { checkCommand, sayConfiguration, sayEnd, sayGate, whatEnded } from './announce.ts';
import { type Changes, createChanges } from './changes.ts';
import { claim } from './claim.ts';
import { dryRun } from './dry-run.ts';
import { type Facts, newFacts, seenBy } from './facts.ts';
import { finderFor } from './finder.ts';
import { identify } from './identify.ts';
import { rememberStart } from './last-start.ts';
import { type GatewayModule, type GivenGateway, openGateway } from './open-gateway.ts';
import type { PollRight } from './poll-right.ts';
import { createRecent, type Recent } from './recent.ts';
import { type Rehearsal, rehearsal } from './rehearsal.ts';
import { type Running, runSupervisor } from './run.ts';
import { serve } from './serve.ts';
import { listen } from './signals.ts';
import { CONTROL_SOCKET, deploySocket } from './socket-names.ts';
import { runState, statusDocument } from './status-document.ts';
import { createSweeper } from './sweep.ts';
import { standsBy, type UntilReady, untilReady } from './until-ready.ts';
import { createVoice, type Voice } from './voice.ts';
import { watch } from './watch.ts';
import { createWebhookWatch } from './webhook-watch.ts';

export interface StartRequest {
  readonly config: Config;
  readonly warnings: readonly string[];
  readonly flags: RawFlags;
  /** Of a detached run: to who started it. */
  readonly link?: Link | null;
  /** The program that it belongs to. */
  readonly owner?: Owner | null;
}

const OWNER_GONE = 'the program that it belongs to has gone';
const TREE_FRESH_MS = 1_000;
const TREE_WATCHED_MS = 5_000;
/** The 409 comes when somebody begins to set a webhook: once it is set, it can be named. */
const WEBHOOK_SETTLES_MS = 300;

/** Asked to stop before there was a worker. */
class Stopped extends Error {}

/** Runs a supervisor in this process until it ends. Throws SinglepollError for its own reasons to end early. */
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
  const link = request.link ?? null;
  link?.onGone(() => asks.stop('who started it has gone before it was ready'));
  const owner = request.owner ?? null;
  owner?.onGone(() => asks.stop(OWNER_GONE));
  const tokens = request.config.token === null ? [] : [request.config.token];
  const paint = link ? link.paint : await painter(process.stderr, process.env);
  const voice = createVoice(request.config, tokens, link, paint);
  const changes = createChanges();
  const recent = createRecent(() => tokens);
  const report: Report = {
    line(...said) {
      voice.report.line(...said);
      recent.said(said[0], said[1], said[2]);
      changes.touch();
    },
    drained: voice.report.drained,
  };
  const service = await openServiceOf(request.config, report);
  const rehearse = request.config.sandbox ? await rehearsal(request.config, report) : null;
  const config = rehearse?.config ?? request.config;
  const api = config.polling ? openBotApi(config.apiRoot, config.token as string) : null;
  // Loaded beside the questions to the Bot API: it takes as long.
  const gatewayModule = config.gateway && !config.dryRun ? import('../gateway/gateway.ts') : null;
  const alertModule = config.alerts && !config.dryRun ? import('../alert/service.ts') : null;
  let botDir = '';
  let http: HttpService | null = null;
  try {
    checkCommand(config);
    // A state folder that can't be trusted ends us before Telegram is asked anything; a dry run makes none.
    if (!config.dryRun) botDir = openBotDir(openStateDir(process.env), config.botId ?? 0);
    http = await openHttp(config, report);
    const startup = {
      ...request,
      ...{
        link,
        owner,
        config,
        voice,
        report,
        changes,
        recent,
        rehearse,
        api,
        botDir,
        gatewayModule,
        alertModule,
        http,
        service,
      },
      signal: boot.signal,
    };
    const me = api ? await sayBot(startup, api) : sayGate(startup);
    sayConfiguration(startup);
    http?.announce();
    rehearse?.say();
    if (config.dryRun) {
      const command = config.command?.argv ?? rehearse?.command ?? [];
      const finder = finderFor(config);
      return await dryRun({ config, api, report, finder, signal: boot.signal, ending: false, command });
    }
    return await supervise(startup, me, asks);
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
    report.line('stop', 'stopped before a worker was started');
    await owner?.end('stopped before a worker was started');
    return EXIT.ok;
  } finally {
    api?.close();
    http?.close();
    await service?.end();
    await rehearse?.close();
    // The sandbox's bot is gone for ever; so should be its folder.
    if (rehearse && botDir !== '') rmSync(botDir, { recursive: true, force: true });
    await report.drained(1_000);
    leaveGoneTerminal();
  }
}

type AlertModule = typeof import('../alert/service.ts');

interface Startup extends StartRequest {
  readonly link: Link | null;
  readonly owner: Owner | null;
  readonly voice: Voice;
  readonly report: Report;
  readonly changes: Changes;
  readonly recent: Recent;
  readonly rehearse: Rehearsal | null;
  readonly api: BotApi | null;
  /** The state folder of this bot. */
  readonly botDir: string;
  readonly gatewayModule: Promise<GatewayModule> | null;
  /** Null: nobody is to be told anything. */
  readonly alertModule: Promise<AlertModule> | null;
  /** Null: no health endpoint was asked for. */
  readonly http: HttpService | null;
  /** Null: no service manager wants to be told. */
  readonly service: Service | null;
  readonly signal: AbortSignal;
}

async function openServiceOf(config: Config, report: Report): Promise<Service | null> {
  if (!('NOTIFY_SOCKET' in process.env)) return null;
  const { openService } = await import('../service/notify.ts');
  const service = openService(process.env, { report, deafAfterMs: config.deafAfterMs });
  return config.dryRun ? null : service;
}

async function openHttp(config: Config, report: Report): Promise<HttpService | null> {
  if (!config.http || config.dryRun) return null;
  const { openHttpService } = await import('../http/service.ts');
  return await openHttpService({ config, address: config.http, report });
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

type Asks = {
  stop: (reason: string) => void;
  restart: (reason: string) => void;
  forward: (signal: NodeJS.Signals) => void;
};

/** Step 4, and the way back: whatever happens beyond it, the lock never outlives the supervisor. */
async function supervise(startup: Startup, me: Me | null, asks: Asks): Promise<number> {
  const { config, link, owner, voice, report, botDir, http, service, signal } = startup;
  const startedAt = new Date().toISOString();
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
      say(text) {
        http?.boots('standby');
        report.line('lock', text);
      },
      onWait: () => {
        service?.standsBy();
        owner?.tell({ state: 'standby' });
        owner?.ready(standsBy(config.botId));
        void openLog(startup).then(() => {
          link?.ready(standsBy(config.botId));
          voice.leaveStarter();
        });
      },
    });
    http?.boots('starting');
    owner?.tell({ state: 'starting' });
    report.line('lock', `taken: the only supervisor of bot ${config.botId} on ${hostname()}`, 'good');
  }
  try {
    await openLog(startup);
    await http?.insists(signal);
    return await superviseLocked(startup, me, asks, { lock, socketPath, startedAt });
  } finally {
    lock?.release();
  }
}

/** Not before: the log is that of the supervisor that holds the lock. */
async function openLog({ config, voice, link, botDir, rehearse }: Startup): Promise<void> {
  if (!link && config.logFile === null) return;
  const path = config.logFile ?? logPath(botDir, config);
  await voice.openLog(path);
  if (!rehearse) rememberLog(botDir, path);
}

interface Place {
  readonly lock: Lock | null;
  readonly socketPath: string;
  readonly startedAt: string;
}

/** Steps 5 to 8. */
async function superviseLocked(
  startup: Startup,
  me: Me | null,
  asks: Asks,
  { lock, socketPath, startedAt }: Place,
): Promise<number> {
  const {
    config,
    link,
    owner,
    voice,
    report,
    changes,
    recent,
    rehearse,
    api,
    botDir,
    http,
    service,
    signal,
  } = startup;
  let running: Running | undefined;
  let gateway: GivenGateway | null = null;
  const command = config.command?.argv ?? rehearse?.command ?? [];
  const facts = newFacts(config, me, command, startedAt);
  const right = await openRight(startup, () => ({ running, gateway, facts }));
  facts.log = voice.logFacts;
  const run = randomBytes(8).toString('hex');
  const tree = createWorkerTree({
    run,
    botId: String(config.botId ?? ''),
    apiRoot: config.polling ? config.apiRoot : null,
  });
  const halt = new AbortController();
  const guarding =
    config.polling && api
      ? {
          sweeper: createSweeper({
            finder: finderFor(config),
            report,
            stopTimeoutMs: config.stopTimeoutMs,
            dryRun: false,
            worker: () => running?.worker() ?? null,
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
            signal: halt.signal,
            onReached: (yes) => gateway?.watch.reached(yes),
            onBlocked: (ending) => running?.loop.send({ kind: 'blocked', ending }),
          }),
        }
      : null;
  remember(botDir, startup, command, me?.username ?? null);
  const thrift = startThrift();
  const clearAgain = () => void guarding?.webhook.again(true).then(() => gateway?.port.cleared());
  if (right) Object.assign(facts, { lease: right.status, leaseProblem: right.problem });
  gateway = await openGateway(startup, facts, rehearse !== null, {
    mayPoll: right ? right.valid : () => true,
    tree: () => tree.list(running?.worker()?.pid ?? null).map(({ pid }) => pid),
    onPolled: () => running?.loop.send({ kind: 'polled' }),
    onBlocked: (ending) => running?.loop.send({ kind: 'blocked', ending }),
    onDeaf: (reason) => running?.loop.send({ kind: 'ask-restart', reason }),
    onWebhook: () => void setTimeout(clearAgain, WEBHOOK_SETTLES_MS),
    onConflict: () => running?.conflict(),
    onCalled: () => thrift.called(performance.now()),
    onStreamed: (bytes) => thrift.streamed(bytes, performance.now()),
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
    thrift,
    guarding,
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
  const alerts = openAlerts(startup, alertModule, {
    ...{ facts, running, gateway },
    isStray: (reason) => guarding?.sweeper.hasSaid(reason) ?? false,
  });
  asks.stop = (reason) => loop.send({ kind: 'ask-stop', reason });
  asks.restart = (reason) => loop.send({ kind: 'ask-restart', reason });
  asks.forward = (name) => running.forward(name);
  if (signal.aborted) asks.stop('asked to stop');
  const tellState = () => owner?.tell({ state: runState(loop.state, facts) });
  running.onStep(tellState);
  owner?.onGone(() => {
    // A second ask to stop would mean: at once.
    if (loop.state.headed?.to !== 'exit') asks.stop(OWNER_GONE);
  });

  let listed = {
    pid: null as number | null,
    atMs: Number.NEGATIVE_INFINITY,
    rows: [] as ReturnType<typeof tree.list>,
  };
  const status = (treeFreshMs = TREE_FRESH_MS) => {
    // The periodic look may be a minute old: what has ended since is not shown any more.
    facts.strays = facts.strays.filter(({ pid }) => isThere(pid));
    const { pid } = loop.state;
    const nowMs = performance.now();
    // Listing goes over every process of the machine: a second question within a second gets the same list, and who watches one for longer.
    if (listed.pid !== pid || nowMs - listed.atMs > treeFreshMs)
      listed = { pid, atMs: nowMs, rows: tree.list(pid) };
    return statusDocument(loop.state, facts, listed.rows, nowMs);
  };
  http?.shows({
    brief: () => statusDocument(loop.state, facts, [], performance.now()),
    status: () => status(),
    counts: () => {
      const { straysStopped, webhooksCleared, deafReplaced } = facts;
      return { straysStopped, webhooksCleared, deafReplaced };
    },
  });
  service?.follow({
    listen: changes.listen,
    seen: () => seenBy(loop.state.phase, facts),
    status: () => statusDocument(loop.state, facts, [], performance.now()),
  });
  const makeFolder = () => void openBotDir(openStateDir(process.env), config.botId ?? 0);
  const served = await serve({
    ...{ socketPath, running, status, makeFolder, changes },
    live: () => ({ status: status(TREE_WATCHED_MS), lines: recent.lines() }),
    onWatched: recent.watched,
  }).catch((error: NodeJS.ErrnoException) => {
    report.line(
      'control',
      `no control channel at ${socketPath}: ${error.message}; stop this supervisor with kill ${process.pid}`,
      'warn',
    );
    return null;
  });
  if (served) owner?.tell({ control: socketPath });
  tellState();
  const waits = link ?? owner;
  const start: UntilReady | null = waits
    ? untilReady({ link: waits, running, config, facts, report, voice })
    : null;
  const stopWatching = guarding
    ? watch({
        running,
        report,
        facts,
        tree,
        ...guarding,
        heartbeatMs: config.heartbeatMs,
        gateway: gateway !== null,
      })
    : () => {};

  const ending = await running.ended;
  start?.end();
  // After a bug nobody knows what lives: the lease runs out by itself.
  await right?.end(false);
  stopWatching();
  served?.close();
  // Before the lock: who waits for that may want the same port.
  http?.close();
  lock?.release();
  sayEnd(report, ending, loop.state.spawn, guarding?.sweeper.hasSaid(ending.reason) ?? false);
  await served?.tellEnd(whatEnded(running.stopped()));
  asks.stop = () => alerts?.cut();
  await alerts?.finish(ending);
  await owner?.end(ending.reason);
  return start?.code(ending) ?? ending.code;
}

/** Null: no lease was asked for. What it tells goes to the supervisor that is about to be. */
async function openRight(
  { config, report }: Startup,
  parts: () => {
    readonly running: Running | undefined;
    readonly gateway: GivenGateway | null;
    readonly facts: Facts;
  },
): Promise<PollRight | null> {
  const { lease, botId, token } = config;
  if (!lease || botId === null || token === null) return null;
  const { openPollRight } = await import('./poll-right.ts');
  return await openPollRight({
    ...{ url: lease.url, timing: lease.timing, botId, report },
    lockName: lockKey(String(botId), token).name,
    takeover: config.takeover,
    noWait: config.noWait,
    onShut: () => parts().gateway?.port.shut(),
    onTaken(from) {
      const { facts } = parts();
      facts.leasesTaken += 1;
      facts.lastHolder = from;
    },
    onLost(reason) {
      const { facts } = parts();
      facts.leasesLost += 1;
      facts.lastLeaseLoss = reason;
    },
    onUnleased: (reason) => parts().running?.loop.send({ kind: 'unleased', reason }),
    onKill: () => parts().running?.kill(),
    onBlocked: (ending) => parts().running?.loop.send({ kind: 'blocked', ending }),
  });
}

/** Null: nobody is to be told anything. */
function openAlerts(
  { config, report, changes, botDir }: Startup,
  module: AlertModule | null,
  parts: {
    readonly facts: Facts;
    readonly running: Running;
    readonly gateway: GivenGateway | null;
    readonly isStray: (reason: string) => boolean;
  },
): AlertService | null {
  const { alerts, apiRoot, token } = config;
  if (!alerts || !module) return null;
  const { facts, running, gateway, isStray } = parts;
  report.line('alert', `problems are told ${module.alertsText(alerts)}`);
  return module.openAlerts({
    ...{ alerts, apiRoot, token, report, facts, changes, running, botDir, isStray },
    secrets: [token, gateway?.token].filter((it) => typeof it === 'string'),
    doc: () => statusDocument(running.loop.state, facts, [], performance.now()),
  });
}

function strayName([first, ...more]: readonly StrayEntry[]): string | null {
  if (!first) return null;
  const others = more.length > 0 ? ` and ${more.length} more` : '';
  return `pid ${first.pid} (${plain(first.command, 120)})${others}`;
}

function remember(
  botDir: string,
  { config, flags, link, report }: Startup,
  command: readonly string[],
  username: string | null,
): void {
  if (!config.polling || config.sandbox) return;
  try {
    const again = link ? { ...flags, detach: true } : flags;
    rememberStart(botDir, { command, cwd: config.cwd, flags: again, username, at: new Date().toISOString() });
  } catch (error) {
    report.line('config', `\`reset\` will not know this command: ${(error as Error).message}`, 'warn');
  }
}
