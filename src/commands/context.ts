/** What every command does first: read the configuration, say its warnings, end with all its mistakes at once. */
import { type Config, loadConfig } from '../config/load.ts';
import { configFailure } from '../config/messages.ts';
import { type CommandName, NEEDS, type RawFlags } from '../config/options.ts';
import { stateDirPath } from '../config/state-dir.ts';
import { formatDuration, parseDuration } from '../config/values.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { hasProcfs, readLink } from '../machine/procfs.ts';
import { plain } from '../output/plain.ts';

/** The words and flags of a command as they were typed; no file or variable has been read yet. */
export interface Invocation {
  readonly command: CommandName;
  readonly flags: RawFlags;
  /** Options of the command itself, beside those of the option table. */
  readonly own: Readonly<Record<string, unknown>>;
  readonly words: readonly string[];
}

/** Resolves to the exit code; throws SinglepollError for what ends it early. */
export type Run = (invocation: Invocation) => Promise<number> | number;

export type Loaded = { readonly config: Config; readonly warnings: readonly string[] };

/** `status` needs it only where no supervisor answers. */
const NEED_PROCESSES: readonly CommandName[] = ['start', 'stop', 'restart', 'reset', 'who'];

/** Throws SinglepollError 78 where the kernel's process list can't be read (a container or chroot without /proc). */
export function requireProcesses(): void {
  if (process.platform !== 'linux' || hasProcfs()) return;
  throw new SinglepollError(
    EXIT.config,
    '/proc is not mounted here, or shows no processes: without it nobody can tell who polls this bot',
    'mount -t proc proc /proc    # as root, in this container or chroot',
  );
}

/** The commands whose argument is a bot. */
const BY_ARGUMENT: readonly string[] = ['stop', 'restart', 'status', 'logs'];

/** The bot as it was named by the argument or by --bot; null: by the token that is configured here. Throws 64 for two names. */
export function namedBot({ command, own, words }: Invocation): string | null {
  const named = [...(BY_ARGUMENT.includes(command) ? words : []), own.bot];
  const [name = null, other = name] = named.filter((it) => typeof it === 'string');
  if (other === name) return name;
  throw new SinglepollError(EXIT.usage, 'two bots are named', `singlepoll ${command} ${name}`);
}

/**
 * Reads the settings: those that are given here, or of a bot that is named those of its last start, wherever that was. Throws
 * SinglepollError 78 with every mistake. Warnings are the caller's to show.
 */
export async function configure(invocation: Invocation, cwd = workingFolder()): Promise<Loaded> {
  const { command, flags, words } = invocation;
  if (NEED_PROCESSES.includes(command)) requireProcesses();
  // Refused whatever the command wants with it: a relative one is a mistake everywhere.
  stateDirPath(process.env);
  const request = { command, flags, argvCommand: words, env: process.env, cwd };
  const name = namedBot(invocation);
  if (name !== null) return await (await import('./find.ts')).configureNamed(name, request);
  const loaded = await loadConfig(request);
  // `who` means the only bot that runs where only a token is missing, since `status`, which means that bot, sends its readers to `who`.
  if (!loaded.ok && command === 'who' && (await loadConfig({ ...request, command: 'status' })).ok) {
    const { configureNamed, theOnlyRun } = await import('./find.ts');
    const only = await theOnlyRun();
    if (only) return await configureNamed(String(only.id), request);
  }
  const { lease } = loaded.ok ? loaded.config : {};
  // Commands that only look tell of a wrong lease in its row.
  const isStart = (NEEDS[command].scopes as readonly string[]).includes('run');
  const errors = loaded.ok
    ? isStart && lease
      ? (await import('../lease/url.ts')).leaseMistakes(lease)
      : []
    : loaded.errors;
  if (loaded.ok && errors.length === 0) return loaded;
  warn(loaded.warnings);
  throw configFailure(errors);
}

/** The time that an option was given. Throws 64 for what is none between `minMs` and `maxMs`. */
export function timeOf(
  option: string,
  value: unknown,
  [minMs, maxMs]: [number, number],
  hint: string,
): number {
  const time = parseDuration(String(value), maxMs);
  if (time.ok && time.value >= minMs) return time.value;
  const problem = time.ok ? `it is shorter than ${formatDuration(minMs)}` : time.problem;
  const accepted = `a time from ${formatDuration(minMs)} to ${formatDuration(maxMs)} (a number alone is seconds)`;
  throw new SinglepollError(
    EXIT.usage,
    `${option} ${plain(String(value), 40)}: ${problem}; accepted: ${accepted}`,
    hint,
  );
}

/** For commands whose talk has no format of its own. */
export function warn(warnings: readonly string[]): void {
  for (const warning of warnings) process.stderr.write(`singlepoll: ${warning}\n`);
}

/**
 * The working folder; one that was deleted under us (a shell in the folder of the release before) by the name that the
 * kernel gives it, at which nothing is found: enough for `stop` and `status`, and `start` says why it is not for a worker.
 */
export function workingFolder(): string {
  try {
    return process.cwd();
  } catch {
    return readLink('/proc/self/cwd') ?? '/nonexistent';
  }
}
