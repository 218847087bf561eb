/**
 * The shape of a bot token, checked in the server's order with the server's words.
 * Source: tdlib/telegram-bot-api ClientManager::send, Client::start_up.
 */
import { randomBytes, randomInt } from 'node:crypto';

export type TokenCheck =
  | { readonly ok: true; readonly botId: number }
  | { readonly ok: false; readonly status: 401 | 421; readonly description: string };

const INVALID = { ok: false, status: 401, description: 'Unauthorized: invalid token specified' } as const;
const UNALLOWED = {
  ok: false,
  status: 421,
  description: 'Misdirected Request: unallowed token specified',
} as const;
export const UNAUTHORIZED = { ok: false, status: 401, description: 'Unauthorized' } as const;

const ID_LIMIT = 2n ** 54n;

/** Says whether `token` is well formed; whether anybody knows it is another question. */
export function checkToken(token: string): TokenCheck {
  if (token.startsWith('0') || Buffer.byteLength(token) > 80 || token.includes('/') || !token.includes(':'))
    return INVALID;
  const colon = token.indexOf(':');
  const number = token.slice(0, colon);
  if (!/^-?\d{1,18}$/.test(number) || /^-?0\d/.test(number)) return UNALLOWED;
  const id = BigInt(number);
  if (id <= 0n || id >= ID_LIMIT) return INVALID;
  const secret = token.slice(colon + 1);
  if (secret.length < 24 || secret.length % 4 === 1 || !/^[A-Za-z0-9_-]+$/.test(secret)) return UNAUTHORIZED;
  return { ok: true, botId: Number(id) };
}

/** A token that looks real (id of 9 or 10 digits, secret of 35) and belongs to nobody. */
export function randomToken(): string {
  const id = randomInt(100_000_000, 9_999_999_999);
  return `${id}:AA${randomBytes(25).toString('base64url').slice(0, 33)}`;
}
