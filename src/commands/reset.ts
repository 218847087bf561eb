/**
 * `singlepoll reset`: the emergency. Ends the supervisor (by asking, else by signals, also one that hangs or is stopped), the
 * worker and the strays, verifies that none is left, clears the webhook, and starts again.
 */

import type { Config } from '../config/load.ts';
import { positiveFlags, type RawFlags } from '../config/options.ts';
import { absoluteFlags } from '../config/sources.ts';
import { openBotDir, openStateDir } from '../config/state-dir.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { createReport, type Report } from '../output/report.ts';
import { painter } from '../output/words.ts';
import { checkCommand } from '../supervisor/announce.ts';
import { dryRun } from '../supervisor/dry-run.ts';
import { eyesFor, finderFor, proverFor } from '../supervisor/finder.ts';
import { recallStart } from '../supervisor/memory.ts';
import { seizeLock } from '../supervisor/seize.ts';
import { start } from '../supervisor/start.ts';
import { createSweeper } from '../supervisor/sweep.ts';
import { openBotApi } from '../telegram/bot-api.ts';
import { clearWebhook } from '../telegram/webhook.ts';
import { configure, type Invocation, type Loaded, workingFolder } from './context.ts';
import { lookForLease } from './look.ts';

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
  const eyes = eyesFor(config);
  const finder = finderFor(config, eyes);
  const api = openBotApi(config.apiRoot, config.token as string);
  const { signal } = new AbortController();
  try {
    if (config.dryRun) {
      const command = again?.config.command?.argv ?? null;
      return await dryRun({ config, api, report, finder, signal, ending: true, command });
    }
    const botDir = openBotDir(openStateDir(process.env), config.botId ?? 0);
    const lock = await seizeLock(config, report, again !== null);
    try {
      // Whoever holds the lease polls by right: the poll is not taken from that one.
      const sweeper = createSweeper({
        finder,
        report,
        stopTimeoutMs: config.stopTimeoutMs,
        dryRun: false,
        prover: (await lookForLease(config))?.holder
          ? null
          : proverFor(config, eyes, api, botDir, () => false),
        silencesOthers: true,
        leased: config.lease !== null,
        worker: () => null,
        onSurvey: () => {},
        signal,
      });
      // Nobody can hold a poll while a webhook is set: it goes first, and is looked at again where somebody was asked.
      await clear(config, report, api);
      const { ending: blocked, disturbed } = await sweeper.first(signal);
      if (blocked)
        throw new SinglepollError(blocked.code, 'not reset: see the line above; nothing was started');
      report.line('stray', 'none left, verified', 'good');
      if (disturbed) await clear(config, report, api);
    } finally {
      lock.release();
    }
  } finally {
    api.close();
    eyes.inspector.close();
    await report.drained(1_000);
  }
  if (!again) {
    process.stdout.write('reset: no supervisor, no worker, no stray, no webhook\n');
    return EXIT.ok;
  }
  if (again.config.detach) {
    const { launch } = await import('./launch.ts');
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
    // What was typed now means files of this folder, though the start is in another.
    const typed = absoluteFlags(invocation.flags, here.config.cwd);
    const { wait, ...others } = { ...positiveFlags(last.flags), ...typed, takeover: false };
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

async function clear(config: Config, report: Report, api: ReturnType<typeof openBotApi>): Promise<void> {
  const outcome = await clearWebhook(api, {
    keep: config.keepWebhook,
    dropPending: config.dropPending,
    token: config.token as string,
  });
  if (outcome.kind === 'clear') return report.line('webhook', 'none set', 'good');
  if (outcome.kind === 'cleared')
    return report.line('webhook', `was set to ${outcome.url}: cleared and verified`, 'good');
  if (outcome.kind === 'kept')
    throw new SinglepollError(EXIT.config, `a webhook is set (${outcome.url}) and --keep-webhook was given`);
  if (outcome.kind === 'set-again')
    throw new SinglepollError(
      EXIT.otherPoller,
      `somebody sets the webhook again as soon as it is cleared: ${outcome.url}`,
      'find the program that calls setWebhook',
    );
  throw new SinglepollError(
    outcome.reply.kind === 'refused' ? EXIT.refused : EXIT.unreachable,
    `the webhook could not be cleared: ${outcome.reply.description}`,
    'singlepoll reset    # again, when the Bot API can be reached',
  );
}
