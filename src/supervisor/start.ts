/**
 * The steps of `start`, in their order. What a step opens goes on one teardown stack, which is closed in the reverse order however
 * the run ends. With the lock in hand supervise.ts takes over.
 */
import { hostname } from 'node:os';
import { EXIT } from '../errors.ts';
import { lockKey } from '../lock/lock.ts';
import { logPath, rememberLog } from '../output/log.ts';
import { openRunOutput, type RunOutput } from '../output/report.ts';
import { leaveGoneTerminal } from '../output/sink.ts';
import { painter } from '../output/words.ts';
import { VERSION } from '../version.ts';
import { identify, sayConfiguration, sayGate } from './announce.ts';
import { claim } from './claim.ts';
import { dryRun } from './dry-run.ts';
import { finderFor } from './finder.ts';
import { listen, OWNER_GONE, Stopped } from './signals.ts';
import { createTeardown, prepare, type StartRequest, type Startup, type Teardown } from './startup.ts';
import { supervise } from './supervise.ts';
import { standsBy } from './until-ready.ts';

/** Runs a supervisor in this process until it ends. Throws SinglepollError for its own reasons to end early. */
export async function start(request: StartRequest): Promise<number> {
  const teardown = createTeardown();
  const asks = listen();
  request.link?.onGone(() => asks.stop('who started it has gone before it was ready'));
  request.owner?.onGone(() => asks.stop(OWNER_GONE));
  const output = await openOutput(request, teardown);
  const { report } = output;
  let failure: unknown;
  try {
    const startup = await prepare(request, asks, output, teardown);
    const asked = startup.api ? identify(startup, startup.api) : sayGate(startup);
    startup.warmUp();
    const me = await asked;
    sayConfiguration(startup);
    startup.http?.announce();
    if (startup.sandboxText !== null) report.line('sandbox', startup.sandboxText);
    if (startup.config.dryRun) return await rehearse(startup);
    const beforeLock = teardown.mark();
    await takeLock(startup);
    await openLog(startup);
    await startup.http?.insists(asks.signal);
    return await supervise(startup, me, () => teardown.closeTo(beforeLock));
  } catch (error) {
    if (!(error instanceof Stopped)) {
      failure = error;
      throw error;
    }
    const text = 'stopped before a worker was started';
    report.line('stop', text);
    await request.owner?.end(text);
    return EXIT.ok;
  } finally {
    await teardown.closeTo(0, failure);
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

async function rehearse({ config, api, report, eyes, asks, command }: Startup): Promise<number> {
  const finder = finderFor(config, eyes);
  return await dryRun({ config, api, report, finder, signal: asks.signal, ending: false, command });
}

/** Any number of supervisors may run in deploy mode. Throws SinglepollError 75 where another one keeps the lock. */
async function takeLock(startup: Startup): Promise<void> {
  const { config, link, owner, output, report, http, api, service, teardown } = startup;
  const { botId, cwd, polling, wait, takeover, stopTimeoutMs } = config;
  if (!polling) return;
  const { startedAt, socketPath: control } = startup;
  const lock = await claim(
    lockKey(String(botId), config.token as string),
    { startedAt, cwd, version: VERSION, control },
    {
      ...{ wait, takeover, stopTimeoutMs, signal: startup.asks.signal },
      say(text) {
        http?.boots('standby');
        report.line('lock', text);
      },
      onWait() {
        service?.standsBy();
        owner?.tell({ state: 'standby' });
        owner?.ready(standsBy(botId));
        void openLog(startup).then(() => {
          link?.ready(standsBy(botId));
          output.leaveStarter();
        });
      },
    },
  );
  teardown.add(() => {
    // Before the lock: who takes it next may want the same port, and asks only where somebody else is connected.
    http?.close();
    api?.close();
    lock.release();
  });
  http?.boots('starting');
  owner?.tell({ state: 'starting' });
  report.line('lock', `taken: the only supervisor of bot ${botId} on ${hostname()}`, 'good');
}

/** Not before the lock: the log is that of the supervisor that holds it. */
async function openLog({ config, output, link, botDir }: Startup): Promise<void> {
  if (!link && config.logFile === null) return;
  const path = config.logFile ?? logPath(botDir, config);
  await output.openLog(path);
  if (!config.sandbox) rememberLog(botDir, path);
}
