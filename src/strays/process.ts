/** A process as singlepoll sees it: plain data, read at one moment, on which all decisions about strays are based. PURE. */
import type { ProcessId } from '../machine/procfs.ts';

export type { Grade, Respawner } from '../supervisor/status.ts';

/** Equal for two sights of one process. */
export const identityOf = ({ pid, startId }: ProcessId): string => `${pid} ${startId}`;

export interface Proc extends ProcessId {
  readonly ppid: number;
  readonly pgid: number;
  readonly sid: number;
  /** User id of the owner (the effective one on Linux); -1: unknown. */
  readonly uid: number;
  /** One letter as in proc(5): R S D T Z X … */
  readonly state: string;
  /** Controlling terminal number, 0 = none. */
  readonly tty: number;
  /** The kernel's short name (at most 15 bytes). */
  readonly comm: string;
  /** Arguments; invalid UTF-8 replaced, tokens masked, length capped. Empty for zombies. */
  readonly argv: readonly string[];
  /** This bot's token is in the arguments (`curl …/bot<token>/getUpdates`, `--token=…`). */
  readonly tokenInArgs: boolean;
  /** Ids of other bots whose token is in its environment or arguments. */
  readonly otherBots: readonly string[];
  /** The `--stray` pattern that matches its program or script. */
  readonly match: PatternMatch | null;
  /** Working folder; null: it may not be read. */
  readonly cwd: string | null;
  /** The relevant facts of the environment; null: it may not be read. */
  readonly env: ProcEnv | null;
}

export interface PatternMatch {
  readonly pattern: string;
  /** Its script or working folder is in the project, or any place is accepted. Null: that could not be seen. */
  readonly inScope: boolean | null;
}

/** The few facts taken from an environment; the environment itself, and so any token, is never kept. */
export interface ProcEnv {
  readonly holdsToken: boolean;
  /** SINGLEPOLL_BOT, SINGLEPOLL_RUN, SINGLEPOLL_SPAWN as found. */
  readonly bot: string | null;
  readonly run: string | null;
  readonly spawn: string | null;
  /** Started by singlepoll in deploy mode, so it was told not to poll. */
  readonly deploy: boolean;
  /** What PM2 and supervisord have set (pm_id, SUPERVISOR_PROCESS_NAME …): name → value. */
  readonly marks: Readonly<Record<string, string>>;
}

/** What is read of a process besides its stat line. It changes only when the process executes another program. */
export interface ProcDetails
  extends Pick<Proc, 'uid' | 'argv' | 'cwd' | 'env' | 'tokenInArgs' | 'otherBots' | 'match'> {
  /** The patterns took too long on this process. */
  readonly gaveUp?: boolean;
}

/** All processes that could be seen at one moment, without kernel threads. */
export interface Snapshot {
  readonly procs: ReadonlyMap<number, Proc>;
  readonly uninspectable: Uninspectable;
}

/** Processes whose environment or working folder may not be read, and so may hide a token. Every text is safe to print. */
export interface Uninspectable {
  readonly count: number;
  /** How many of `count` block their reader (for example by a file system that hangs) and were left out. */
  readonly stuck: number;
  /** On how many the `--stray` patterns took too long. */
  readonly unmatched: number;
  /** Each user's share of `count`. */
  readonly users: Readonly<Record<string, number>>;
  /** /proc is mounted with hidepid: processes of other users may exist that are not even listed. */
  readonly hidden: boolean;
  /** Their names if they are few, otherwise empty. */
  readonly names: readonly string[];
}
