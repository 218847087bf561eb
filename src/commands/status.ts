/** `singlepoll status`: the supervisor's own word where one runs, else what can be seen from here. */
import { statusExitCode } from '../core/status.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { configureUnlessNamed, namedBot, warn } from './context.ts';
import { currentStatus } from './current-status.ts';
import type { Invocation } from './invocation.ts';
import { showStatus } from './show-status.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { all, watch, json: asJson } = invocation.own;
  const json = asJson === true;
  const bot = namedBot(invocation);
  if (all === true) {
    if (watch === true || bot !== null)
      throw new SinglepollError(
        EXIT.usage,
        `--all and ${bot === null ? '--watch' : '--bot'} exclude each other`,
      );
    const { statusAll } = await import('./status-all.ts');
    return await statusAll(json);
  }
  const { config, warnings } = await configureUnlessNamed(invocation);
  if (!json) warn(warnings);
  if (watch === true) {
    const { watchStatus } = await import('./watch.ts');
    return await watchStatus(config, json, bot);
  }
  const doc = await currentStatus(config, bot);
  await showStatus(doc, json);
  return statusExitCode(doc);
}
