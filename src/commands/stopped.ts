/** What a supervisor answers to `stop`, for a person. */
import { EXIT, SinglepollError } from '../errors.ts';
import type { Answer } from '../machine/control.ts';

/** More than any --stop-timeout that somebody waits for by hand. */
export const STOP_WAIT_MS = 10 * 60_000;

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
