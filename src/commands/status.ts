/** `singlepoll status`: the supervisor's own word where one runs, else what can be seen from here. */
import { statusExitCode } from '../core/status.ts';
import { configure, warn } from './context.ts';
import { currentStatus } from './current-status.ts';
import type { Invocation } from './invocation.ts';
import { screen, showStatus } from './show-status.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { config, warnings } = await configure(invocation);
  const json = invocation.own.json === true;
  if (!json) warn(warnings);
  if (invocation.own.watch === true) {
    const { watchStatus } = await import('./watch-status.ts');
    return await watchStatus(config, json ? null : await screen(process.stdout));
  }
  const doc = await currentStatus(config);
  await showStatus(doc, json);
  return statusExitCode(doc);
}
