import { rmSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { openBotDir, openStateDir } from '../config/state-dir.ts';
import { EXIT } from '../errors.ts';
import type { HttpService } from '../http/service.ts';
import { type Lock, lockKey } from '../lock/lock.ts';
import { leaveGoneTerminal } from '../output/hangup.ts';
import { createLastLines } from '../output/last-lines.ts';
import { logPath, rememberLog } from '../output/log.ts';
import type { Report } from '../output/report.ts';
import { openRunOutput } from '../output/run-output.ts';
import { painter } from '../output/words.ts';
import { type BotApi, type Me, openBotApi } from '../telegram/bot-api.ts';
import { VERSION } from '../version.ts';
import { checkCommand, sayConfiguration, sayGate } from './announce.ts';
import { createChanges } from './changes.ts';
import { claim } from './claim.ts';
import { dryRun } from './dry-run.ts';
import { eyesFor, finderFor } from './finder.ts';
import { identify } from './identify.ts';
import { rehearsal } from './rehearsal.ts';
import { listen } from './signals.ts';
import { CONTROL_SOCKET, deploySocket } from './socket-names.ts';
import {
  type Asks,
  OWNER_GONE,
  openHttp,
  openServiceOf,
  type StartRequest,
  type Startup,
  Stopped,
} from './startup.ts';
import { superviseLocked } from './supervised.ts';
import { standsBy } from './until-ready.ts';

/** Runs a supervisor in this process until it ends. Throws SinglepollError for its own reasons to end early. */
export async function start(request: StartRequest): Promise<number> {
  const early = eyesFor(request.config);
  // Beside all that comes before the look, which takes as long: who is new by then is read then.
  if (request.config.polling && request.config.token !== null && !request.config.dryRun)
    early.processes.snapshot().catch(() => {});
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
  const voice = openRunOutput(request.config, tokens, link, paint);
  const changes = createChanges(voice.report);
  const recent = createLastLines(() => tokens);
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
  const eyes = rehearse ? eyesFor(config) : early;
  const gatewayModule = config.gateway && !config.dryRun ? import('../gateway/server.ts') : null;
  const alertModule = config.alerts && !config.dryRun ? import('../alerts/service.ts') : null;
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
        eyes,
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
      const finder = finderFor(config, eyes);
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
    eyes.inspector.close();
    http?.close();
    await service?.end();
    await rehearse?.close();
    // The sandbox's bot is gone for ever; so should be its folder.
    if (rehearse && botDir !== '') rmSync(botDir, { recursive: true, force: true });
    await report.drained(1_000);
    leaveGoneTerminal();
  }
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

/** Step 4, and the way back: whatever happens beyond it, the lock never outlives the supervisor. */
async function supervise(startup: Startup, me: Me | null, asks: Asks): Promise<number> {
  const { config, link, owner, voice, report, botDir, http, service, signal } = startup;
  const startedAt = new Date().toISOString();
  const socketPath = join(botDir, config.polling ? CONTROL_SOCKET : deploySocket(process.pid));
  const taker = { startedAt, cwd: config.cwd, version: VERSION, control: socketPath };
  let lock: Lock | null = null;
  if (config.polling) {
    lock = await claim(lockKey(String(config.botId), config.token as string), taker, {
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
