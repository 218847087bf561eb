/**
 * What the state folder of a bot remembers of its runs, in files of mode 0600: of the last start the command, folder and flags, with
 * which `reset` starts again, and why the last run ended, for a `status` that finds none. A command that holds a token is not
 * remembered.
 */
import { join } from 'node:path';
import { jsonIn } from '../config/files.ts';
import type { RawFlags } from '../config/options.ts';
import { holdsTokenShape } from '../config/token.ts';
import { mayWriteWhole, removeQuietly, writeWhole } from '../files.ts';
import { maskText } from '../output/mask.ts';
import { plain } from '../output/plain.ts';
import type { Ending } from './table.ts';

interface LastStart {
  readonly command: readonly string[];
  readonly cwd: string;
  readonly flags: RawFlags;
  readonly at: string;
  readonly username?: string | null;
}

const START_FILE = 'last-start.json';
const END_FILE = 'last-end.json';

/** Throws why it was not remembered (a full disk, a token in it); then nothing is. */
export function rememberStart(botDir: string, start: LastStart): void {
  const file = join(botDir, START_FILE);
  try {
    if (start.command.some(holdsTokenShape)) throw new Error('it holds a bot token');
    writeWhole(file, `${JSON.stringify(start, null, 2)}\n`);
  } catch (error) {
    // Better none than the command of the start before: `reset` would run a program that was replaced.
    removeQuietly(file);
    throw error;
  }
}

export function recallStart(botDir: string): LastStart | null {
  const value = recall<LastStart>(botDir, START_FILE);
  const { command, cwd, flags = {}, at = '', username } = value;
  const isCommand = Array.isArray(command) && command.every((word) => typeof word === 'string');
  if (!isCommand || typeof cwd !== 'string') return null;
  return { command, cwd, flags, at: String(at), username: typeof username === 'string' ? username : null };
}

export interface LastEnd extends Ending {
  /** The worker's last lines, where the worker is the reason. */
  readonly lines: readonly string[];
  readonly log: string | null;
  readonly at: string;
}

/** Written by who holds the lock. That it can't be written is no trouble of the end. */
export function rememberEnd(botDir: string, known: Omit<LastEnd, 'at'>): void {
  const text = (it: string) => plain(maskText(it, []), 500);
  const reason = text(known.reason);
  const end: LastEnd = { ...known, reason, lines: known.lines.map(text), at: new Date().toISOString() };
  if (!mayWriteWhole(join(botDir, END_FILE), `${JSON.stringify(end)}\n`)) forgetEnd(botDir);
}

export const forgetEnd = (botDir: string): void => removeQuietly(join(botDir, END_FILE));

/** Null: none ended for a reason of its own. */
export function recallEnd(botDir: string): LastEnd | null {
  const end = recall<LastEnd>(botDir, END_FILE);
  return typeof end.reason === 'string' && Array.isArray(end.lines) ? (end as LastEnd) : null;
}

function recall<T>(botDir: string, file: string): Partial<T> {
  return { ...(jsonIn(join(botDir, file)) as T) };
}
