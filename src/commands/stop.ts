/** `singlepoll stop`: asks the supervisor to end its worker tree and itself, and says what was stopped. */

import { EXIT } from '../errors.ts';
import { type Answer, NoSupervisor } from '../machine/control.ts';
import { configureUnlessNamed, namedBot, warn } from './context.ts';
import type { Invocation } from './invocation.ts';
import { askSupervisor, locate } from './locate.ts';
import { STOP_WAIT_MS, tellStopped } from './stopped.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { config, warnings } = await configureUnlessNamed(invocation);
  warn(warnings);
  const located = await locate(config, namedBot(invocation));
  if (!located) {
    process.stdout.write('nothing to stop: no supervisor runs\n');
    return EXIT.ok;
  }
  let answer: Answer;
  try {
    answer = await askSupervisor(config, located, { cmd: 'stop' }, STOP_WAIT_MS);
  } catch (error) {
    if (!(error instanceof NoSupervisor)) throw error;
    process.stdout.write(`nothing to stop: ${error.message}\n`);
    return EXIT.ok;
  }
  tellStopped(answer);
  return EXIT.ok;
}
