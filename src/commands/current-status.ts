/** The status of a bot now: the supervisor's own word where one runs and answers, else what can be seen from here. */
import { join } from 'node:path';
import type { Config } from '../config/load.ts';
import { findStateDir } from '../config/state-dir.ts';
import type { StatusDocument } from '../core/status.ts';
import { CONTROL_SOCKET } from '../supervise/socket-names.ts';
import { statusOf } from './status-of.ts';

/** An answer takes some milliseconds. Who is slower than this is asked again, with patience. */
const USUAL_ANSWER_MS = 400;

/** `bot`: as it was named by --bot, which goes before the one that is configured. */
export async function currentStatus(config: Config, bot: string | null = null): Promise<StatusDocument> {
  if (bot !== null) {
    const { namedStatus } = await import('./named-status.ts');
    return await namedStatus(bot);
  }
  const word = await usualWord(config);
  if (word) return word;
  const { thoroughStatus } = await import('./thorough-status.ts');
  return await thoroughStatus(config);
}

/**
 * What the supervisor says that listens at this bot's usual place, where only this user can listen. One question instead of two
 * (the lock knows for certain who holds it, and where it listens). Null on any trouble.
 */
export async function usualWord({ botId, token }: Config): Promise<StatusDocument | null> {
  if (botId === null || token === null) return null;
  try {
    const state = findStateDir(process.env);
    return state && (await statusOf(join(state.path, String(botId), CONTROL_SOCKET), USUAL_ANSWER_MS));
  } catch {
    return null;
  }
}
