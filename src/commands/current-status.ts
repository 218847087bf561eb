/** The status of a bot now: the supervisor's own word where one runs and answers, else what can be seen from here. */
import { join } from 'node:path';
import type { Config } from '../config/load.ts';
import { findStateDir } from '../config/state-dir.ts';
import { CONTROL_SOCKET } from '../supervisor/control.ts';
import type { StatusDocument } from '../supervisor/status.ts';
import { statusOf } from './answers.ts';

/** An answer takes some milliseconds. A supervisor that is slower than this is asked again, with patience. */
const USUAL_ANSWER_MS = 400;

/** `bot`: as it was named by --bot, which goes before the one that is configured. */
export async function currentStatus(config: Config, bot: string | null = null): Promise<StatusDocument> {
  const answered = bot === null ? await usualAnswer(config) : null;
  if (answered) return answered;
  // Loaded only where the supervisor does not answer at the usual place: it takes longer than the answer.
  const { namedStatus, thoroughStatus } = await import('./look.ts');
  return bot === null ? await thoroughStatus(config) : await namedStatus(bot);
}

/**
 * What the supervisor says that listens at this bot's usual place, where only this user can listen. One question instead of two
 * (the lock knows for certain who holds it, and where it listens). Null on any trouble.
 */
async function usualAnswer({ botId, token }: Config): Promise<StatusDocument | null> {
  if (botId === null || token === null) return null;
  try {
    const state = findStateDir(process.env);
    return state && (await statusOf(join(state.path, String(botId), CONTROL_SOCKET), USUAL_ANSWER_MS));
  } catch {
    return null;
  }
}
