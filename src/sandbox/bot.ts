/**
 * One bot at the Bot API: its queue, its one long poll, its webhook, and who gets which 409 when. No sockets and no real
 * time: answers go to a callback, the clock is given. A bot never notices that a client went away, because the real
 * server does not. Nothing is ever delivered to a webhook.
 * Source: tdlib/telegram-bot-api Client.cpp (process_get_updates_query, do_get_updates, abort_long_poll,
 * fail_query_conflict, process_set_webhook_query, do_set_webhook), Client.h for the constants; tdlib/td TQueue.cpp.
 */
import { type Args, booleanArg, integerArg } from '../gateway/params.ts';
import { CONFLICT_HOLD_MS, LONG_POLL_MAX_S } from '../telegram/bot-api.ts';

/** What the Bot API answers, before it is bytes. */
export interface Answer {
  readonly status: number;
  readonly body: object;
  /** Seconds; becomes the `Retry-After` header. */
  readonly retryAfter?: number;
  /** Ids of the updates in the answer of a getUpdates. */
  readonly delivered?: readonly number[];
}

/** Called exactly once for every call that a bot was given. */
export type Reply = (answer: Answer) => void;

export function success(result: unknown, description?: string): Answer {
  return { status: 200, body: { ok: true, result, ...(description !== undefined && { description }) } };
}

export function failure(status: number, description: string): Answer {
  return { status, body: { ok: false, error_code: status, description } };
}

export function tooManyRequests(retryAfter: number): Answer {
  const { status, body } = failure(429, `Too Many Requests: retry after ${retryAfter}`);
  return { status, body: { ...body, parameters: { retry_after: retryAfter } }, retryAfter };
}

export const CONFLICT = {
  poller: 'Conflict: terminated by other getUpdates request; make sure that only one bot instance is running',
  setWebhook: 'Conflict: terminated by setWebhook request',
  webhookActive:
    "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first",
  otherSetWebhook: 'Conflict: terminated by other setWebhook',
} as const;

/** The sandbox's only idea of time, so that tests can move it by hand. */
export interface Clock {
  /** Milliseconds on a clock that never goes back; only differences mean anything. */
  nowMs(): number;
  /** Runs `run` once after `delayMs`; the returned function cancels it. */
  after(delayMs: number, run: () => void): () => void;
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  after(delayMs, run) {
    // The open port keeps the process alive; nothing that waits in the sandbox does.
    const timer = setTimeout(run, delayMs).unref();
    return () => clearTimeout(timer);
  },
};

const REPEAT_WAIT_MS = 3000;
const REPEAT_LIMIT_MS = 500;
const WAKE_AFTER_MS = 1;
const WAKE_AT_MOST_MS = 2;
const SET_WEBHOOK_EVERY_MS = 1000;
/** How long closing an old webhook and checking a new one take. */
const WEBHOOK_STEP_MS = 2;
const QUEUE_LIMIT = 100_000;
/** What a request gets that is dropped while the server goes down (PromiseDeleter). */
const SHUTDOWN_RETRY_S = 5;
const CLOSE_RETRY_S = 600;

/** How long an update waits in the queue; of other kinds a day. */
const LIFETIME_S: Readonly<Record<string, number>> = { inline_query: 30, callback_query: 150 };
const DAY_S = 86_400;
/** Kinds of updates that come only to a bot that asks for them. */
const ONLY_ON_REQUEST = ['chat_member', 'message_reaction', 'message_reaction_count'];

export interface Bot {
  /** Carries out a method that concerns polling, webhook or session; false where the method is none of these. */
  call(method: string, args: Args, reply: Reply): boolean;
  /** Queues an update under the next id, which it returns; 0 where `allowed_updates` keeps it out or the queue is full. */
  push(update: object): number;
  /**
   * The token stops being good, or the server goes down: a waiting poll is answered 200 with what there is; in a
   * shutdown whatever else waits gets 429 `retry after 5`.
   */
  end(why: 'revoked' | 'shutdown'): void;
  state(): { readonly pendingUpdates: number; readonly polling: boolean; readonly webhook: string };
}

interface LongPoll {
  readonly offset: number;
  readonly limit: number;
  readonly reply: Reply;
  deadlineMs: number;
  isAwake: boolean;
  cancel: () => void;
}

/** A request that waits for a later answer: a held 409, or a change of the webhook. */
interface Waiting {
  readonly reply: Reply;
  cancel: () => void;
}

export function createBot(clock: Clock, firstUpdateId: number): Bot {
  let queue: { readonly id: number; readonly update: object; readonly expiresAtMs: number }[] = [];
  let nextId = firstUpdateId;
  /** Null: the default, all kinds but those only on request. */
  let allowed: readonly string[] | null = null;
  let longPoll: LongPoll | null = null;
  let previous = { offset: -1, atMs: Number.NEGATIVE_INFINITY };
  const held = new Set<Waiting>();
  let nextImmediateConflictMs = Number.NEGATIVE_INFINITY;
  let webhook = '';
  let webhookChange: Waiting | null = null;
  let nextSetWebhookMs = Number.NEGATIVE_INFINITY;
  /** The answer that stands for every call once the session has ended. */
  let closed: Answer | null = null;

  /** Unchanged where it is absent, no JSON or no array of strings; an empty array means the default. */
  function takeAllowedUpdates(text: string): void {
    try {
      const names: unknown = JSON.parse(text);
      if (Array.isArray(names) && names.every((name) => typeof name === 'string'))
        allowed = names.length === 0 ? null : names;
    } catch {
      // As if it were absent.
    }
  }

  /** Sends a 409 at once if none was sent at once in the last 3 s, else holds it for 3 s. */
  function conflict(description: string, reply: Reply): void {
    if (clock.nowMs() >= nextImmediateConflictMs) {
      nextImmediateConflictMs = clock.nowMs() + CONFLICT_HOLD_MS;
      reply(failure(409, description));
      return;
    }
    const entry: Waiting = {
      reply,
      cancel: clock.after(CONFLICT_HOLD_MS, () => {
        held.delete(entry);
        reply(failure(409, description));
      }),
    };
    held.add(entry);
  }

  function takePoll(): LongPoll | null {
    const poll = longPoll;
    longPoll = null;
    poll?.cancel();
    return poll;
  }

  function abortLongPoll(description: string): void {
    const poll = takePoll();
    if (poll) conflict(description, poll.reply);
  }

  function finishLongPoll(): void {
    const poll = takePoll();
    if (poll) read(poll.offset, poll.limit, 0, poll.reply);
  }

  function armLongPoll(poll: LongPoll, atMs: number): void {
    poll.cancel();
    poll.cancel = clock.after(Math.max(0, atMs - clock.nowMs()), finishLongPoll);
  }

  function wakeLongPoll(): void {
    if (!longPoll) return;
    const nowMs = clock.nowMs();
    if (!longPoll.isAwake) longPoll.deadlineMs = Math.min(nowMs + WAKE_AT_MOST_MS, longPoll.deadlineMs);
    longPoll.isAwake = true;
    armLongPoll(longPoll, Math.min(nowMs + WAKE_AFTER_MS, longPoll.deadlineMs));
  }

  function pendingUpdates(): number {
    queue = queue.filter(({ expiresAtMs }) => expiresAtMs >= clock.nowMs());
    return queue.length;
  }

  /** Forgets what `wanted` confirms; an offset of 0, or too far in the future, means the oldest (TQueue::get). */
  function forgetBefore(wanted: number): void {
    if (wanted < 0) queue = queue.slice(wanted);
    else if (wanted > 0 && wanted <= nextId + 10) queue = queue.filter(({ id }) => id >= wanted);
  }

  function read(offset: number, limit: number, timeoutS: number, reply: Reply): void {
    forgetBefore(offset);
    if (pendingUpdates() === 0 && timeoutS > 0) {
      abortLongPoll(CONFLICT.poller);
      const deadlineMs = clock.nowMs() + timeoutS * 1000;
      longPoll = { offset: Math.max(offset, 0), limit, reply, deadlineMs, isAwake: false, cancel: () => {} };
      armLongPoll(longPoll, deadlineMs);
      return;
    }
    const updates = queue.slice(0, limit);
    reply({
      ...success(updates.map(({ id, update }) => ({ update_id: id, ...update }))),
      delivered: updates.map(({ id }) => id),
    });
  }

  function getUpdates(args: Args, reply: Reply): void {
    if (webhook !== '') {
      conflict(CONFLICT.webhookActive, reply);
      return;
    }
    const offset = integerArg(args, 'offset', 0);
    let limit = integerArg(args, 'limit', 100, 1, 100);
    let timeoutS = integerArg(args, 'timeout', 0, 0, LONG_POLL_MAX_S);
    takeAllowedUpdates(args.get('allowed_updates'));
    const nowMs = clock.nowMs();
    const isRepeated = offset === previous.offset;
    if (isRepeated && timeoutS < 3 && nowMs < previous.atMs + REPEAT_WAIT_MS) timeoutS = 3;
    if (isRepeated && nowMs < previous.atMs + REPEAT_LIMIT_MS) limit = 1;
    previous = { offset, atMs: nowMs };
    read(offset, limit, timeoutS, reply);
  }

  function setWebhook(url: string, args: Args, reply: Reply): void {
    const isTooSoon = url !== '' && clock.nowMs() < nextSetWebhookMs;
    if (isTooSoon) {
      reply(tooManyRequests(1));
      return;
    }
    if (url !== '') nextSetWebhookMs = clock.nowMs() + SET_WEBHOOK_EVERY_MS;
    const loser = takeWebhookChange();
    if (loser) conflict(CONFLICT.otherSetWebhook, loser.reply);
    else if (url === webhook && !booleanArg(args, 'drop_pending_updates')) {
      takeAllowedUpdates(args.get('allowed_updates'));
      reply(success(true, url === '' ? 'Webhook is already deleted' : 'Webhook is already set'));
      return;
    }
    if (url !== '') abortLongPoll(CONFLICT.setWebhook);
    if (webhook === '') applyWebhook(url, args, reply, 'Webhook is already deleted');
    else
      changeWebhook(reply, () => {
        webhook = '';
        applyWebhook(url, args, reply, 'Webhook was deleted');
      });
  }

  function applyWebhook(url: string, args: Args, reply: Reply, whenDeleted: string): void {
    if (booleanArg(args, 'drop_pending_updates')) queue = [];
    if (url === '') reply(success(true, whenDeleted));
    else if (!URL.canParse(url)) reply(failure(400, 'Bad Request: invalid webhook URL specified'));
    else if (!url.startsWith('https:'))
      reply(failure(400, 'Bad Request: bad webhook: An HTTPS URL must be provided for webhook'));
    else {
      webhook = url;
      takeAllowedUpdates(args.get('allowed_updates'));
      changeWebhook(reply, () => reply(success(true, 'Webhook was set')));
    }
  }

  function changeWebhook(reply: Reply, done: () => void): void {
    webhookChange = {
      reply,
      cancel: clock.after(WEBHOOK_STEP_MS, () => {
        webhookChange = null;
        done();
      }),
    };
  }

  function takeWebhookChange(): Waiting | null {
    const change = webhookChange;
    webhookChange = null;
    change?.cancel();
    return change;
  }

  function end(answer: Answer): void {
    finishLongPoll();
    closed = answer;
  }

  function webhookInfo(): object {
    return {
      url: webhook,
      has_custom_certificate: false,
      pending_update_count: pendingUpdates(),
      ...(webhook !== '' && { max_connections: 40 }),
      ...(allowed && { allowed_updates: allowed }),
    };
  }

  function logOut(reply: Reply): void {
    const answer = failure(400, 'Logged out');
    queue = [];
    webhook = '';
    end(answer);
    takeWebhookChange()?.reply(answer);
    reply(success(true));
  }

  const methods: Readonly<Record<string, (args: Args, reply: Reply) => void>> = {
    getupdates: getUpdates,
    setwebhook: (args, reply) => setWebhook(args.get('url'), args, reply),
    deletewebhook: (args, reply) => setWebhook('', args, reply),
    getwebhookinfo: (_args, reply) => reply(success(webhookInfo())),
    logout: (_args, reply) => logOut(reply),
    // A bot may close its session only ten minutes after its start; hardly a sandbox gets as old.
    close: (_args, reply) => reply(tooManyRequests(CLOSE_RETRY_S)),
  };

  return {
    call(method, args, reply) {
      const carryOut = closed ? () => reply(closed as Answer) : methods[method.toLowerCase()];
      carryOut?.(args, reply);
      return carryOut !== undefined;
    },

    push(update) {
      const [kind = ''] = Object.keys(update);
      const isAllowed = allowed ? allowed.includes(kind) : !ONLY_ON_REQUEST.includes(kind);
      if (!isAllowed || queue.length >= QUEUE_LIMIT) return 0;
      const expiresAtMs = clock.nowMs() + (LIFETIME_S[kind] ?? DAY_S) * 1000;
      queue.push({ id: nextId, update, expiresAtMs });
      if (webhook === '') wakeLongPoll();
      return nextId++;
    },

    end(why) {
      const answer = why === 'revoked' ? failure(401, 'Unauthorized') : tooManyRequests(SHUTDOWN_RETRY_S);
      end(answer);
      if (why === 'revoked') return;
      for (const { cancel, reply } of held) {
        cancel();
        reply(answer);
      }
      held.clear();
      takeWebhookChange()?.reply(answer);
    },

    state: () => ({ pendingUpdates: pendingUpdates(), polling: longPoll !== null, webhook }),
  };
}
