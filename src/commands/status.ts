/** `singlepoll status`: the supervisor's own word where one runs, else what can be seen from here. */

import type { Config } from '../config/config.ts';
import { type StatusDocument, statusExitCode } from '../core/status.ts';
import { NoAnswer } from '../machine/control.ts';
import { painter } from '../output/report.ts';
import { statusScreen } from '../output/status-screen.ts';
import { configure, warn } from './context.ts';
import type { Invocation } from './invocation.ts';
import { type Located, locate, statusOf, unreachable } from './locate.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { config, warnings } = await configure(invocation);
  const json = invocation.own.json === true;
  if (!json) warn(warnings);
  const screen = async () => {
    const paint = await painter(process.stdout, process.env);
    return (it: StatusDocument) => statusScreen(it, Date.now(), process.stdout.columns ?? 100_000, paint);
  };
  if (invocation.own.watch === true) {
    const { watchStatus } = await import('./watch-status.ts');
    return await watchStatus(config, json ? null : await screen());
  }
  const doc = await currentStatus(config);
  if (json) process.stdout.write(`${JSON.stringify(doc)}\n`);
  else process.stdout.write((await screen())(doc));
  return statusExitCode(doc);
}

export async function currentStatus(config: Config): Promise<StatusDocument> {
  let located: Located | null = null;
  try {
    located = await locate(config);
    if (located?.control) {
      const doc = await statusOf(located.control);
      if (doc) return doc;
    }
  } catch (error) {
    const denied = ['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '');
    if (!(error instanceof NoAnswer) && !denied) throw error;
  }
  const { lookAround } = await import('./look-around.ts');
  const seen = await lookAround(config, located?.holder ?? null);
  if (!located) return seen;
  const { message, hint } = unreachable(located.holder);
  const problem = { code: 'supervisor-hung', message, ...(hint ? { hint } : {}) };
  return { ...seen, state: 'starting', healthy: false, problems: [problem, ...seen.problems] };
}
