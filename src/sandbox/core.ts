/** Holds a sandbox's bots, messages, faults and log, with the functions that read and change them. HTTP is in server.ts. */
import { randomBytes, randomInt } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { type ServerResponse, STATUS_CODES } from 'node:http';
import { maskForeign, readToken } from '../config/token.ts';
import { type Args, createArgs, integerArg } from '../gateway/params.ts';
import {
  type Answer,
  CONFLICT,
  createBot,
  failure,
  type Reply,
  success,
  systemClock,
  tooManyRequests,
} from './bot.ts';
import { createChats } from './chats.ts';

const REMEMBERED = 20_000;
const PARAM_CHARS_MAX = 1024;

const ABILITIES = {
  can_join_groups: true,
  can_read_all_group_messages: false,
  supports_inline_queries: false,
  can_connect_to_business: false,
  has_main_web_app: false,
};

export const FAULTS = ['status', 'html', 'retry-after', 'reset', 'hang', 'garbage', 'slow', 'gone'] as const;

export interface Fault {
  /**
   * status: that HTTP status with the usual JSON · html: the same with a front end's HTML page · retry-after: 429 ·
   * reset: the connection is reset and the call not carried out · hang: never answered · garbage: 200 with a body that
   * is no JSON · slow: carried out at once, answered `ms` later · gone: carried out, but the answer is lost.
   */
  readonly kind: (typeof FAULTS)[number];
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

export type SandboxCore = ReturnType<typeof createCore>;
export type SandboxBot = ReturnType<typeof createMember>;
export type RequestRecord = ReturnType<typeof recordOf>;

/** A token that looks real (an id of 9 or 10 digits, a secret of 35) but belongs to no bot. */
export function randomToken(): string {
  return `${randomInt(100_000_000, 9_999_999_999)}:AA${randomBytes(25).toString('base64url').slice(0, 33)}`;
}

export function createCore() {
  const bots = new Map<string, SandboxBot>();
  const chats = createChats();
  const log: RequestRecord[] = [];
  const requests = new EventEmitter<{ start: [RequestRecord]; end: [RequestRecord] }>();
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
    log,
    /** Tells of the start and the end of each. */
    requests,
    /** Records a request that has arrived, and later when its client leaves. */
    startRecord(response: ServerResponse, bot: number, method: string, args: Args): RequestRecord {
      const record = recordOf((log.at(-1)?.id ?? 0) + 1, response, bot, method, args);
      response.once('close', () => {
        if (record.endedAtMs === null) record.clientGoneAtMs = performance.now();
      });
      log.push(record);
      if (log.length > REMEMBERED * 1.1) log.splice(0, log.length - REMEMBERED);
      requests.emit('start', record);
      return record;
    },
    endRecord(record: RequestRecord, outcome: Partial<RequestRecord>): void {
      requests.emit('end', Object.assign(record, outcome, { endedAtMs: performance.now() }));
    },
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
      if (!readToken(token).ok)
        throw new Error('not the shape of a bot token: digits, a colon, at least 24 characters');
      bots.get(token)?.finishPoll();
      bots.set(token, createMember(token));
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

function createMember(token: string) {
  const id = Number(token.split(':')[0]);
  const bot = createBot(systemClock, randomInt(200_001, 1_000_000_000));
  return { ...bot, id, token, username: `sandbox_${id}_bot` };
}

/** One request: which client asked what when, and what the answer was; without tokens. Times are of performance.now(). */
function recordOf(id: number, { req }: ServerResponse, bot: number, method: string, args: Args) {
  const shown = (text: string) => maskForeign(text.slice(0, PARAM_CHARS_MAX));
  const startedAtMs = performance.now();
  return {
    id,
    /** 0: the token names no bot. */
    bot,
    /** As sent (any case); `''`: none. */
    method: shown(method),
    params: Object.fromEntries([...args.entries()].map(([name, value]) => [name, shown(value)])),
    /** Raw `offset` of a getUpdates; null for other methods. */
    offset: method.toLowerCase() === 'getupdates' ? integerArg(args, 'offset', 0) : null,
    userAgent: req.headers['user-agent'] ?? '',
    /** The client's port: the same for all requests of one kept-alive connection. */
    remotePort: req.socket.remotePort ?? 0,
    startedAtMs,
    startedAtUnixMs: Math.round(performance.timeOrigin + startedAtMs),
    /** When it was answered or given up (reset, lost); null while it is open. */
    endedAtMs: null as number | null,
    /** When the client closed the connection before the answer, which the Bot API ignores; null otherwise. */
    clientGoneAtMs: null as number | null,
    /** HTTP status; 0: nothing was sent (reset, hang, lost answer). */
    status: 0,
    error: null as string | null,
    delivered: [] as readonly number[],
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
  if (!FAULTS.some((known) => known === kind)) throw new Error(`kind must be one of ${FAULTS.join(', ')}`);
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
