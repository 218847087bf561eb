/** The status of a bot now: the supervisor's own word where one runs and answers, else what can be seen from here. */
import type { Config } from '../config/config.ts';
import type { StatusDocument } from '../core/status.ts';
import { NoAnswer } from '../machine/control.ts';
import { isDenied, type Located, locate, statusOf, unreachable } from './locate.ts';

export async function currentStatus(config: Config): Promise<StatusDocument> {
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
  const { message, hint } = unreachable(located.holder);
  const problem = { code: 'supervisor-hung', message, ...(hint ? { hint } : {}) };
  return { ...seen, state: 'starting', healthy: false, problems: [problem, ...seen.problems] };
}
