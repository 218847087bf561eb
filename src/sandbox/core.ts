/** What a sandbox holds, and what can be done with it by word of mouth: bots, messages, faults, the log. HTTP is in server.ts. */
import { randomBytes, randomInt } from 'node:crypto';
import { type Args, createArgs } from '../gateway/params.ts';
import { type Answer, type Bot, createBot, failure, type Reply, success, systemClock } from './bot.ts';
import { createChats } from './chats.ts';
import { createFaults } from './faults.ts';
import { createRequestLog } from './log.ts';

const TOKEN_SHAPE = /^[1-9]\d{0,15}:[A-Za-z0-9_-]{24,64}$/;
const ABILITIES = {
  can_join_groups: true,
  can_read_all_group_messages: false,
  supports_inline_queries: false,
};

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
  const faults = createFaults();
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
    /** The bytes of a file that a bot has uploaded. */
    file: chats.file,
    /** The latest messages that bots have sent, oldest first. */
    sent: chats.sent,
    /** The latest Bot API requests, oldest first. */
    log: log.records,
    ...{ startRecord: log.start, endRecord: log.end, onRequest: log.onRequest },
    ...{ fault: faults.add, clearFaults: faults.clear, faults: faults.list, strike: faults.strike },
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
