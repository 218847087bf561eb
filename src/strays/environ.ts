/**
 * Looks through an environment block (bytes, as in /proc/PID/environ) for the few facts that matter.
 * It must never return, keep or copy out a token: the block stays with the caller, who overwrites it.
 */
import { FOREIGN_TOKEN, WHOLE_TOKEN } from '../config/token.ts';
import type { ProcEnv } from './process.ts';

const COOKIES = ['SINGLEPOLL_BOT', 'SINGLEPOLL_RUN', 'SINGLEPOLL_SPAWN'] as const;
/** What process managers leave behind in the environment of what they start. */
const MARKS = [
  'pm_id',
  'PM2_HOME',
  'SUPERVISOR_PROCESS_NAME',
  'SUPERVISOR_GROUP_NAME',
  'SUPERVISOR_SERVER_URL',
  'INVOCATION_ID',
  'JOURNAL_STREAM',
  'container',
] as const;
const MARK_BYTES_MAX = 512;

const needles = new Map<string, Buffer>();
function needle(name: string): Buffer {
  let bytes = needles.get(name);
  if (!bytes) {
    bytes = Buffer.from(`\0${name}=`, 'latin1');
    needles.set(name, bytes);
  }
  return bytes;
}

/** The value of a variable, at most `MARK_BYTES_MAX` bytes of it; `block` starts with a NUL that ends nothing. */
function variable(block: Buffer, name: string): string | null {
  const sought = needle(name);
  const at = block.indexOf(sought);
  if (at < 0) return null;
  const from = at + sought.length;
  const end = block.indexOf(0, from);
  const to = Math.min(end < 0 ? block.length : end, from + MARK_BYTES_MAX);
  return block.toString('utf8', from, to);
}

/** True when `token` stands in `bytes` and is not just a part of a longer one. */
export function holdsWholeToken(bytes: Buffer, token: Buffer): boolean {
  for (let at = bytes.indexOf(token); at >= 0; at = bytes.indexOf(token, at + 1)) {
    const before = bytes[at - 1];
    const after = bytes[at + token.length];
    if (!isDigit(before) && !isTokenByte(after)) return true;
  }
  return false;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

function isTokenByte(byte: number | undefined): boolean {
  if (byte === undefined) return false;
  return (
    isDigit(byte) ||
    (byte >= 0x41 && byte <= 0x5a) ||
    (byte >= 0x61 && byte <= 0x7a) ||
    byte === 0x5f ||
    byte === 0x2d
  );
}

/** Ids of the bots, other than `botId`, whose token stands in a block of text. */
export function otherBotsIn(block: Buffer, botId: string): string[] {
  if (!block.includes(0x3a)) return [];
  const ids = new Set<string>();
  for (const [, id] of block.toString('latin1').matchAll(WHOLE_TOKEN)) if (id !== botId) ids.add(id!);
  return [...ids];
}

/** `text` with the secret part of every token cut out, as it may be shown and kept. */
export function maskTokens(text: string): string {
  return text.includes(':') ? text.replace(FOREIGN_TOKEN, '$1:…') : text;
}

const NO_MARKS: Readonly<Record<string, string>> = Object.freeze({});
const EMPTY: ProcEnv = Object.freeze({
  holdsToken: false,
  bot: null,
  run: null,
  spawn: null,
  marks: NO_MARKS,
});

/**
 * The facts of an environment block. `block` must begin with one NUL byte put before the first variable, so that
 * every name is found by `NUL name =` in one search.
 * Null when the block was overwritten: a program that sets its own title may use the room for it.
 */
export function scanEnviron(block: Buffer, tokens: readonly Buffer[]): ProcEnv | null {
  if (block.length > 1 && !block.includes(0x3d)) return null;
  let bot: string | null = null;
  let run: string | null = null;
  let spawn: string | null = null;
  let deploy = false;
  // The cookies share a prefix: one search decides for the three of them, for nearly every process.
  if (block.includes('\0SINGLEPOLL_')) {
    bot = variable(block, COOKIES[0]);
    run = variable(block, COOKIES[1]);
    spawn = variable(block, COOKIES[2]);
    if (run !== null) deploy = (variable(block, 'POLLING_ENABLED') ?? '1') !== '1';
  }
  let marks: Record<string, string> | null = null;
  for (const name of MARKS) {
    const value = variable(block, name);
    if (value === null) continue;
    marks ??= {};
    marks[name] = value;
  }
  // `name` is PM2's variable for the app only beside its other mark; alone it may be anybody's.
  if (marks?.pm_id !== undefined) {
    const name = variable(block, 'name');
    if (name !== null) marks.name = name;
  }
  const holdsToken = tokens.some((token) => holdsWholeToken(block, token));
  if (!holdsToken && bot === null && run === null && marks === null) return EMPTY;
  return {
    holdsToken,
    bot,
    run,
    spawn,
    marks: marks ?? NO_MARKS,
    ...(deploy ? { deploy } : {}),
  };
}
