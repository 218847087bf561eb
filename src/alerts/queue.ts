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
  let [isSending, hasGivenUp, isClosed] = [false, false, false];
  let lastError: string | null = null;
  /** The next try of the first message, after a failure. */
  let again: { readonly timer: NodeJS.Timeout; readonly isAsked: boolean; readonly waitMs: number } | null =
    null;
  let onEmpty = (): void => {};

  function drop(index: number, error: string): void {
    waiting.splice(index, 1);
    failed += 1;
    hasGivenUp = true;
    lastError = error;
  }

  function next(waitMs = 0): void {
    if (again) clearTimeout(again.timer);
    again = null;
    if (isClosed || isSending) return;
    const [first] = waiting;
    if (!first) {
      place.rest();
      onEmpty();
    } else {
      isSending = true;
      void place
        .send(first.message)
        .catch((error: unknown): Delivery => ({ kind: 'later', error: String(error), afterMs: null }))
        .then((delivery) => settle(first, delivery, waitMs));
    }
  }

  function settle(
    { message, sinceMs }: (typeof waiting)[number],
    delivery: Delivery,
    waitedMs: number,
  ): void {
    isSending = false;
    if (isClosed) return;
    if (delivery.kind === 'ok') {
      waiting.shift();
      sent += 1;
      [failuresInRow, hasGivenUp] = [0, false];
      report.line('alert', `"${message.title}" told to ${place.name}`);
      next();
      return;
    }
    const error = `${place.name}: ${plain(delivery.error, 200)}`;
    failuresInRow += 1;
    const leftMs = sinceMs + GIVE_UP_AFTER_MS - nowMs();
    if (delivery.kind === 'never' || leftMs <= 0) {
      drop(0, error);
      report.line('alert', `"${message.title}" not delivered, and given up: ${error}`, 'warn');
      next();
      return;
    }
    lastError = error;
    const waitMs = Math.min(LONGEST_WAIT_MS, waitedMs * 2 || FIRST_WAIT_MS);
    const inMs = Math.min(leftMs, Math.max(waitMs, delivery.afterMs ?? 0));
    const timer = setTimeout(next, inMs, waitMs).unref();
    again = { timer, isAsked: delivery.afterMs !== null, waitMs };
    if (failuresInRow > 1) return;
    const when = `tried again in ${duration(inMs)}`;
    report.line('alert', `"${message.title}" not delivered yet: ${error}; ${when}`, 'warn');
  }

  return {
    post(message: Message): void {
      waiting.push({ message, sinceMs: nowMs() });
      // The first message may be under way, so the oldest after it is dropped.
      if (waiting.length > WAITING_MAX) drop(1, 'too many messages wait');
      if (!again) next();
    },
    counts: () => ({ sent, failed, waiting: waiting.length, lastError }),
    /** Shown as a problem in `status`: a message was given up, or three tries in a row have failed. */
    isFailing: () => hasGivenUp || failuresInRow >= FAILING_TRIES,
    /** Tries now, as no time is left, unless the receiver has asked for a pause. Resolves when nothing waits. */
    hurry: () =>
      new Promise<void>((resolve) => {
        onEmpty = resolve;
        if (waiting.length === 0) resolve();
        else if (again && !again.isAsked) next(again.waitMs);
      }),
    close(): void {
      isClosed = true;
      if (again) clearTimeout(again.timer);
      place.rest();
    },
  };
}
