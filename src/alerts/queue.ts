/**
 * Messages to one place: at most twenty wait. They are sent one by one, retried with growing waits, and given up after an hour.
 * Each place has its own queue, so that one that hangs or fails delays no other. Every message ends up as sent or failed.
 */
import { plain } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import { duration } from '../output/words.ts';
import type { Message } from './message.ts';

export type Delivery =
  | { readonly kind: 'ok' }
  /** It may work later. `afterMs`: the pause that the receiver asks for. */
  | { readonly kind: 'later'; readonly error: string; readonly afterMs: number | null }
  /** Retries are pointless. */
  | { readonly kind: 'never'; readonly error: string };

export interface Place {
  readonly name: string;
  send(message: Message): Promise<Delivery>;
  /** Nothing waits any more: close the connection. */
  rest(): void;
}

const WAITING_MAX = 20;
export const GIVE_UP_AFTER_MS = 3_600_000;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 300_000;
const FAILING_TRIES = 3;

export function createQueue(
  place: Place,
  report: Pick<Report, 'line'>,
  nowMs: () => number = () => performance.now(),
) {
  const waiting: { readonly message: Message; readonly sinceMs: number }[] = [];
  let [sent, failed, failuresInRow] = [0, 0, 0];
  let [hasGivenUp, isClosed] = [false, false];
  let lastError: string | null = null;
  /** Ends when nothing waits any more. */
  let delivering: Promise<void> | null = null;
  let endPause = (): void => {};

  function drop(index: number, error: string): void {
    waiting.splice(index, 1);
    failed += 1;
    hasGivenUp = true;
    lastError = error;
  }

  async function deliver(): Promise<void> {
    let waitMs = 0;
    for (let [first] = waiting; first; [first] = waiting) {
      const { message, sinceMs } = first;
      const delivery = await place
        .send(message)
        .catch((error): Delivery => ({ kind: 'later', error: String(error), afterMs: null }));
      if (isClosed) return;
      if (delivery.kind === 'ok') {
        waiting.shift();
        sent += 1;
        [failuresInRow, hasGivenUp, waitMs] = [0, false, 0];
        report.line('alert', `"${message.title}" told to ${place.name}`);
        continue;
      }
      const error = `${place.name}: ${plain(delivery.error, 200)}`;
      failuresInRow += 1;
      const leftMs = sinceMs + GIVE_UP_AFTER_MS - nowMs();
      if (delivery.kind === 'never' || leftMs <= 0) {
        drop(0, error);
        waitMs = 0;
        report.line('alert', `"${message.title}" not delivered, and given up: ${error}`, 'warn');
        continue;
      }
      lastError = error;
      waitMs = Math.min(LONGEST_WAIT_MS, waitMs * 2 || FIRST_WAIT_MS);
      const inMs = Math.min(leftMs, Math.max(waitMs, delivery.afterMs ?? 0));
      const when = `tried again in ${duration(inMs)}`;
      if (failuresInRow === 1)
        report.line('alert', `"${message.title}" not delivered yet: ${error}; ${when}`, 'warn');
      await new Promise<void>((resolve) => {
        setTimeout(resolve, inMs).unref();
        if (delivery.afterMs === null) endPause = resolve;
      });
      if (isClosed) return;
      endPause = () => {};
    }
    delivering = null;
    place.rest();
  }

  return {
    post(message: Message): void {
      waiting.push({ message, sinceMs: nowMs() });
      // The first message may be under way, so the oldest after it is dropped.
      if (waiting.length > WAITING_MAX) drop(1, 'too many messages wait');
      delivering ??= deliver();
    },
    counts: () => ({ sent, failed, waiting: waiting.length, lastError }),
    /** Shown as a problem in `status`: a message was given up, or three tries in a row have failed. */
    isFailing: () => hasGivenUp || failuresInRow >= FAILING_TRIES,
    /** Tries now, as no time is left, unless the receiver has asked for a pause. Resolves when nothing waits. */
    async hurry(): Promise<void> {
      endPause();
      await delivering;
    },
    close(): void {
      isClosed = true;
      place.rest();
    },
  };
}
