/**
 * The status of a bot now, by the lock: the word of the supervisor that holds it, wherever its socket is, else what can be seen
 * from here. Loaded only where the supervisor does not answer at the usual place.
 */
import type { Config } from '../config/load.ts';
import type { StatusDocument } from '../core/status.ts';
import { NoAnswer } from '../machine/control.ts';
import { unreachable } from '../supervise/holder-words.ts';
import { controlPath } from '../supervise/present.ts';
import { requireProcesses } from './context.ts';
import { isDenied, type Located, locate } from './locate.ts';
import { statusOf } from './status-of.ts';

export async function thoroughStatus(config: Config): Promise<StatusDocument> {
  requireProcesses();
  let located: Located | null = null;
  try {
    located = await locate(config);
    if (located?.control) {
      const doc = await statusOf(located.control);
      if (doc) return doc;
    }
  } catch (error) {
    if (!(error instanceof NoAnswer) && !isDenied(error)) throw error;
  }
  const { lookAround } = await import('./look-around.ts');
  const seen = await lookAround(config, located?.holder ?? null);
  if (!located) return seen;
  const { message, hint } = unreachable(located.holder, controlPath(config.botId));
  const problem = { code: 'supervisor-hung', message, ...(hint ? { hint } : {}) };
  return { ...seen, state: 'starting', healthy: false, problems: [problem, ...seen.problems] };
}
