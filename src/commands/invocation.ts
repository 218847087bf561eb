/** What a command's code gets: what was typed, and nothing read yet. */
import type { CommandName, RawFlags } from '../config/options.ts';

export interface Invocation {
  readonly command: CommandName;
  readonly flags: RawFlags;
  /** Options of the command itself, beside those of the option table. */
  readonly own: Readonly<Record<string, unknown>>;
  readonly words: readonly string[];
}

/** Resolves to the exit code; throws SinglepollError for what ends it early. */
export type Run = (invocation: Invocation) => Promise<number>;
