/** `singlepoll status`: the supervisor's own word where one runs, else what can be seen from here. */

import { type StatusDocument, statusExitCode } from '../core/status.ts';
import { painter } from '../output/report.ts';
import { statusScreen } from '../output/status-screen.ts';
import { configure, warn } from './context.ts';
import { currentStatus } from './current-status.ts';
import type { Invocation } from './invocation.ts';

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
