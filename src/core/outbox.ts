/**
 * Messages on their way to one place: sent one after the other, retried with growing waits, given up after a while, bounded.
 * Whatever is put in ends up in `sent`, `failed` or `waiting`. Pure; times are ms of one clock that only rises.
 */

export interface Outbox<T> {
  readonly waiting: readonly { readonly item: T; readonly sinceMs: number }[];
  /** The first of them is being sent. */
  readonly busy: boolean;
  /** Tries of the first one that failed. */
  readonly tries: number;
  readonly notBeforeMs: number;
  /** The receiver has asked to wait until then. */
  readonly asked: boolean;
  readonly sent: number;
  readonly failed: number;
  /** Tries that failed since the last success. */
  readonly failuresInRow: number;
  /** The last message was given up, none was delivered since. */
  readonly gaveUp: boolean;
  readonly lastError: string | null;
}

export type Delivery =
  | { readonly kind: 'ok' }
  /** It may work later. `afterMs`: what the receiver asks for. */
  | { readonly kind: 'later'; readonly error: string; readonly afterMs: number | null }
  /** It will not work, however often it is tried. */
  | { readonly kind: 'never'; readonly error: string };

export const WAITING_MAX = 20;
export const GIVE_UP_AFTER_MS = 3_600_000;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 300_000;
/** So many tries in a row that failed are worth a look. */
const FAILING_TRIES = 3;

export function emptyOutbox<T>(): Outbox<T> {
  return {
    waiting: [],
    busy: false,
    tries: 0,
    notBeforeMs: Number.NEGATIVE_INFINITY,
    asked: false,
    sent: 0,
    failed: 0,
    failuresInRow: 0,
    gaveUp: false,
    lastError: null,
  };
}

/** The oldest that is not being sent makes room. */
export function put<T>(box: Outbox<T>, item: T, nowMs: number): Outbox<T> {
  const next = { ...box, waiting: [...box.waiting, { item, sinceMs: nowMs }] };
  if (next.waiting.length <= WAITING_MAX) return next;
  return without(next, box.busy ? 1 : 0, 'too many messages wait');
}

/** Gives up what has waited too long, then begins to send the first one that may be sent now; null: none. */
export function take<T>(box: Outbox<T>, nowMs: number): readonly [Outbox<T>, T | null] {
  let next = box;
  if (next.busy) return [next, null];
  while (next.waiting[0] && nowMs - next.waiting[0].sinceMs >= GIVE_UP_AFTER_MS)
    next = without(next, 0, next.lastError ?? 'it could not be sent in time');
  const first = next.waiting[0];
  if (!first || nowMs < next.notBeforeMs) return [next, null];
  return [{ ...next, busy: true }, first.item];
}

/** What has become of the one that was taken. */
export function answered<T>(box: Outbox<T>, delivery: Delivery, nowMs: number): Outbox<T> {
  const idle = { ...box, busy: false };
  switch (delivery.kind) {
    case 'ok':
      return {
        ...idle,
        waiting: box.waiting.slice(1),
        sent: box.sent + 1,
        ...{ tries: 0, notBeforeMs: nowMs, asked: false, failuresInRow: 0, gaveUp: false },
      };
    case 'never':
      return without({ ...idle, failuresInRow: box.failuresInRow + 1 }, 0, delivery.error);
    case 'later': {
      const waitMs = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(box.tries, 20));
      return {
        ...idle,
        tries: box.tries + 1,
        failuresInRow: box.failuresInRow + 1,
        notBeforeMs: nowMs + Math.max(waitMs, delivery.afterMs ?? 0),
        asked: delivery.afterMs !== null,
        lastError: delivery.error,
      };
    }
  }
}

/** There is no time left: the next try is now, unless the receiver has asked for a pause. */
export function hurry<T>(box: Outbox<T>, nowMs: number): Outbox<T> {
  return box.asked ? box : { ...box, notBeforeMs: Math.min(box.notBeforeMs, nowMs) };
}

/** When to take again; null: nothing waits, or one is being sent. */
export function outboxDueMs<T>({ waiting, busy, notBeforeMs }: Outbox<T>): number | null {
  const first = waiting[0];
  if (!first || busy) return null;
  return Math.min(Math.max(notBeforeMs, first.sinceMs), first.sinceMs + GIVE_UP_AFTER_MS);
}

/** Worth a problem in `status`. */
export function isFailing<T>({ failuresInRow, gaveUp }: Outbox<T>): boolean {
  return gaveUp || failuresInRow >= FAILING_TRIES;
}

function without<T>(box: Outbox<T>, index: number, error: string): Outbox<T> {
  return {
    ...box,
    waiting: box.waiting.filter((_, i) => i !== index),
    // The next one begins anew.
    tries: index === 0 ? 0 : box.tries,
    failed: box.failed + 1,
    gaveUp: true,
    lastError: error,
  };
}
