/**
 * One bot's queue of updates: ids rise by one, an update stays until an offset passes it or it expires.
 * Time comes in as an argument. Source: tdlib/td TQueue.cpp (push, get, clear), telegram-bot-api do_get_updates.
 */

export const QUEUE_LIMIT = 100_000;

export interface QueuedUpdate {
  readonly id: number;
  /** The update object without its id. */
  readonly update: object;
  readonly expiresAtMs: number;
}

export interface UpdateQueue {
  /** Adds an update; null when the queue is full. A `wantedId` at or above the next id makes the ids jump there. */
  push(update: object, expiresAtMs: number, wantedId?: number): number | null;
  /**
   * Resolves `offset` as getUpdates does (0: oldest, -n: keep the last n and forget the rest, too far in the future:
   * oldest), forgets everything before it, and returns at most `limit` updates and the resolved offset.
   */
  take(offset: number, limit: number, nowMs: number): { updates: QueuedUpdate[]; offset: number };
  /** Forgets all but the last `keep` updates. */
  clear(keep: number): void;
  count(nowMs: number): number;
  /** Id of the next update to come. */
  nextId(): number;
}

export function createQueue(firstId: number): UpdateQueue {
  let items: QueuedUpdate[] = [];
  let next = firstId;
  const dropExpired = (nowMs: number): void => {
    if (items.some((item) => item.expiresAtMs < nowMs))
      items = items.filter((item) => item.expiresAtMs >= nowMs);
  };
  const clear = (keep: number): void => {
    items = keep <= 0 ? [] : items.slice(-keep);
  };
  const head = (): number => items[0]?.id ?? next;

  return {
    push(update, expiresAtMs, wantedId = 0) {
      if (items.length >= QUEUE_LIMIT) return null;
      const id = Math.max(next, wantedId);
      items.push({ id, update, expiresAtMs });
      next = id + 1;
      return id;
    },
    take(wantedOffset, limit, nowMs) {
      if (wantedOffset < 0) clear(-wantedOffset);
      // "Specified from_id is in the future": TQueue refuses it, do_get_updates then starts at the oldest.
      const offset = wantedOffset <= 0 || wantedOffset > next + 10 ? head() : wantedOffset;
      const firstKept = items.findIndex((item) => item.id >= offset);
      items = firstKept === -1 ? [] : firstKept === 0 ? items : items.slice(firstKept);
      dropExpired(nowMs);
      return { updates: items.slice(0, limit), offset: wantedOffset > 0 ? wantedOffset : offset };
    },
    clear,
    count(nowMs) {
      dropExpired(nowMs);
      return items.length;
    },
    nextId: () => next,
  };
}
