/**
 * The steps of `start`, in their order. What a step opens goes on one teardown stack, which is closed in the reverse order however
 * the run ends. With the lock in hand supervise.ts takes over.
 */
import { rmSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { openBotDir, openStateDir } from '../config/state-dir.ts';
import { EXIT } from '../errors.ts';
import { lockKey } from '../lock/lock.ts';
import { logPath, rememberLog } from '../output/log.ts';
import { openRunOutput, type RunOutput } from '../output/report.ts';
import { leaveGoneTerminal } from '../output/sink.ts';
import { painter } from '../output/words.ts';
import { openBotApi } from '../telegram/bot-api.ts';
import { VERSION } from '../version.ts';
import { checkCommand, identify, sayConfiguration, sayGate } from './announce.ts';
import { claim } from './claim.ts';
import { CONTROL_SOCKET, deploySocket } from './control.ts';
import { dryRun } from './dry-run.ts';
import { eyesFor, finderFor } from './finder.ts';
import { rehearsal } from './rehearsal.ts';
import { type Asks, listen, Stopped } from './signals.ts';
import { openHttp, openServiceOf, type StartRequest, type Startup } from './startup.ts';
import { OWNER_GONE, supervise } from './supervise.ts';
import { createTeardown, type Teardown } from './teardown.ts';
import { standsBy } from './until-ready.ts';

/** Runs a supervisor in this process until it ends. Throws SinglepollError for its own reasons to end early. */
export async function start(request: StartRequest): Promise<number> {
  const teardown = createTeardown();
  const asks = listen();
  request.link?.onGone(() => asks.stop('who started it has gone before it was ready'));
  request.owner?.onGone(() => asks.stop(OWNER_GONE));
  const output = await openOutput(request, teardown);
  try {
    const startup = await prepare(request, asks, output, teardown);
    const me = startup.api ? await identify(startup) : sayGate(startup);
    sayConfiguration(startup);
    startup.http?.announce();
    startup.rehearse?.say();
    if (startup.config.dryRun) return await rehearseStart(startup);
    const beforeLock = teardown.mark();
    await takeLock(startup);
    await openLog(startup);
    await startup.http?.insists(asks.signal);
    return await supervise(startup, me, () => teardown.closeTo(beforeLock));
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
    output.report.line('stop', 'stopped before a worker was started');
    await request.owner?.end('stopped before a worker was started');
    return EXIT.ok;
  } finally {
    await teardown.closeTo(0);
  }
}

/** Where this run's own lines go, and its worker's. */
async function openOutput({ config, link }: StartRequest, teardown: Teardown): Promise<RunOutput> {
  const tokens = config.token === null ? [] : [config.token];
  const paint = link ? link.paint : await painter(process.stderr, process.env);
  const output = openRunOutput(config, tokens, link ?? null, paint);
  teardown.add(leaveGoneTerminal);
  teardown.add(() => output.report.drained(1_000));
  return output;
}

/** All that must be known to be good before the Bot API is asked anything. */
async function prepare(
  request: StartRequest,
  asks: Asks,
  output: RunOutput,
  teardown: Teardown,
): Promise<Startup> {
  const { report } = output;
  const asked = request.config;
  const service = await openServiceOf(asked, report);
  teardown.add(() => service?.end());
  const rehearse = asked.sandbox ? await rehearsal(asked, report) : null;
  teardown.add(() => rehearse?.close());
  const config = rehearse?.config ?? asked;
  const eyes = eyesFor(config);
  teardown.add(() => eyes.inspector.close());
  // Beside all that comes before the look for strays, which takes as long: who is new by then is read then.
  if (config.polling && !config.dryRun) eyes.processes.snapshot().catch(() => {});
  const gatewayModule = config.gateway && !config.dryRun ? import('../gateway/server.ts') : null;
  const alertModule = config.alerts && !config.dryRun ? import('../alerts/service.ts') : null;
  checkCommand(config);
  // A state folder that can't be trusted ends us before Telegram is asked anything; a dry run makes none.
  const botDir = config.dryRun ? '' : openBotDir(openStateDir(process.env), config.botId ?? 0);
  // The sandbox's bot is gone for ever; so should be its folder.
  if (rehearse && botDir !== '') teardown.add(() => rmSync(botDir, { recursive: true, force: true }));
  const http = await openHttp(config, report);
  teardown.add(() => http?.close());
  const api = config.polling ? openBotApi(config.apiRoot, config.token as string) : null;
  teardown.add(() => api?.close());
  return {
    ...{
      ...request,
      link: request.link ?? null,
      owner: request.owner ?? null,
      asks,
      output,
      report,
      teardown,
    },
    ...{ service, rehearse, config, eyes, gatewayModule, alertModule, botDir, http, api },
    command: config.command?.argv ?? rehearse?.command ?? [],
    socketPath: join(botDir, config.polling ? CONTROL_SOCKET : deploySocket(process.pid)),
    startedAt: new Date().toISOString(),
  };
}

async function rehearseStart({ config, api, report, eyes, asks, command }: Startup): Promise<number> {
  const finder = finderFor(config, eyes);
  return await dryRun({ config, api, report, finder, signal: asks.signal, ending: false, command });
}

/** Any number of supervisors may run in deploy mode. Throws SinglepollError 75 where another one keeps the lock. */
async function takeLock(startup: Startup): Promise<void> {
  const { config, link, owner, output, report, http, api, service, teardown } = startup;
  if (!config.polling) return;
  const { startedAt, socketPath: control } = startup;
  const taker = { startedAt, cwd: config.cwd, version: VERSION, control };
  const lock = await claim(lockKey(String(config.botId), config.token as string), taker, {
    wait: config.wait,
    takeover: config.takeover,
    stopTimeoutMs: config.stopTimeoutMs,
    signal: startup.asks.signal,
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
        output.leaveStarter();
      });
    },
  });
  teardown.add(() => {
    // Before the lock: who takes it next may want the same port, and asks only where somebody else is connected.
    http?.close();
    api?.close();
    lock.release();
  });
  http?.boots('starting');
  owner?.tell({ state: 'starting' });
  report.line('lock', `taken: the only supervisor of bot ${config.botId} on ${hostname()}`, 'good');
}

/** Not before: the log is that of the supervisor that holds the lock. */
async function openLog({ config, output, link, botDir, rehearse }: Startup): Promise<void> {
  if (!link && config.logFile === null) return;
  const path = config.logFile ?? logPath(botDir, config);
  await output.openLog(path);
  if (!rehearse) rememberLog(botDir, path);
}
