/**
 * All bots of one sandbox and what every call does to them, before and after HTTP: token check, session, method.
 * Source of the order: tdlib/telegram-bot-api ClientManager::send, Client::on_cmd.
 */
import { randomInt } from 'node:crypto';
import type { Args } from '../gateway/params.ts';
import { failure, type Reply, success } from './answer.ts';
import { type Bot, createBot } from './bot.ts';
import { type Chats, createChats } from './chats.ts';
import type { Clock } from './clock.ts';
import { METHODS } from './methods.ts';
import { checkToken, randomToken, UNAUTHORIZED } from './token.ts';

export interface Registered {
  readonly id: number;
  readonly token: string;
  readonly test: boolean;
  readonly username: string;
  /** As getMe shows it, without the abilities. */
  readonly user: object;
  readonly bot: Bot;
}

export interface World {
  readonly chats: Chats;
  /** Registers a bot (again, with an open session, where it is known) and returns its token. Throws on a malformed token. */
  addBot(token?: string, test?: boolean): string;
  bots(): readonly Registered[];
  find(token: string, test?: boolean): Registered | null;
  findById(id: number): Registered | null;
  /** Carries out one call; the reply comes once, now or later. */
  call(token: string, test: boolean, method: string, args: Args, reply: Reply): void;
}

export function createWorld(clock: Clock): World {
  const bots = new Map<string, Registered>();
  const chats = createChats(clock);
  const keyOf = (token: string, test: boolean): string => `${token}${test ? '/test' : ''}`;

  return {
    chats,

    addBot(token = randomToken(), test = false) {
      const checked = checkToken(token);
      if (!checked.ok)
        throw new Error('not the shape of a bot token: digits, a colon, at least 24 characters');
      const id = checked.botId;
      const username = `sandbox_${id}_bot`;
      const user = { id, is_bot: true, first_name: 'Sandbox bot', username };
      const bot = createBot({ clock, firstUpdateId: randomInt(200_001, 1_000_000_000) });
      bots.get(keyOf(token, test))?.bot.endSession('shutdown');
      bots.set(keyOf(token, test), { id, token, test, username, user, bot });
      return token;
    },

    bots: () => [...bots.values()],
    find: (token, test = false) => bots.get(keyOf(token, test)) ?? null,
    findById: (id) => [...bots.values()].find((known) => known.id === id) ?? null,

    call(token, test, method, args, reply) {
      const checked = checkToken(token);
      if (!checked.ok) return reply(failure(checked.status, checked.description));
      const known = bots.get(keyOf(token, test));
      if (!known) return reply(failure(UNAUTHORIZED.status, UNAUTHORIZED.description));
      const { bot } = known;
      const closed = bot.closedAnswer();
      if (closed) return reply(closed);
      const name = method.toLowerCase();
      switch (name) {
        case 'getupdates':
          return bot.getUpdates(args, reply);
        case 'setwebhook':
        case 'deletewebhook':
          return bot.setWebhook(name, args, reply);
        case 'getwebhookinfo':
          return reply(success(bot.webhookInfo()));
        case 'logout':
          return bot.logOut(reply);
        case 'close':
          return bot.close(reply);
        case 'getme':
          return reply(success({ ...known.user, ...ABILITIES }));
        default:
          if (!METHODS.has(name)) return reply(failure(404, 'Not Found: method not found'));
          return reply(chats.call(known, name, args));
      }
    },
  };
}

const ABILITIES = {
  can_join_groups: true,
  can_read_all_group_messages: false,
  supports_inline_queries: false,
  can_connect_to_business: false,
  has_main_web_app: false,
};
