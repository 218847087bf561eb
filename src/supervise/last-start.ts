/**
 * What `reset` needs to start again: the command, folder and flags of the last start of a bot, in its state folder (0600).
 * Never a token: a command that holds one is not remembered.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { holdsTokenShape } from '../config/show-value.ts';
import type { RawFlags } from '../config/sources.ts';

export interface LastStart {
  readonly command: readonly string[];
  readonly cwd: string;
  readonly flags: RawFlags;
  readonly at: string;
}

const FILE = 'last-start.json';

/** Written beside and renamed, so that a crash leaves the old one. Throws what the system says (a full disk). */
export function rememberStart(botDir: string, start: LastStart): void {
  if (start.command.some(holdsTokenShape)) return;
  const file = join(botDir, FILE);
  const fresh = `${file}.${process.pid}`;
  writeFileSync(fresh, `${JSON.stringify(start, null, 2)}\n`, { mode: 0o600 });
  renameSync(fresh, file);
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
    };
  } catch {
    return null;
  }
}
