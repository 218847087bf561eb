/** What every command does first: read the configuration, say its warnings, end with all its mistakes at once. */

import type { Config } from '../config/config.ts';
import { configFailure } from '../config/config-error.ts';
import { loadConfig } from '../config/load.ts';
import type { Invocation } from './invocation.ts';

export interface Loaded {
  readonly config: Config;
  readonly warnings: readonly string[];
}

/** Throws SinglepollError 78 with every mistake. Warnings are the caller's to show. */
export async function configure(
  { command, flags, words }: Pick<Invocation, 'command' | 'flags' | 'words'>,
  cwd = process.cwd(),
): Promise<Loaded> {
  const loaded = await loadConfig({ command, flags, argvCommand: words, env: process.env, cwd });
  if (!loaded.ok) {
    warn(loaded.warnings);
    throw configFailure(loaded.errors);
  }
  return loaded;
}

/** For commands whose talk has no format of its own. */
export function warn(warnings: readonly string[]): void {
  for (const warning of warnings) process.stderr.write(`singlepoll: ${warning}\n`);
}
