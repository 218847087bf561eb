/** `singlepoll stop`: asks the supervisor to end its worker tree and itself, and says what was stopped. */

import { EXIT, SinglepollError } from '../errors.ts';
import { type Answer, askControl, NoAnswer, NoSupervisor, WentAway } from '../machine/control.ts';
import { configure, warn } from './context.ts';
import type { Invocation } from './invocation.ts';
import { locate, unreachable } from './locate.ts';

/** More than any --stop-timeout that somebody waits for by hand. */
const STOP_WAIT_MS = 10 * 60_000;

export async function run(invocation: Invocation): Promise<number> {
  const { config, warnings } = await configure(invocation);
  warn(warnings);
  const located = await locate(config);
  if (!located) {
    process.stdout.write('nothing to stop: no supervisor runs\n');
    return EXIT.ok;
  }
  if (!located.control) throw unreachable(located.holder);
  let answer: Answer;
  try {
    answer = await askControl(
      located.control,
      { cmd: 'stop' },
      { timeoutMs: STOP_WAIT_MS, say: (line) => process.stderr.write(`${line}\n`) },
    );
  } catch (error) {
    if (error instanceof NoSupervisor || error instanceof WentAway) {
      const ended = error instanceof WentAway ? 'it has ended meanwhile' : 'no supervisor runs';
      process.stdout.write(`nothing to stop: ${ended}\n`);
      return EXIT.ok;
    }
    if (error instanceof NoAnswer) throw unreachable(located.holder);
    if (['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? ''))
      throw unreachable(located.holder);
    throw error;
  }
  if (!answer.ok)
    throw new SinglepollError(
      EXIT.otherPoller,
      `not stopped: ${answer.error}`,
      'singlepoll reset --no-start',
    );
  process.stdout.write(`stopped: ${String(answer.stopped)}\n`);
  return EXIT.ok;
}
