/**
 * The four names of a bot's lock in the abstract socket namespace, all made from its token: the same for every user, HOME, folder
 * and terminal, and not to be guessed. A name shows in /proc/net/unix while it is bound, and anybody may take it from then on as
 * soon as it is free; but only the first one shows in everyday life, so that three are left for who meets a squatter.
 *
 * Names are padded with zero bytes to all 108 bytes of `sun_path`: older libuv (Node 20) always binds 108 bytes, newer ones the
 * length given, and two of them must still exclude each other (test/e2e/lock.test.ts).
 * Elsewhere (macOS) loopback ports computed from the names stand in.
 */
import { createHash } from 'node:crypto';

/** What a lock is made from. Holds a secret: never to be printed. */
export interface LockKey {
  readonly botId: string;
  /** The lowest first. The first is the only one that releases before the second protocol know. */
  readonly names: readonly string[];
  /** Holders prove themselves with it. */
  readonly secret: string;
}

export const NAMES = 4;

/** `purpose`: for a lock beside that of the supervisor. */
export function lockKey(botId: string, token: string, purpose = ''): LockKey {
  const names = Array.from({ length: NAMES }, (_, index) => {
    // The first is as it has always been: old and new releases exclude each other with it.
    const text = index === 0 ? `singlepoll lock ${token}` : `singlepoll lock ${token} ${index}`;
    const hash = createHash('sha256').update(text).digest('hex').slice(0, 32);
    return `singlepoll/${botId}/${hash}${purpose === '' ? '' : `/${purpose}`}`;
  });
  return { botId, names, secret: token };
}

export type LockAddress = { readonly path: string } | { readonly host: string; readonly port: number };

export function addressOf(name: string): LockAddress {
  if (process.platform === 'linux') return { path: `\0${name}`.padEnd(108, '\0') };
  const hash = createHash('sha256').update(name).digest();
  return { host: '127.0.0.1', port: 20_000 + (hash.readUInt32BE(0) % 12_000) };
}
