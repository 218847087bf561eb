/**
 * `singlepoll reset`: the emergency. Ends the supervisor (by asking, else by signals, also one that hangs or is stopped), the
 * worker and the strays, verifies that none is left, clears the webhook, and starts again.
 */
import type { Config } from '../config/load.ts';
import { absoluteFlags } from '../config/sources.ts';
import { openBotDir } from '../config/state-dir.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { createReport, type Report } from '../output/report.ts';
import type { Sink } from '../output/sink.ts';
import { whileWaiting } from '../output/wait-line.ts';
import { painter, span } from '../output/words.ts';
import { checkCommand } from '../supervisor/announce.ts';
import { seizeLock } from '../supervisor/claim.ts';
import { dryRun } from '../supervisor/dry-run.ts';
import { recallStart } from '../supervisor/memory.ts';
import { createSweeper } from '../supervisor/sweep.ts';
import { webhookWords } from '../supervisor/webhook-watch.ts';
import type { BotApi } from '../telegram/bot-api.ts';
import { clearWebhook } from '../telegram/webhook.ts';
import { configure, type Invocation } from './context.ts';
import { lookForLease, openTools } from './look.ts';
import { type Beginning, begin } from './start.ts';

export async function run(invocation: Invocation): Promise<number> {
  const here = { ...(await configure(invocation)), ...invocation };
  const again = invocation.own.start === false ? null : await whatToStart(here);
  // What could not be started again is said before anything is stopped for it.
  if (again) checkCommand(again.config);
  const isDone = await whileWaiting(
    (sinceMs) => `waiting for what is being stopped, for ${span(sinceMs)} so far`,
    async (stderr) => await clean(here.config, again, stderr),
  );
  if (again && isDone) return await begin(again);
  if (isDone) process.stdout.write('reset: no supervisor, no worker, no stray, no webhook\n');
  return EXIT.ok;
}

/** False: it was a dry run. Throws where somebody is left. */
async function clean(config: Config, again: Beginning | null, stderr: Sink): Promise<boolean> {
  const token = config.token as string;
  const report = createReport(config.logFormat, [token], await painter(process.stderr), stderr);
  const { eyes, api, prover } = openTools(config, [])!;
  const { finder } = eyes;
  const { signal } = new AbortController();
  try {
    if (config.dryRun) {
      const command = again?.config.command?.argv ?? null;
      await dryRun({ config, api, report, eyes, signal, ending: true, command });
      return false;
    }
    const lock = await seizeLock(config, report, again !== null);
    try {
      // Whoever holds the lease polls by right: the poll is not taken from that one.
      const isLeased = (await lookForLease(config))?.holder;
      const sweeper = createSweeper({
        ...{ finder, report, signal, stopTimeoutMs: config.stopTimeoutMs, dryRun: false },
        ...{ silencesOthers: true, leased: config.lease !== null },
        prover: isLeased ? null : prover,
      });
      // Nobody can hold a poll while a webhook is set: it goes first, and is looked at again where somebody was asked.
      await clear(config, report, api);
      const { ending, disturbed } = await sweeper.first(signal);
      if (ending)
        throw new SinglepollError(ending.code, 'not reset: see the line above; nothing was started');
      report.line('stray', 'none is left', 'good');
      if (disturbed) await clear(config, report, api);
      return true;
    } finally {
      lock.release();
    }
  } finally {
    api.close();
    eyes.close();
    await report.drained(1_000);
  }
}

/** The command given here, or that of the last start with its folder and flags. What ran detached does so again. */
async function whatToStart(here: Invocation & Beginning): Promise<Beginning> {
  const { config, words } = here;
  const last = recallStart(openBotDir(config.botId));
  if (words.length > 0) {
    if (!last?.flags.detach || here.flags.detach !== undefined) return here;
    const again = { ...here, flags: { ...here.flags, detach: true } };
    return { ...again, ...(await configure(again)) };
  }
  if (last) {
    // What was typed now means files of this folder, though the start is in another.
    const typed = absoluteFlags(here.flags, config.cwd);
    const { wait, ...others } = { ...last.flags, ...typed, takeover: false };
    // The holder of the lock was ended just now. --no-wait is about a lease, and stays.
    const again = { ...here, flags: wait === false ? { ...others, wait } : others, words: last.command };
    return { ...again, ...(await configure(again, last.cwd)) };
  }
  if (config.command) return here;
  throw new SinglepollError(
    EXIT.config,
    `nothing to start again: no last start of bot ${config.botId} is known to this user, and no command was given`,
    'singlepoll reset -- COMMAND      # or, to stop and clean up only:\nsinglepoll reset --no-start',
  );
}

async function clear(config: Config, report: Report, api: BotApi): Promise<void> {
  const reply = await clearWebhook(api, { keep: config.keepWebhook, dropPending: config.dropPending });
  if (reply.kind !== 'ok')
    throw new SinglepollError(
      reply.kind === 'refused' ? EXIT.refused : EXIT.unreachable,
      `the webhook could not be cleared: ${reply.description}`,
      'singlepoll reset    # again, when the Bot API can be reached',
    );
  const { text, ending } = webhookWords(reply.result);
  if (ending) throw new SinglepollError(ending.code, text, ending.hint);
  report.line('webhook', text, 'good');
}
