/**
 * A process as singlepoll sees it: plain data, read at one moment, that every decision about strays is taken on.
 * `startId` tells two processes with the same pid apart; it is compared again right before every signal.
 */
export type { Grade, Respawner } from '../supervisor/status.ts';

export interface Proc {
  readonly pid: number;
  readonly ppid: number;
  readonly pgid: number;
  readonly sid: number;
  /** User id of the owner (the effective one on Linux); -1 where unknown. */
  readonly uid: number;
  /** One letter as in proc(5): R S D T Z X … */
  readonly state: string;
  /** Start time in clock ticks after boot on Linux (field 22 of /proc/PID/stat), else an opaque string. */
  readonly startId: string;
  /** Controlling terminal number, 0 = none. */
  readonly tty: number;
  /** Kernel's short name (at most 15 bytes). */
  readonly comm: string;
  /** Arguments; invalid UTF-8 replaced, tokens masked, length capped. Empty for zombies. */
  readonly argv: readonly string[];
  /** This bot's token stands in the arguments (`curl …/bot<token>/getUpdates`, `--token=…`). */
  readonly tokenInArgs?: boolean;
  /** Ids of other bots whose token stands in its environment or arguments. */
  readonly otherBots?: readonly string[];
  /** The `--stray` pattern that matches it. */
  readonly match?: PatternMatch | null;
  /** Working folder, null where it may not be read. */
  readonly cwd: string | null;
  /** What of the environment matters here; null where the environment may not be read. */
  readonly env: ProcEnv | null;
}

/** A `--stray` pattern and where it matches. */
export interface PatternMatch {
  /** Source of the regular expression. */
  readonly pattern: string;
  /** It names the program or its script; false: some other word of the command line only. */
  readonly names: boolean;
  /** Its script or working folder lies in the project, or any place will do. Null: could not be seen. */
  readonly inScope: boolean | null;
}

/** The few facts taken from an environment block; the block itself, and so any token, is never kept. */
export interface ProcEnv {
  /** This bot's token stands in the environment. */
  readonly holdsToken: boolean;
  /** SINGLEPOLL_BOT, SINGLEPOLL_RUN, SINGLEPOLL_SPAWN as found. */
  readonly bot: string | null;
  readonly run: string | null;
  readonly spawn: string | null;
  /** Started by singlepoll in deploy mode: told not to poll, so never a stray for what it is. */
  readonly deploy?: boolean;
  /** PM2, supervisord, systemd leave marks (pm_id, SUPERVISOR_PROCESS_NAME, INVOCATION_ID …): name → value. */
  readonly marks: Readonly<Record<string, string>>;
}

/** What is read of a process beside its stat line. Changes only when it executes another program, as far as it matters. */
export type ProcDetails = Pick<Proc, 'uid' | 'argv' | 'cwd' | 'env'> &
  Required<Pick<Proc, 'tokenInArgs' | 'otherBots' | 'match'>> & {
    /** The patterns took too long on it. */
    readonly gaveUp?: boolean;
  };

/** Every process that could be seen at one moment; threads of the kernel are left out. */
export interface Snapshot {
  readonly procs: ReadonlyMap<number, Proc>;
  /** Processes whose environment or working folder may not be read, and so may hide a token. */
  readonly uninspectable: Uninspectable;
  /** Milliseconds since the epoch, taken before the first process was read. */
  readonly atMs: number;
}

interface Uninspectable {
  readonly count: number;
  /** The first of them. */
  readonly first: readonly Pick<Proc, 'pid' | 'comm'>[];
  /** Of `count`: whoever reads them is held up (by a file system that does not answer, say), so they were left out. */
  readonly stuck: number;
  /** Processes on which the `--stray` patterns took too long. */
  readonly unmatched?: number;
  /** User id → how many of `count`. */
  readonly byUid: ReadonlyMap<number, number>;
  /** /proc is mounted with hidepid: processes of other users may exist that are not even listed. */
  readonly hidden: boolean;
}
