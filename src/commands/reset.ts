/**
 * `singlepoll reset`: the emergency. Ends the supervisor (by asking, else by signals, also one that hangs or is stopped), the
 * worker and the strays, verifies that none is left, clears the webhook, and starts again.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config/config.ts';
import type { RawFlags } from '../config/sources.ts';
import { openBotDir, openStateDir } from '../config/state-dir.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { askControl } from '../machine/control.ts';
import { claimLock, type Holder, type Lock, lockHolder, lockKey } from '../machine/lock.ts';
import { painter } from '../output/paint.ts';
import { createReport, type Report } from '../output/report.ts';
import { unitOf } from '../service/unit-of.ts';
import { linuxHands, stopTargets } from '../strays/stop.ts';
import { checkCommand } from '../supervise/announce.ts';
import { describe } from '../supervise/claim.ts';
import { dryRun } from '../supervise/dry-run.ts';
import { finderFor } from '../supervise/finder.ts';
import { recallStart } from '../supervise/last-start.ts';
import { start } from '../supervise/start.ts';
import { createSweeper } from '../supervise/sweep.ts';
import { openBotApi } from '../telegram/api.ts';
import { clearWebhook } from '../telegram/webhook.ts';
import { VERSION } from '../version.ts';
import { configure, type Loaded, workingFolder } from './context.ts';
import type { Invocation } from './invocation.ts';

/** One that answers gets its own stop timeout and this on top; one that does not gets this alone before SIGKILL. */
const PATIENCE_MS = 3_000;

export async function run(invocation: Invocation): Promise<number> {
  const here = await configure(invocation);
  const { config } = here;
  const report = createReport(
    config.logFormat,
    [config.token ?? ''].filter(Boolean),
    await painter(process.stderr, process.env),
  );
  const again = invocation.own.start === false ? null : await whatToStart(invocation, here);
  // What could not be started again is said before anything is stopped for it.
  if (again) checkCommand(again.config);
  const finder = finderFor(config);
  const api = openBotApi(config.apiRoot, config.token as string);
  try {
    if (config.dryRun) {
      const { signal } = new AbortController();
      const command = again?.config.command?.argv ?? null;
      return await dryRun({ config, api, report, finder, signal, ending: true, command });
    }
    const lock = await seize(config, report, again !== null);
    try {
      const sweeper = createSweeper({
        finder,
        report,
        stopTimeoutMs: config.stopTimeoutMs,
        dryRun: false,
        worker: () => null,
        onSurvey: () => {},
        signal: new AbortController().signal,
      });
      const blocked = await sweeper.thorough();
      if (blocked)
        throw new SinglepollError(blocked.code, 'not reset: see the line above; nothing was started');
      report.line('stray', 'none left, verified', 'good');
      await clear(config, report, api);
    } finally {
      lock.release();
    }
  } finally {
    api.close();
    await report.drained(1_000);
  }
  if (!again) {
    process.stdout.write('reset: no supervisor, no worker, no stray, no webhook\n');
    return EXIT.ok;
  }
  if (again.config.detach) {
    const { launch } = await import('../detach/launch.ts');
    return await launch({ ...again, cwd: again.config.cwd });
  }
  if (again.config.cwd !== workingFolder()) process.chdir(again.config.cwd);
  process.exit(await start(again));
}

/** The command given here, or that of the last start with its folder and flags. */
async function whatToStart(
  invocation: Invocation,
  here: Loaded,
): Promise<Loaded & { flags: RawFlags; words: readonly string[] }> {
  const { words } = invocation;
  if (here.config.command && words.length > 0) return { ...here, flags: invocation.flags, words };
  const last = recallStart(openBotDir(openStateDir(process.env), here.config.botId ?? 0));
  if (last) {
    const { command } = invocation;
    const { wait, ...others } = { ...last.flags, ...invocation.flags, takeover: false };
    // The holder of the lock was ended just now. --no-wait is about a lease, and stays.
    const flags = wait === false ? { ...others, wait } : others;
    const again = { command, flags, words: last.command };
    return { ...(await configure(again, last.cwd)), ...again };
  }
  if (here.config.command) return { ...here, flags: invocation.flags, words };
  throw new SinglepollError(
    EXIT.config,
    `nothing to start again: no last start of bot ${here.config.botId} is known to this user, and no command was given`,
    'singlepoll reset -- COMMAND      # or, to stop and clean up only:\nsinglepoll reset --no-start',
  );
}

/** Ends whoever holds the lock and takes it, so that nobody starts a worker while we clean up. */
async function seize(config: Config, report: Report, starts: boolean): Promise<Lock> {
  const key = lockKey(String(config.botId), config.token as string);
  for (let attempt = 0; attempt < 5; attempt++) {
    const holder = await lockHolder(key);
    if (holder) {
      sayUnit(holder, report, starts);
      await end(holder, config, report);
    }
    const claimed = await claimLock(key, {
      pid: process.pid,
      uid: process.getuid?.() ?? null,
      startedAt: new Date().toISOString(),
      cwd: workingFolder(),
      version: VERSION,
      control: null,
    });
    if (claimed.held) {
      if (!holder && attempt === 0) report.line('lock', 'no supervisor runs');
      return claimed.lock;
    }
  }
  const holder = await lockHolder(key);
  throw new SinglepollError(
    EXIT.otherPoller,
    `supervisors keep taking the lock: ${describe(holder)}`,
    'singlepoll who',
  );
}

/** One that systemd runs stays down after its end in order; only systemd can start it again where it was. */
function sayUnit({ pid }: Holder, report: Report, starts: boolean): void {
  const own = unitOf(process.pid);
  const unit = unitOf(pid);
  if (!unit || unit.name === own?.name) return;
  const text = starts
    ? `the supervisor is the unit ${unit.name}: what is started again runs here, outside of it. In the unit: singlepoll reset --no-start && ${unit.startCommand}`
    : `the supervisor is the unit ${unit.name}, which stays down; to start it again: ${unit.startCommand}`;
  report.line('stop', text, 'warn');
}

async function end(holder: Holder, config: Config, report: Report): Promise<void> {
  report.line('stop', `ending the supervisor: ${describe(holder)}`);
  const look = linuxHands.look(holder.pid);
  if (holder.control && holder.answers) {
    const asked = await askControl(
      holder.control,
      { cmd: 'stop' },
      { timeoutMs: config.stopTimeoutMs + PATIENCE_MS },
    ).catch(() => null);
    if (asked?.ok) {
      report.line('stop', `stopped: ${String(asked.stopped)}`, 'good');
      return;
    }
  }
  if (!look) return;
  // The lock itself proved that this pid is the supervisor; the start time that it is still the same process.
  if (!holdsTheLock(holder.pid)) {
    throw new SinglepollError(
      EXIT.otherPoller,
      `pid ${holder.pid} holds the lock but is no singlepoll`,
      'singlepoll who',
    );
  }
  const result = await stopTargets([{ pid: holder.pid, startId: look.startId }], {
    stopTimeoutMs: PATIENCE_MS,
    killWaitMs: PATIENCE_MS,
  });
  if (result.denied.length > 0) {
    throw new SinglepollError(
      EXIT.refused,
      `the supervisor belongs to another user: ${describe(holder)}`,
      `sudo kill ${holder.pid}`,
    );
  }
  if (result.survivors.length > 0) {
    throw new SinglepollError(EXIT.otherPoller, `the supervisor (pid ${holder.pid}) survived SIGKILL`);
  }
  report.line(
    'stop',
    `ended pid ${holder.pid}${result.killed > 0 ? ' by SIGKILL: it did not answer' : ''}`,
    'warn',
  );
}

/** What answers on the lock could lie about its pid: only a node process is ended on its word. */
function holdsTheLock(pid: number): boolean {
  try {
    return /singlepoll/.test(readFileSync(join('/proc', String(pid), 'cmdline'), 'latin1'));
  } catch {
    return process.platform !== 'linux';
  }
}

async function clear(config: Config, report: Report, api: ReturnType<typeof openBotApi>): Promise<void> {
  const outcome = await clearWebhook(api, {
    keep: config.keepWebhook,
    dropPending: config.dropPending,
    token: config.token as string,
  });
  switch (outcome.kind) {
    case 'clear':
      report.line('webhook', 'none set', 'good');
      return;
    case 'cleared':
      report.line('webhook', `was set to ${outcome.url}: cleared and verified`, 'good');
      return;
    case 'kept':
      throw new SinglepollError(
        EXIT.config,
        `a webhook is set (${outcome.url}) and --keep-webhook was given`,
      );
    case 'set-again':
      throw new SinglepollError(
        EXIT.otherPoller,
        `somebody sets the webhook again as soon as it is cleared: ${outcome.url}`,
        'find the program that calls setWebhook',
      );
    case 'failed': {
      const refused = outcome.reply.kind === 'refused';
      throw new SinglepollError(
        refused ? EXIT.refused : EXIT.unreachable,
        `the webhook could not be cleared: ${outcome.reply.description}`,
        'singlepoll reset    # again, when the Bot API can be reached',
      );
    }
  }
}
