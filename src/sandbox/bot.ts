/**
 * One bot at the Bot API: its queue, its one long poll, its conflicts, its session. No sockets, no real time: answers go
 * to a callback, the clock is given. It must never notice that a client went away, because the real server does not.
 * Source: tdlib/telegram-bot-api Client.cpp (process_get_updates_query, do_get_updates, long_poll_wakeup,
 * abort_long_poll, fail_query_conflict, get_closing_error); Client.h for the constants.
 */

import { type Args, integerArg } from '../gateway/params.ts';
import { CONFLICT_HOLD_MS, LONG_POLL_MAX_S } from '../telegram/bot-api.ts';
import { failure, type Reply, success, tooManyRequests } from './answer.ts';
import type { Clock } from './clock.ts';
import { createQueue, type QueuedUpdate } from './queue.ts';
import { DEFAULT_KINDS, kindOf, lifetimeMs, parseAllowedUpdates } from './update-kinds.ts';
import { createWebhook } from './webhook.ts';

export const CONFLICT = {
  poller: 'Conflict: terminated by other getUpdates request; make sure that only one bot instance is running',
  setWebhook: 'Conflict: terminated by setWebhook request',
  webhookActive:
    "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first",
  otherSetWebhook: 'Conflict: terminated by other setWebhook',
} as const;

const REPEAT_WAIT_MS = 3000;
const REPEAT_LIMIT_MS = 500;
const WAKE_AFTER_MS = 1;
const WAKE_AT_MOST_MS = 2;
const ANSWER_BYTES_MAX = 1 << 22;
const CLOSE_GRACE_S = 600;
const RESTART_MS = 50;
/** What a request gets that is dropped while the server goes down (PromiseDeleter). */
const SHUTDOWN_RETRY_S = 5;

export interface BotOptions {
  readonly clock: Clock;
  readonly firstUpdateId: number;
  /** How long closing an old webhook and checking a new one take. */
  readonly webhookStepMs?: number;
}

export interface Bot {
  getUpdates(args: Args, reply: Reply): void;
  /** setWebhook and deleteWebhook, by name in lower case. */
  setWebhook(method: 'setwebhook' | 'deletewebhook', args: Args, reply: Reply): void;
  webhookInfo(): object;
  /** Notes a failed delivery to the webhook, as getWebhookInfo shows it. */
  noteWebhookError(message: string): void;
  /** Creates an update (with or without `update_id`) and returns its id; 0 where it is filtered out or the queue is full. */
  push(update: object): number;
  logOut(reply: Reply): void;
  close(reply: Reply): void;
  /** The answer that stands for every call while the session is closed; null while it is open. */
  closedAnswer(): ReturnType<typeof failure> | null;
  /**
   * The token stops being good (`revoked`), or the server goes down: a waiting poll is answered 200 with what there is;
   * in a shutdown whatever else waits gets 429 `retry after 5`.
   */
  endSession(why: 'revoked' | 'shutdown'): void;
  pendingCount(): number;
  /** A getUpdates is waiting as the long poll. */
  polling(): boolean;
}

interface Held {
  readonly reply: Reply;
  cancel: () => void;
}

interface LongPoll {
  readonly offset: number;
  readonly limit: number;
  readonly reply: Reply;
  deadlineMs: number;
  wokenUp: boolean;
  cancel: () => void;
}

export function createBot(options: BotOptions): Bot {
  const { clock } = options;
  const startedAtMs = clock.nowMs();
  const queue = createQueue(options.firstUpdateId);
  let allowed: ReadonlySet<string> = DEFAULT_KINDS;
  let longPoll: LongPoll | null = null;
  const held = new Set<Held>();
  let previous = { offset: -1, atMs: Number.NEGATIVE_INFINITY };
  let nextImmediateConflictMs = Number.NEGATIVE_INFINITY;
  let closed: ReturnType<typeof failure> | null = null;

  /** Sends a 409 at once if none was sent at once in the last 3 s, else holds it for 3 s. */
  function conflict(description: string, reply: Reply, hadWaited: boolean): void {
    if (clock.nowMs() >= nextImmediateConflictMs) {
      nextImmediateConflictMs = clock.nowMs() + CONFLICT_HOLD_MS;
      reply({ ...failure(409, description), waited: hadWaited });
      return;
    }
    const entry: Held = { reply, cancel: () => {} };
    held.add(entry);
    entry.cancel = clock.after(CONFLICT_HOLD_MS, () => {
      held.delete(entry);
      reply({ ...failure(409, description), waited: true });
    });
  }

  function takePoll(): LongPoll | null {
    const poll = longPoll;
    longPoll = null;
    poll?.cancel();
    return poll;
  }

  function abortLongPoll(description: string): void {
    const poll = takePoll();
    if (poll) conflict(description, poll.reply, true);
  }

  function takeAllowedUpdates(args: Args): boolean {
    const kinds = parseAllowedUpdates(args.get('allowed_updates'));
    if (kinds === null || sameSet(kinds, allowed)) return false;
    allowed = kinds;
    return true;
  }

  function read(offset: number, limit: number, timeoutS: number, reply: Reply, hasWaited: boolean): void {
    const taken = queue.take(offset, limit, clock.nowMs());
    if (taken.updates.length === 0 && timeoutS > 0) {
      abortLongPoll(CONFLICT.poller);
      const deadlineMs = clock.nowMs() + timeoutS * 1000;
      longPoll = { offset: taken.offset, limit, reply, deadlineMs, wokenUp: false, cancel: () => {} };
      arm(longPoll, deadlineMs);
      return;
    }
    const updates = fitting(taken.updates);
    reply({
      ...success(updates.map(({ id, update }) => ({ update_id: id, ...update }))),
      delivered: updates.map(({ id }) => id),
      waited: hasWaited,
    });
  }

  function arm(poll: LongPoll, atMs: number): void {
    poll.cancel();
    poll.cancel = clock.after(Math.max(0, atMs - clock.nowMs()), finishLongPoll);
  }

  function finishLongPoll(): void {
    const poll = takePoll();
    if (poll) read(poll.offset, poll.limit, 0, poll.reply, true);
  }

  function wakeLongPoll(): void {
    if (!longPoll) return;
    const nowMs = clock.nowMs();
    if (!longPoll.wokenUp) {
      longPoll.wokenUp = true;
      longPoll.deadlineMs = Math.min(nowMs + WAKE_AT_MOST_MS, longPoll.deadlineMs);
    }
    arm(longPoll, Math.min(nowMs + WAKE_AFTER_MS, longPoll.deadlineMs));
  }

  const webhook = createWebhook({
    clock,
    stepMs: options.webhookStepMs ?? 2,
    conflict: (reply) => conflict(CONFLICT.otherSetWebhook, reply, true),
    abortLongPoll: () => abortLongPoll(CONFLICT.setWebhook),
    dropPending: () => queue.clear(0),
    takeAllowedUpdates,
  });

  return {
    getUpdates(args, reply) {
      if (webhook.active()) return conflict(CONFLICT.webhookActive, reply, false);
      const offset = integerArg(args, 'offset', 0);
      let limit = integerArg(args, 'limit', 100, 1, 100);
      let timeoutS = integerArg(args, 'timeout', 0, 0, LONG_POLL_MAX_S);
      takeAllowedUpdates(args);
      const nowMs = clock.nowMs();
      const repeated = offset === previous.offset;
      if (repeated && timeoutS < 3 && nowMs < previous.atMs + REPEAT_WAIT_MS) timeoutS = 3;
      if (repeated && nowMs < previous.atMs + REPEAT_LIMIT_MS) limit = 1;
      previous = { offset, atMs: nowMs };
      read(offset, limit, timeoutS, reply, false);
    },

    setWebhook: (method, args, reply) => webhook.set(method, args, reply),

    webhookInfo: () =>
      webhook.info(queue.count(clock.nowMs()), sameSet(allowed, DEFAULT_KINDS) ? null : allowed),

    noteWebhookError: (message) => webhook.noteError(message),

    push(update) {
      const kind = kindOf(update);
      if (!allowed.has(kind)) return 0;
      const { update_id: wanted, ...rest } = update as { update_id?: unknown };
      const wantedId = typeof wanted === 'number' ? wanted : 0;
      const id = queue.push(rest, clock.nowMs() + lifetimeMs(kind), wantedId);
      if (id !== null && !webhook.active()) wakeLongPoll();
      return id ?? 0;
    },

    logOut(reply) {
      queue.clear(0);
      webhook.forget(failure(400, 'Logged out'));
      finishLongPoll();
      closed = failure(400, 'Logged out');
      reply(success(true));
    },

    close(reply) {
      const leftS = Math.ceil(CLOSE_GRACE_S - (clock.nowMs() - startedAtMs) / 1000);
      if (leftS > 0) return reply(tooManyRequests(leftS));
      finishLongPoll();
      closed = failure(500, 'Internal Server Error: restart');
      clock.after(RESTART_MS, () => {
        closed = null;
      });
      reply(success(true));
    },

    closedAnswer: () => closed,

    endSession(why) {
      finishLongPoll();
      if (why === 'revoked') {
        closed = failure(401, 'Unauthorized');
        return;
      }
      closed = tooManyRequests(SHUTDOWN_RETRY_S);
      for (const { cancel, reply } of held) {
        cancel();
        reply({ ...closed, waited: true });
      }
      held.clear();
      webhook.forget(closed);
    },

    pendingCount: () => queue.count(clock.nowMs()),
    polling: () => longPoll !== null,
  };
}

function sameSet(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.size === b.size && [...a].every((item) => b.has(item));
}

/** An answer stops growing at 4 MiB; what does not fit stays in the queue. */
function fitting(updates: readonly QueuedUpdate[]): readonly QueuedUpdate[] {
  let leftBytes = ANSWER_BYTES_MAX;
  const end = updates.findIndex(({ update }) => {
    leftBytes -= 50 + Buffer.byteLength(JSON.stringify(update));
    return leftBytes <= 0;
  });
  return end === -1 ? updates : updates.slice(0, end);
}
