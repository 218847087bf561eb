/** What is to be installed, and the text of every file of it. Pure: made by commands/install.ts, carried out by apply.ts. */
import type { Made } from './marker.ts';

export type Kind = 'systemd' | 'launchd' | 'cron';

export interface Plan {
  readonly kind: Kind;
  readonly made: Made;
  /** For the whole machine, as root; else for the user. Always false with cron. */
  readonly system: boolean;
  /** User of a system unit or daemon; null: who installs it. */
  readonly runAs: string | null;
  /** Absolute. */
  readonly cwd: string;
  /** node, program, `start` and its options; the program words are absolute paths. */
  readonly words: readonly string[];
  /** What goes into the env file, name → value. With secrets: never shown. */
  readonly env: Readonly<Record<string, string>>;
  readonly envPath: string;
  /** Of launchd and cron, which read no env file. */
  readonly wrapperPath: string;
  /** Where the log of launchd's job goes. */
  readonly logPath: string;
  readonly stopTimeoutMs: number;
  readonly startTimeoutMs: number;
}
