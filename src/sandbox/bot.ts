/**
 * One bot at the Bot API: its queue, its one long poll, its webhook, and which call gets which 409 when. Answers go to a callback, the clock
 * is given. A bot never notices that a client went away, because the real server does not. Nothing is ever delivered to a webhook.
 * Source: tdlib/telegram-bot-api Client.cpp (process_get_updates_query, do_get_updates, abort_long_poll,
 * fail_query_conflict, process_set_webhook_query), Client.h for the constants; tdlib/td TQueue.cpp.
 */
import { parseObject } from '../config/files.ts';
import { type Args, booleanArg, integerArg } from '../gateway/params.ts';
import { CONFLICT_HOLD_MS, LONG_POLL_MAX_S } from '../telegram/bot-api.ts';

/** An answer of the Bot API, before it is serialized. */
export interface Answer {
  readonly status: number;
  readonly body: object;
  readonly retryAfter?: number;
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
} as const;

/** The sandbox's only source of time, so that tests can move it. */
export interface Clock {
  /** Milliseconds of a clock that never goes back, with an arbitrary origin. */
  nowMs(): number;
  /** Runs `run` once after `delayMs`; the returned function cancels it. */
  after(delayMs: number, run: () => void): () => void;
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  after(delayMs, run) {
    // Only the open port keeps the process alive.
    const timer = setTimeout(run, delayMs).unref();
    return () => clearTimeout(timer);
  },
};

const REPEAT_WAIT_MS = 3000;
const REPEAT_LIMIT_MS = 500;
/** Time from a new update to the answer of the waiting poll, so that further updates can go into the same answer. */
const WAKE_AFTER_MS = 1;
/** Kinds of updates that a bot gets only if it asks for them. */
const ONLY_ON_REQUEST = ['chat_member', 'message_reaction', 'message_reaction_count'];

export type Bot = ReturnType<typeof createBot>;

interface LongPoll {
  readonly offset: number;
  readonly limit: number;
  readonly reply: Reply;
  isAwake: boolean;
  cancel: () => void;
}

export function createBot(clock: Clock, firstUpdateId: number) {
  let queue: { readonly id: number; readonly update: object }[] = [];
  let nextId = firstUpdateId;
  /** Null: the default, all kinds except ONLY_ON_REQUEST. */
  let allowed: readonly string[] | null = null;
  let longPoll: LongPoll | null = null;
  let previous = { offset: -1, atMs: Number.NEGATIVE_INFINITY };
  let nextImmediateConflictMs = Number.NEGATIVE_INFINITY;
  let webhook = '';
  /** The answer to every call once the session has ended. */
  let closed: Answer | null = null;

  /** Changes nothing if the text is absent, no JSON or no array of strings; an empty array means the default. */
  function takeAllowedUpdates(text: string): void {
    const names = parseObject(text);
    if (Array.isArray(names) && names.every((name) => typeof name === 'string'))
      allowed = names.length === 0 ? null : names;
  }

  /** Sends a 409 at once if none was sent at once in the last 3 s, otherwise holds it for 3 s. */
  function conflict(description: string, reply: Reply): void {
    const nowMs = clock.nowMs();
    if (nowMs >= nextImmediateConflictMs) {
      nextImmediateConflictMs = nowMs + CONFLICT_HOLD_MS;
      reply(failure(409, description));
    } else clock.after(CONFLICT_HOLD_MS, () => reply(failure(409, description)));
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

  function wakeLongPoll(): void {
    if (!longPoll || longPoll.isAwake) return;
    longPoll.isAwake = true;
    longPoll.cancel();
    longPoll.cancel = clock.after(WAKE_AFTER_MS, finishLongPoll);
  }

  function read(offset: number, limit: number, timeoutS: number, reply: Reply): void {
    // An offset of 0, or too far in the future, confirms no update (TQueue::get).
    if (offset < 0) queue = queue.slice(offset);
    else if (offset > 0 && offset <= nextId + 10) queue = queue.filter(({ id }) => id >= offset);
    if (queue.length === 0 && timeoutS > 0) {
      abortLongPoll(CONFLICT.poller);
      const cancel = clock.after(timeoutS * 1000, finishLongPoll);
      longPoll = { offset: Math.max(offset, 0), limit, reply, isAwake: false, cancel };
      return;
    }
    const updates = queue.slice(0, limit);
    reply({
      ...success(updates.map(({ id, update }) => ({ update_id: id, ...update }))),
      delivered: updates.map(({ id }) => id),
    });
  }

  function getUpdates(args: Args, reply: Reply): void {
    if (webhook !== '') return void conflict(CONFLICT.webhookActive, reply);
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

  function setWebhook(url: string, args: Args): Answer {
    const former = webhook;
    if (url !== '' && url !== former) abortLongPoll(CONFLICT.setWebhook);
    if (url !== '' && !url.startsWith('https://'))
      return failure(400, 'Bad Request: bad webhook: An HTTPS URL must be provided for webhook');
    webhook = url;
    if (booleanArg(args, 'drop_pending_updates')) queue = [];
    if (url === '') return success(true, `Webhook ${former === '' ? 'is already' : 'was'} deleted`);
    takeAllowedUpdates(args.get('allowed_updates'));
    return success(true, `Webhook ${url === former ? 'is already' : 'was'} set`);
  }

  function end(answer: Answer): void {
    finishLongPoll();
    closed = answer;
  }

  const methods: Readonly<Record<string, (args: Args, reply: Reply) => void>> = {
    getupdates: getUpdates,
    setwebhook: (args, reply) => reply(setWebhook(args.get('url'), args)),
    deletewebhook: (args, reply) => reply(setWebhook('', args)),
    getwebhookinfo(_args, reply) {
      const count = { has_custom_certificate: false, pending_update_count: queue.length };
      reply(success({ url: webhook, ...count }));
    },
    logout(_args, reply) {
      end(failure(400, 'Logged out'));
      reply(success(true));
    },
  };

  return {
    /** Carries out a method about polling, webhook or session; false: the method is none of these. */
    call(method: string, args: Args, reply: Reply): boolean {
      const carryOut = closed ? () => reply(closed as Answer) : methods[method.toLowerCase()];
      carryOut?.(args, reply);
      return carryOut !== undefined;
    },
    /** Queues an update and returns its id; 0 if `allowed_updates` excludes it. */
    push(update: object): number {
      const [kind = ''] = Object.keys(update);
      const isAllowed = allowed ? allowed.includes(kind) : !ONLY_ON_REQUEST.includes(kind);
      if (!isAllowed) return 0;
      queue.push({ id: nextId, update });
      if (webhook === '') wakeLongPoll();
      return nextId++;
    },
    /** Answers a waiting poll with the updates so far. */
    finishPoll: finishLongPoll,
    /** Does that, and gives every later call this answer. */
    end,
    state: () => ({ pendingUpdates: queue.length, polling: longPoll !== null, webhook }),
  };
}
