/**
 * What `reset` needs to start again: the command, folder and flags of the last start of a bot, in its state folder (0600).
 * Never a secret: a command that holds a token, a lease URL with credentials or an alert URL, is not remembered.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { longFlag, type RawFlags } from '../config/options.ts';
import { secretFlags } from '../config/targets.ts';
import { holdsTokenShape } from '../config/token.ts';

export interface LastStart {
  readonly command: readonly string[];
  readonly cwd: string;
  readonly flags: RawFlags;
  readonly at: string;
  /** Of the bot. */
  readonly username?: string | null;
}

const FILE = 'last-start.json';

/** Written beside and renamed. Throws why it was not remembered (a full disk, a token in it); then nothing is. */
export function rememberStart(botDir: string, start: LastStart): void {
  const file = join(botDir, FILE);
  const fresh = `${file}.${process.pid}`;
  try {
    if (start.command.some(holdsTokenShape)) throw new Error('it holds a bot token');
    const [secret] = secretFlags(start.flags);
    if (secret)
      throw new Error(`${longFlag(secret.name)} holds a secret; ${longFlag(secret.name)} env:NAME does not`);
    writeFileSync(fresh, `${JSON.stringify(start, null, 2)}\n`, { mode: 0o600 });
    renameSync(fresh, file);
  } catch (error) {
    // Better none than the command of the start before: `reset` would run a program that was replaced.
    for (const path of [fresh, file]) rmSync(path, { force: true });
    throw error;
  }
}

export function recallStart(botDir: string): LastStart | null {
  try {
    const value = JSON.parse(readFileSync(join(botDir, FILE), 'utf8')) as Partial<LastStart>;
    const words = Array.isArray(value.command) && value.command.every((word) => typeof word === 'string');
    if (!words || typeof value.cwd !== 'string') return null;
    return {
      command: value.command as string[],
      cwd: value.cwd,
      flags: value.flags ?? {},
      at: String(value.at ?? ''),
      username: typeof value.username === 'string' ? value.username : null,
    };
  } catch {
    return null;
  }
}
