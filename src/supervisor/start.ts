/**
 * The steps of `start`, in their order. What a step opens goes on one teardown stack, which is closed in the reverse order however
 * the run ends. With the lock in hand supervise.ts takes over.
 */
import { hostname } from 'node:os';
import { EXIT, SinglepollError, VERSION } from '../errors.ts';
import type { Holder } from '../lock/lock.ts';
import { portHolder } from '../machine/sockets.ts';
import { logPath, rememberLog } from '../output/log.ts';
import { openRunOutput, type RunOutput } from '../output/report.ts';
import { leaveGoneTerminal } from '../output/sink.ts';
import { painter } from '../output/words.ts';
import { identify, sayConfiguration, sayDeployMode } from './announce.ts';
import { claim } from './claim.ts';
import { dryRun } from './dry-run.ts';
import { createHold, type Taken } from './hold.ts';
import { listen, Stopped } from './signals.ts';
import { createTeardown, prepare, type StartRequest, type Startup, type Teardown } from './startup.ts';
import type { RunState } from './status.ts';
import { supervise } from './supervise.ts';
import { initial } from './table.ts';
import { standsBy, waitWords } from './until-ready.ts';

/** Runs a supervisor in this process until it ends. Throws SinglepollError for its own reasons to end early. */
export async function start(request: StartRequest): Promise<number> {
  const teardown = createTeardown();
  const asks = listen();
  const { link } = request;
  link?.onStop(asks.stop);
  const output = await openOutput(request, teardown);
  const { report } = output;
  let failure: unknown;
  try {
    const startup = await prepare(request, asks, output, teardown);
    const { config, api } = startup;
    const asked = api ? identify(config, report, api, asks.signal) : sayDeployMode(config, report);
    // Only now that the first question to Telegram is on its way: starting processes holds us up.
    if (!config.dryRun) void startup.nextWorker.prepare();
    const me = await Promise.resolve(asked).finally(() => {
      for (const warning of request.warnings) report.line('config', warning, 'warn');
    });
    if (me) startup.status.note({ kind: 'identified', bot: { id: me.id, username: me.username ?? null } });
    followStatus(startup);
    sayConfiguration(config, report);
    startup.http?.announce();
    if (startup.sandboxText !== null) report.line('sandbox', startup.sandboxText);
    if (config.dryRun) return await dryRun({ ...startup, signal: asks.signal, ending: false });
    const beforeLock = teardown.mark();
    const taken = await takeLock(startup);
    await openLog(startup);
    taken.hold.add({ open: () => openLog(startup) });
    await startup.http?.insists();
    return await supervise({ ...startup, ...taken }, () => teardown.closeTo(beforeLock));
  } catch (error) {
    if (!(error instanceof Stopped)) {
      failure = error;
      throw error;
    }
    const text = 'stopped before a worker was started';
    report.line('stop', text);
    await link?.end(text);
    return EXIT.ok;
  } finally {
    await teardown.closeTo(0, failure);
  }
}

async function openOutput({ config, link }: StartRequest, teardown: Teardown): Promise<RunOutput> {
  const tokens = config.token === null ? [] : [config.token];
  const paint = link ? link.paint : await painter(process.stderr);
  const output = openRunOutput(config, tokens, link?.isDetached ? link.sink : null, paint);
  teardown.add(leaveGoneTerminal);
  teardown.add(() => output.report.drained(1_000));
  teardown.add(output.waitLine.stop);
  return output;
}

/** Tells starter, terminal and service manager how the run is, already while it waits for the lock. */
function followStatus({ status, link, service, output, config }: Startup): void {
  let told: RunState | null = null;
  status.onNote(() => {
    const state = status.runState();
    if (state !== told) link?.tell({ state });
    told = state;
  });
  output.waitLine.shows(() =>
    waitWords(status.record, status.sources, config.stopTimeoutMs, performance.now(), Date.now()),
  );
  service?.follow({ listen: output.changes.listen, seen: status.seen, status: () => status.document() });
}

/** Any number of supervisors may run in deploy mode. Throws SinglepollError 75 where another one keeps the lock. */
async function takeLock(startup: Startup): Promise<Taken> {
  const { config, link, output, report, http, api, status, teardown } = startup;
  const { botId, cwd, polling } = config;
  const { startedAt, socketPath: control } = startup;
  const taker = { startedAt, cwd, version: VERSION, control };
  if (!polling) return { hold: createHold(null, config, taker, report), standbys: [] };
  const { signal } = startup.asks;
  const { lock, standbys } = await claim(config, taker, {
    signal,
    reaches: (holder) => checkReach(startup, holder),
    say: (text) => report.line('lock', text),
    onWait() {
      status.note({ kind: 'step', state: { ...status.record.state, phase: 'standby' } });
      void openLog(startup).then(() => {
        link?.ready(standsBy(botId));
        output.leaveStarter();
      });
    },
  });
  const hold = createHold(lock, config, taker, report);
  // Before the lock: who takes it next may want the same port, and asks only where somebody else is connected.
  teardown.add(hold.release);
  teardown.add(() => api?.close());
  if (http) {
    const failed = (error: Error) => signal.aborted || report.line('http', error.message, 'warn');
    hold.add({ open: () => http.insists().catch(failed), close: http.close });
  }
  status.note({ kind: 'step', state: initial });
  report.line('lock', `taken: the only supervisor of bot ${botId} on ${hostname()}`, 'good');
  return { hold, standbys };
}

/** What would end this start after the holder has stopped its worker ends it before. Throws SinglepollError. */
async function checkReach({ config, http }: Startup, { pid }: Holder): Promise<void> {
  const { lease, botId, gatewayPort } = config;
  const fail = (code: number, why: string) =>
    new SinglepollError(
      code,
      `${why}; nothing was taken over`,
      'singlepoll status    # the present run goes on',
    );
  if (lease && botId !== null) {
    const { lookAtLease } = await import('../lease/glance.ts');
    const { engine, unreachable } = await lookAtLease(lease.url, botId);
    if (unreachable !== null)
      throw fail(EXIT.unreachable, `the lease can't be had: ${engine} is out of reach: ${unreachable}`);
  }
  const ports = [
    ['--gateway-port', gatewayPort],
    ['--http', http?.isOpen() ? null : config.http?.port],
  ] as const;
  for (const [flag, port] of ports) {
    const other = port ? await portHolder(port) : null;
    if (typeof other === 'number' && other !== pid)
      throw fail(EXIT.config, `port ${port} (${flag}) is taken by pid ${other}`);
  }
}

/** Opens the log; not before the lock, as it is the log of the supervisor that holds that. */
async function openLog({ config, output, link, botDir, hasFolder }: Startup): Promise<void> {
  if (config.logFile === null && !(link?.isDetached && hasFolder)) return;
  const path = config.logFile ?? logPath(botDir, config);
  await output.openLog(path);
  if (!config.sandbox) rememberLog(botDir, path);
}
