/** What a sandbox holds, and what can be done with it by word of mouth: bots, messages, faults, the log. HTTP is in server.ts. */
import { randomBytes, randomInt } from 'node:crypto';
import { STATUS_CODES } from 'node:http';
import { type Args, createArgs } from '../gateway/params.ts';
import {
  type Answer,
  type Bot,
  CONFLICT,
  createBot,
  failure,
  type Reply,
  success,
  systemClock,
  tooManyRequests,
} from './bot.ts';
import { createChats } from './chats.ts';
import { createRequestLog } from './log.ts';

const TOKEN_SHAPE = /^[1-9]\d{0,15}:[A-Za-z0-9_-]{24,64}$/;
const ABILITIES = {
  can_join_groups: true,
  can_read_all_group_messages: false,
  supports_inline_queries: false,
  can_connect_to_business: false,
  has_main_web_app: false,
};

export const FAULT_KINDS = [
  'status',
  'html',
  'retry-after',
  'reset',
  'hang',
  'garbage',
  'slow',
  'gone',
] as const;

export interface Fault {
  /**
   * status: that HTTP status with the usual JSON · html: the same with a front end's HTML page · retry-after: 429 ·
   * reset: the connection is reset and the call not carried out · hang: never answered · garbage: 200 with a body that
   * is no JSON · slow: carried out at once, answered `ms` later · gone: carried out, but the answer is lost.
   */
  readonly kind: (typeof FAULT_KINDS)[number];
  /** Only this method (any case); absent: all. */
  readonly method?: string | undefined;
  /** Only this bot id; absent: all. */
  readonly bot?: number | undefined;
  /** HTTP status of `status` and `html`; default 502. */
  readonly status?: number | undefined;
  /** For `retry-after`: seconds; default 1. */
  readonly retryAfter?: number | undefined;
  /** For `slow`: milliseconds; default 1000. */
  readonly ms?: number | undefined;
  /** How many calls; default 1, 0 = until cleared. */
  readonly count?: number | undefined;
}

export interface SandboxBot extends Bot {
  readonly id: number;
  readonly token: string;
  readonly username: string;
}

export type SandboxCore = ReturnType<typeof createCore>;

/** A token that looks real (an id of 9 or 10 digits, a secret of 35) but belongs to no bot. */
export function randomToken(): string {
  return `${randomInt(100_000_000, 9_999_999_999)}:AA${randomBytes(25).toString('base64url').slice(0, 33)}`;
}

export function createCore() {
  const bots = new Map<string, SandboxBot>();
  const chats = createChats();
  const log = createRequestLog();
  let faults: readonly Fault[] = [];
  let lastTextId = 0;

  function botOf(token: string): SandboxBot {
    const bot = bots.get(token);
    if (!bot) throw new Error('no such bot in this sandbox');
    return bot;
  }

  /** Carries out a call of the Bot API. Undefined: the token names no bot. */
  function carryOut(bot: SandboxBot | undefined, method: string, args: Args, reply: Reply): void {
    if (!bot) return void reply(failure(401, 'Unauthorized'));
    if (bot.call(method, args, reply)) return;
    const { id, username } = bot;
    const user = { id, is_bot: true, first_name: 'Sandbox bot', username };
    const isGetMe = method.toLowerCase() === 'getme';
    reply(isGetMe ? success({ ...user, ...ABILITIES }) : chats.call({ id, user }, method, args));
  }

  return {
    carryOut,
    find: (token: string) => bots.get(token),
    file: chats.file,
    sent: chats.sent,
    log: log.records,
    ...{ startRecord: log.start, endRecord: log.end, onRequest: log.onRequest },
    /** With the number of calls left; 0: until cleared. */
    faults: () => faults,
    fault: (fault: Fault) => (faults = [...faults, { ...fault, count: fault.count ?? 1 }]),
    clearFaults: () => (faults = []),
    /** Takes the oldest fault that matches this call, and counts it down; null: there is none. */
    strike(method: string, id: number): Fault | null {
      const isMeant = ({ bot = id, method: wanted = method }: Fault) =>
        wanted.toLowerCase() === method.toLowerCase() && bot === id;
      const hit = faults.find(isMeant);
      if (!hit) return null;
      const left = hit.count === 0 ? [hit] : hit.count === 1 ? [] : [{ ...hit, count: hit.count! - 1 }];
      faults = faults.flatMap((it) => (it === hit ? left : [it]));
      return hit;
    },
    bots: () => [...bots.values()],
    /** Registers a bot and returns its token; a known bot restarts with an empty queue. Throws on a malformed token. */
    addBot(token = randomToken()): string {
      if (!TOKEN_SHAPE.test(token))
        throw new Error('not the shape of a bot token: digits, a colon, at least 24 characters');
      const id = Number(token.split(':')[0]);
      const bot = createBot(systemClock, randomInt(200_001, 1_000_000_000));
      bots.get(token)?.finishPoll();
      bots.set(token, { ...bot, id, token, username: `sandbox_${id}_bot` });
      return token;
    },
    /** Makes the token invalid (401) from now on, and answers a waiting poll. */
    revoke: (token: string) => botOf(token).end(failure(401, 'Unauthorized')),
    /** Queues an update; returns its id, or 0 if `allowed_updates` excludes it. */
    inject: (token: string, update: object) => botOf(token).push(update),
    /** Queues a text message from a user with the id 1000. */
    injectText: (token: string, text: string) => botOf(token).push(textUpdate(++lastTextId, text)),
    /** Makes a Bot API call from inside, without HTTP and log. */
    call: (token: string, method: string, params: Record<string, string>) =>
      new Promise<Answer>((resolve) => carryOut(botOf(token), method, createArgs(params), resolve)),
  };
}

/** A text message from a user; text with a leading slash is marked as a command, as Telegram does. */
function textUpdate(messageId: number, text: string): object {
  const command = text.startsWith('/') ? (text.split(/\s/, 1)[0]?.length ?? 0) : 0;
  return {
    message: {
      message_id: messageId,
      from: { id: 1000, is_bot: false, first_name: 'User', language_code: 'en' },
      chat: { id: 1000, first_name: 'User', type: 'private' },
      date: Math.floor(Date.now() / 1000),
      text,
      ...(command > 0 && { entities: [{ type: 'bot_command', offset: 0, length: command }] }),
    },
  };
}

/** Checks a fault that came as JSON; throws an error that says what is wrong with it. */
export function checkedFault(given: Readonly<Record<string, unknown>>): Fault {
  const { kind, method, status = 502 } = given as Partial<Fault>;
  if (!FAULT_KINDS.some((known) => known === kind))
    throw new Error(`kind must be one of ${FAULT_KINDS.join(', ')}`);
  if (method !== undefined && typeof method !== 'string') throw new Error('method must be a string');
  for (const name of ['bot', 'status', 'retryAfter', 'ms', 'count'])
    if (given[name] !== undefined && !(Number.isInteger(given[name]) && (given[name] as number) >= 0))
      throw new Error(`${name} must be a whole number, 0 or more`);
  if (status < 200 || status > 599) throw new Error('status must be from 200 to 599');
  return given as unknown as Fault;
}

/** The answer of a `status`, `html`, `garbage` or `retry-after` fault. */
export function faultAnswer({ kind, status = 502, retryAfter = 1 }: Fault): {
  readonly status: number;
  readonly text: string;
  readonly retryAfter?: number;
} {
  if (kind === 'html')
    return { status, text: `<html>\r\n<head><title>${status}</title></head>\r\n</html>\r\n` };
  if (kind === 'garbage') return { status: 200, text: '{"ok":true,"result":[{"update_id":\u0000' };
  const answer =
    kind === 'retry-after'
      ? tooManyRequests(retryAfter)
      : failure(status, status === 409 ? CONFLICT.poller : (STATUS_CODES[status] ?? ''));
  return { ...answer, text: JSON.stringify(answer.body) };
}
