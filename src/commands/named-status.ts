/** The status of a bot that --bot names: without its token only its supervisor can tell. */
import type { StatusDocument } from '../core/status.ts';
import { findNamed, usernameOf } from './runs.ts';
import { hung, stopped } from './without-word.ts';

export async function namedStatus(name: string): Promise<StatusDocument> {
  const { bot, run } = await findNamed(name);
  const who = bot.id === 0 ? null : { id: bot.id, username: usernameOf(bot, run ? [run] : []) };
  return run ? (run.doc ?? hung(who)) : stopped(who);
}
