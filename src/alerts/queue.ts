/**
 * Messages on their way to one place: sent one after the other, retried with growing waits, given up after an hour, at most twenty.
 * Each place has a queue of its own, so that one that hangs or fails keeps nobody else waiting. Every message ends up as sent or failed.
 */
import { plain } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import { count, duration } from '../output/words.ts';
import type { Message } from './message.ts';

export type Delivery =
  | { readonly kind: 'ok' }
  /** It may work later. `afterMs`: what the receiver asks for. */
  | { readonly kind: 'later'; readonly error: string; readonly afterMs: number | null }
  /** It will not work, however often it is tried. */
  | { readonly kind: 'never'; readonly error: string };

export interface Place {
  readonly name: string;
  send(message: Message): Promise<Delivery>;
  /** Nothing waits any more: no connection is to be held. */
  rest(): void;
}

export interface Counts {
  readonly sent: number;
  readonly failed: number;
  readonly waiting: number;
  readonly lastError: string | null;
  /** Worth a problem in `status`: the last one was given up, or three tries in a row have failed. */
  readonly isFailing: boolean;
}

export interface Queue {
  post(message: Message): void;
  counts(): Counts;
  /** There is no time left: the next try is now, unless the receiver has asked for a pause. */
  hurry(): void;
  /** Something may come of waiting until then. */
  isPending(deadlineMs: number): boolean;
  close(): void;
}

export const WAITING_MAX = 20;
export const GIVE_UP_AFTER_MS = 3_600_000;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 300_000;
const FAILING_TRIES = 3;

export function createQueue(
  place: Place,
  report: Pick<Report, 'line'>,
  onChange: () => void,
  nowMs: () => number = () => performance.now(),
): Queue {
  const waiting: { readonly message: Message; readonly sinceMs: number }[] = [];
  let [sent, failed, tries, failuresInRow] = [0, 0, 0, 0];
  let [busy, asked, gaveUp, closed] = [false, false, false, false];
  let notBeforeMs = Number.NEGATIVE_INFINITY;
  let lastError: string | null = null;
  let timer: NodeJS.Timeout | null = null;

  function drop(index: number, error: string): void {
    waiting.splice(index, 1);
    // The next one begins anew.
    if (index === 0) tries = 0;
    failed += 1;
    gaveUp = true;
    lastError = error;
  }

  /** When to try again; null: nothing waits, or one is being sent. */
  function dueMs(): number | null {
    const [first] = waiting;
    if (!first || busy) return null;
    return Math.min(Math.max(notBeforeMs, first.sinceMs), first.sinceMs + GIVE_UP_AFTER_MS);
  }

  function pump(): void {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    if (closed || busy) return;
    let old = 0;
    while (waiting[0] && nowMs() - waiting[0].sinceMs >= GIVE_UP_AFTER_MS) {
      drop(0, lastError ?? 'it could not be sent in time');
      old += 1;
    }
    if (old > 0)
      report.line('alert', `${count(old, 'message')} given up after an hour: ${lastError}`, 'warn');
    const due = dueMs();
    if (due === null) return;
    if (due > nowMs()) {
      timer = setTimeout(pump, Math.max(1, Math.ceil(due - nowMs()))).unref();
      return;
    }
    busy = true;
    const { message } = waiting[0]!;
    void place
      .send(message)
      .catch((error: unknown): Delivery => ({ kind: 'later', error: String(error), afterMs: null }))
      .then((delivery) => settle(message, delivery));
  }

  function settle({ title }: Message, delivery: Delivery): void {
    if (closed) return;
    busy = false;
    if (delivery.kind === 'ok') {
      waiting.shift();
      sent += 1;
      [tries, failuresInRow, notBeforeMs, asked, gaveUp] = [0, 0, nowMs(), false, false];
      report.line('alert', `"${title}" told to ${place.name}`);
    } else {
      const error = `${place.name}: ${plain(delivery.error, 200)}`;
      failuresInRow += 1;
      if (delivery.kind === 'never') {
        drop(0, error);
        report.line('alert', `"${title}" not delivered, and given up: ${error}`, 'warn');
      } else {
        const waitMs = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(tries, 20));
        tries += 1;
        lastError = error;
        asked = delivery.afterMs !== null;
        notBeforeMs = nowMs() + Math.max(waitMs, delivery.afterMs ?? 0);
        const again = duration(notBeforeMs - nowMs());
        if (failuresInRow === 1)
          report.line('alert', `"${title}" not delivered yet: ${error}; tried again in ${again}`, 'warn');
      }
    }
    if (waiting.length === 0) place.rest();
    pump();
    onChange();
  }

  return {
    post(message) {
      waiting.push({ message, sinceMs: nowMs() });
      // The oldest that is not being sent makes room.
      if (waiting.length > WAITING_MAX) drop(busy ? 1 : 0, 'too many messages wait');
      pump();
    },
    counts: () => ({
      ...{ sent, failed, waiting: waiting.length, lastError },
      isFailing: gaveUp || failuresInRow >= FAILING_TRIES,
    }),
    hurry() {
      if (!asked) notBeforeMs = Math.min(notBeforeMs, nowMs());
      pump();
    },
    isPending: (deadlineMs) => busy || (dueMs() ?? Number.POSITIVE_INFINITY) < deadlineMs,
    close() {
      closed = true;
      if (timer !== null) clearTimeout(timer);
      place.rest();
    },
  };
}
