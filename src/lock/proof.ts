/**
 * How the holder of a lock proves that it is a supervisor of this bot. The asker sends a line with a nonce; the holder answers
 * with a line of JSON whose `mac` can be made only with the token. The mac covers the name that was asked, the nonce, and the
 * pid, start time and pid namespace of the holder. The asker compares these with what the kernel says of the process that
 * listens, so an answer can neither be kept for later nor be passed on by another process.
 * The connection stays open after the answer: its end tells that the holder is gone.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import net from 'node:net';
import { parseObject } from '../config/files.ts';

export interface Identity {
  readonly pid: number;
  /** Field 22 of its /proc/PID/stat; empty without /proc. */
  readonly startId: string;
  /** The link of its /proc/PID/ns/pid; empty without /proc. */
  readonly pidNamespace: string;
  readonly uid: number | null;
  readonly startedAt: string | null;
  readonly cwd: string | null;
  readonly version: string | null;
  /** Path of its control socket; null: it has none. May be shown, but never connected to. */
  readonly control: string | null;
}

export interface Answer extends Identity {
  readonly holds: boolean;
}

type Reply =
  | { readonly kind: 'proven'; readonly answer: Answer }
  | { readonly kind: 'wrong' }
  | { readonly kind: 'silent' }
  /** The connection ended without a line. */
  | { readonly kind: 'closed' }
  | { readonly kind: 'nobody' };

const GREETING = 'singlepoll lock v2';
const QUESTION = /^singlepoll lock v2 ([0-9a-f]{32})\n$/;
export const QUESTION_MAX = GREETING.length + 34;
const LINE_MAX = 8192;

/** The line that answers a question; null: that is not a question of this protocol. */
export function answerTo(question: string, key: LockKey, name: string, answer: Answer): string | null {
  const nonce = QUESTION.exec(question)?.[1];
  if (nonce === undefined) return null;
  return `${JSON.stringify({ v: 2, ...answer, mac: macOf(key, name, nonce, answer) })}\n`;
}

function macOf(key: LockKey, name: string, nonce: string, answer: Answer): string {
  const { holds, pid, startId, pidNamespace, uid, startedAt, cwd, version, control } = answer;
  // JSON is unambiguous: no two lists of fields give the same text.
  const fields = [GREETING, name, nonce, pid, startId, pidNamespace, holds];
  const text = JSON.stringify([...fields, uid, startedAt, cwd, version, control]);
  return createHmac('sha256', key.secret).update(text).digest('hex');
}

/** Asks the process that listens at `name`. Never rejects; takes at most `timeoutMs`. */
export function challenge(key: LockKey, name: string, timeoutMs: number): Promise<Reply> {
  const nonce = randomBytes(16).toString('hex');
  return new Promise((resolve) => {
    let text = '';
    const socket = net.connect(addressOf(name));
    const settle = (reply: Reply) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(reply);
    };
    const timer = setTimeout(() => settle({ kind: 'silent' }), timeoutMs);
    socket.setEncoding('utf8');
    socket.on('connect', () => socket.write(`${GREETING} ${nonce}\n`));
    socket.on('data', (chunk: string) => {
      text += chunk;
      const end = text.indexOf('\n');
      if (end >= 0) settle(readReply(text.slice(0, end), key, name, nonce));
      else if (text.length > LINE_MAX) settle({ kind: 'wrong' });
    });
    socket.on('error', ({ code }: NodeJS.ErrnoException) => {
      if (code === 'ECONNREFUSED' || code === 'ENOENT') settle({ kind: 'nobody' });
      // EAGAIN: its queue of connections is full for now.
      else settle({ kind: 'closed' });
    });
    socket.on('close', () => settle({ kind: 'closed' }));
  });
}

function readReply(line: string, key: LockKey, name: string, nonce: string): Reply {
  const raw = parseObject<Answer & { mac?: string }>(line);
  if (typeof raw?.mac !== 'string') return { kind: 'wrong' };
  // The right mac shows that a holder of the token wrote these fields.
  const { holds, pid, startId, pidNamespace, uid, startedAt, cwd, version, control } = raw;
  const answer = { holds, pid, startId, pidNamespace, uid, startedAt, cwd, version, control };
  const right = Buffer.from(macOf(key, name, nonce, answer));
  const given = Buffer.from(raw.mac);
  if (given.length !== right.length || !timingSafeEqual(given, right)) return { kind: 'wrong' };
  return { kind: 'proven', answer };
}

/** What a lock is made from. It holds a secret and must never be printed. */
export interface LockKey {
  readonly botId: string;
  /** The lowest comes first. */
  readonly names: readonly string[];
  readonly secret: string;
}

const NAMES = 4;

/** With `purpose` it is the key of another lock than the supervisor's. */
export function lockKey(token: string, purpose = ''): LockKey {
  const botId = token.slice(0, token.indexOf(':'));
  // They never change, so that old and new releases exclude each other.
  const names = Array.from({ length: NAMES }, (_, index) => {
    const text = index === 0 ? `singlepoll lock ${token}` : `singlepoll lock ${token} ${index}`;
    const hash = createHash('sha256').update(text).digest('hex').slice(0, 32);
    return `singlepoll/${botId}/${hash}${purpose === '' ? '' : `/${purpose}`}`;
  });
  return { botId, names, secret: token };
}

export function addressOf(name: string): { path: string } | { host: string; port: number } {
  if (process.platform === 'linux') return { path: `\0${name}`.padEnd(108, '\0') };
  const hash = createHash('sha256').update(name).digest();
  return { host: '127.0.0.1', port: 20_000 + (hash.readUInt32BE(0) % 12_000) };
}
