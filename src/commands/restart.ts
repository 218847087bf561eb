/** `singlepoll restart`: asks the supervisor for a new worker in place of the present one. */

import { EXIT, SinglepollError } from '../errors.ts';
import { NoSupervisor } from '../machine/control.ts';
import { configureUnlessNamed, namedBot, warn } from './context.ts';
import type { Invocation } from './invocation.ts';
import { askSupervisor, locate } from './locate.ts';

const RESTART_WAIT_MS = 10 * 60_000;

export async function run(invocation: Invocation): Promise<number> {
  const { config, warnings } = await configureUnlessNamed(invocation);
  warn(warnings);
  const located = await locate(config, namedBot(invocation));
  const none = () =>
    new SinglepollError(
      EXIT.notRunning,
      'nothing to restart: no supervisor runs',
      'singlepoll start -- COMMAND',
    );
  if (!located) throw none();
  try {
    const answer = await askSupervisor(config, located, { cmd: 'restart' }, RESTART_WAIT_MS);
    if (!answer.ok)
      throw new SinglepollError(EXIT.otherPoller, `not restarted: ${answer.error}`, 'singlepoll status');
    process.stdout.write(`restarted: ${String(answer.restarted)}\n`);
    return EXIT.ok;
  } catch (error) {
    if (error instanceof NoSupervisor) throw none();
    throw error;
  }
}
