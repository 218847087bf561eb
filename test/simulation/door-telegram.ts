/**
 * Telegram's server as pollers see it: one queue, one long poll, the 409s with their 3 s hold, the rapid-repeat rules, webhooks.
 * Source: tdlib/telegram-bot-api Client.cpp (process_get_updates_query, do_get_updates, abort_long_poll, fail_query_conflict).
 */
import type { Clock } from './clock.ts';

export type Reply =
  | { readonly kind: 'updates'; readonly ids: readonly number[] }
  | { readonly kind: 'conflict' }
  | { readonly kind: 'webhook' };

export interface GetUpdates {
  readonly from: string;
  readonly offset: number;
  readonly timeoutMs: number;
  /** Called once. The server does not notice that the client has gone. */
  answer(reply: Reply): void;
}

export type Telegram = ReturnType<typeof createTelegram>;

const HOLD_MS = 3_000;
const LIMIT = 100;
const LIMIT_REPEATED_MS = 500;
/** An offset further on than this is none. */
const FUTURE = 10;

const FIRST_ID = 500_000_000;

export function createTelegram(clock: Clock, onConfirmed: (id: number, from: string) => void) {
  let queue: number[] = [];
  let lastId = FIRST_ID - 1;
  let webhook = false;
  let waiting: { readonly request: GetUpdates; readonly cancel: () => void } | null = null;
  let previous = { offset: Number.NaN, atMs: Number.NEGATIVE_INFINITY };
  let lastPromptMs = Number.NEGATIVE_INFINITY;

  /** Each second one of a fight is held. */
  function turnDown(request: GetUpdates, kind: 'conflict' | 'webhook'): void {
    const held = clock.now() - lastPromptMs < HOLD_MS;
    if (!held) lastPromptMs = clock.now();
    clock.after(held ? HOLD_MS : 0, () => request.answer({ kind }));
  }

  function abortWaiting(kind: 'conflict' | 'webhook'): void {
    if (!waiting) return;
    waiting.cancel();
    const { request } = waiting;
    waiting = null;
    turnDown(request, kind);
  }

  function read(offset: number, limit = LIMIT): number[] {
    return queue.filter((id) => id >= offset).slice(0, limit);
  }

  function finish(): void {
    if (!waiting) return;
    waiting.cancel();
    const { request } = waiting;
    waiting = null;
    request.answer({ kind: 'updates', ids: read(request.offset) });
  }

  return {
    /** Not confirmed yet, the oldest first. */
    get queue() {
      return queue;
    },
    get webhook() {
      return webhook;
    },
    receive(request: GetUpdates) {
      if (webhook) return turnDown(request, 'webhook');
      const nowMs = clock.now();
      const { offset } = request;
      // Too far in the future: the oldest.
      const start = offset > lastId + 1 + FUTURE ? 0 : offset;
      const rapid =
        offset === previous.offset && request.timeoutMs < HOLD_MS && nowMs - previous.atMs < HOLD_MS;
      const timeoutMs = rapid ? HOLD_MS : request.timeoutMs;
      const once = offset === previous.offset && nowMs - previous.atMs < LIMIT_REPEATED_MS;
      previous = { offset, atMs: nowMs };
      for (const id of queue) if (id < start) onConfirmed(id, request.from);
      queue = queue.filter((id) => id >= start);
      const ids = read(start, once ? 1 : LIMIT);
      if (ids.length > 0 || timeoutMs === 0) return request.answer({ kind: 'updates', ids });
      abortWaiting('conflict');
      waiting = { request: { ...request, offset: start }, cancel: clock.after(timeoutMs, finish) };
    },
    /** A new update; its id. */
    add(): number {
      const id = ++lastId;
      queue.push(id);
      clock.after(1, finish);
      return id;
    },
    setWebhook(active: boolean) {
      webhook = active;
      if (active) abortWaiting('webhook');
    },
  };
}
