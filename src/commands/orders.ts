/** `singlepoll stop` and `singlepoll restart`: orders to a supervisor that runs. */
import { EXIT, SinglepollError } from '../errors.ts';
import { type Answer, NoSupervisor } from '../supervisor/control.ts';
import { configureUnlessNamed, type Invocation, namedBot, warn } from './context.ts';
import { askSupervisor, findSupervisor } from './find.ts';

/** More than any --stop-timeout that somebody waits for by hand. */
export const ORDER_WAIT_MS = 10 * 60_000;

/** Asks it to end its worker tree and itself, and says what was stopped. */
export async function stop(invocation: Invocation): Promise<number> {
  const answer = await order(invocation, 'stop');
  if (answer instanceof Error || answer === null)
    process.stdout.write(`nothing to stop: ${answer?.message ?? 'no supervisor runs'}\n`);
  else tellStopped(answer);
  return EXIT.ok;
}

/** Asks it for a new worker in place of the present one. */
export async function restart(invocation: Invocation): Promise<number> {
  const answer = await order(invocation, 'restart');
  if (answer instanceof Error || answer === null)
    throw new SinglepollError(
      EXIT.notRunning,
      'nothing to restart: no supervisor runs',
      'singlepoll start -- COMMAND',
    );
  if (!answer.ok)
    throw new SinglepollError(EXIT.otherPoller, `not restarted: ${answer.error}`, 'singlepoll status');
  process.stdout.write(`restarted: ${String(answer.restarted)}\n`);
  return EXIT.ok;
}

/** Null: none runs. NoSupervisor: it has ended meanwhile. */
async function order(invocation: Invocation, cmd: string): Promise<Answer | NoSupervisor | null> {
  const { config, warnings } = await configureUnlessNamed(invocation);
  warn(warnings);
  const located = await findSupervisor(config, namedBot(invocation));
  if (!located) return null;
  try {
    return await askSupervisor(config, located, { cmd }, ORDER_WAIT_MS);
  } catch (error) {
    if (error instanceof NoSupervisor) return error;
    throw error;
  }
}

/** Throws SinglepollError 75 where it was not stopped. */
export function tellStopped(answer: Answer): void {
  if (!answer.ok)
    throw new SinglepollError(
      EXIT.otherPoller,
      `not stopped: ${answer.error}`,
      'singlepoll reset --no-start',
    );
  process.stdout.write(`stopped: ${String(answer.stopped)}\n`);
}
