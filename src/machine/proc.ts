/**
 * The process list of a Linux machine, from /proc. Owns what is read, in which order, and what is remembered.
 * A process that was seen before costs one read of its stat line: everything else changes only when it executes
 * another program, and then its `imageId` does too. Tokens and environment blocks are never kept.
 * A set-user-id or otherwise undumpable program belongs to root in /proc and closes its environment, also to its own
 * user: it is counted as uninspectable like any process of another user. A program that writes its title over its
 * arguments (setproctitle) may wipe its environment too; what was read before it did so stays known.
 */
import { holdsWholeToken, maskTokens, scanEnviron } from './environ.ts';
import type { Proc, ProcEnv, Snapshot } from './process.ts';
import {
  createBlockReader,
  listChildrenOfKernel,
  listPids,
  ownerOf,
  readLink,
  readStat,
  readText,
} from './procfs.ts';
import { type ProcStat, parseProcStat } from './procstat.ts';

const ARGV_BYTES_MAX = 16 * 1024;
const ARGV_COUNT_MAX = 64;
/** A class path of 10 KB before the script is read over, but not kept. */
const ARG_LENGTH_MAX = 1024;

export interface ProcReader {
  /**
   * Every process now. `fresh` also reads owner and working folder of known processes again (both may change while
   * a program runs); without it a second snapshot costs one small read per process.
   */
  snapshot(options?: { fresh?: boolean }): Snapshot;
}

interface Known {
  startId: string;
  imageId: string;
  /** Asked only when somebody wants to know: it is needed of few, and costs as much as all arguments. */
  uid: number | null;
  argv: readonly string[];
  tokenInArgs: boolean;
  cwd: string | null;
  env: ProcEnv | null;
  seen: number;
  /** As it was last told; told again as long as nothing has changed. */
  told: Proc | null;
}

/** A reader that knows the tokens to look for. `botId` is the id before the colon of them all. */
export function createProcReader(options: { tokens: readonly string[]; botId: string }): ProcReader {
  const tokens = options.tokens.map((token) => Buffer.from(token, 'latin1'));
  const known = new Map<number, Known>();
  /** The kernel's own, a third and more of all pids: not read again as long as the kernel lists them as its children. */
  const threads = new Set<number>();
  const blocks = createBlockReader();
  const hidden = /^\S+ \/proc proc \S*hidepid=(?:[12]|noaccess|invisible)/m.test(
    readText('/proc/self/mounts') ?? '',
  );
  let round = 0;

  function inspect(pid: number, stat: ProcStat): Known {
    // One buffer serves both reads: the first is done with before the second begins.
    const environ = blocks.read(`/proc/${pid}/environ`, { fills: true });
    const env = typeof environ === 'string' ? null : scanEnviron(environ, tokens, options.botId);
    const cmdline = blocks.read(`/proc/${pid}/cmdline`, { mostBytes: ARGV_BYTES_MAX, fills: true });
    return {
      startId: stat.startId,
      imageId: stat.imageId,
      uid: null,
      env,
      tokenInArgs: typeof cmdline !== 'string' && tokens.some((token) => holdsWholeToken(cmdline, token)),
      argv: parseArgv(cmdline),
      cwd: readLink(`/proc/${pid}/cwd`),
      seen: round,
      told: null,
    };
  }

  function readOne(pid: number, fresh: boolean): Proc | null {
    const text = readStat(pid);
    const stat = text === null ? null : parseProcStat(text);
    if (stat?.kernel) threads.add(pid);
    else threads.delete(pid);
    if (!stat || stat.kernel || stat.state === 'X' || stat.state === 'x') return null;
    if (stat.state === 'Z') return toProc(pid, stat, NOTHING);
    let record = known.get(pid);
    if (record && record.startId === stat.startId && record.imageId === stat.imageId) {
      if (fresh) {
        record.uid = null;
        record.cwd = readLink(`/proc/${pid}/cwd`);
        record.told = null;
      }
    } else {
      record = inspect(pid, stat);
      known.set(pid, record);
    }
    record.seen = round;
    if (record.told === null || !isAsTold(record.told, stat)) record.told = toProc(pid, stat, record);
    return record.told;
  }

  return {
    snapshot({ fresh = false } = {}) {
      const atMs = Date.now();
      round += 1;
      const procs = new Map<number, Proc>();
      const byUid = new Map<number, number>();
      let count = 0;
      const ofKernel = fresh ? null : listChildrenOfKernel();
      for (const pid of listPids()) {
        if (threads.has(pid) && ofKernel?.has(pid)) continue;
        const proc = readOne(pid, fresh);
        if (!proc) continue;
        procs.set(pid, proc);
        if ((proc.env === null || proc.cwd === null) && proc.state !== 'Z' && pid !== 1) {
          count += 1;
          byUid.set(proc.uid, (byUid.get(proc.uid) ?? 0) + 1);
        }
      }
      blocks.wipe();
      for (const pid of threads) if (ofKernel && !ofKernel.has(pid)) threads.delete(pid);
      for (const [pid, record] of known) if (record.seen !== round) known.delete(pid);
      return { procs, uninspectable: { count, byUid, hidden }, atMs };
    },
  };
}

/** The arguments in a cmdline block that begins with one extra NUL; capped in number and length. */
function parseArgv(block: Buffer | string): string[] {
  if (typeof block === 'string' || block.length <= 1) return [];
  const argv: string[] = [];
  let from = 1;
  while (from < block.length && argv.length < ARGV_COUNT_MAX) {
    const end = block.indexOf(0, from);
    const to = end < 0 ? block.length : end;
    argv.push(maskTokens(block.toString('utf8', from, Math.min(to, from + ARG_LENGTH_MAX))));
    from = to + 1;
  }
  // A program that writes a title over its arguments pads the rest with NULs.
  while (argv.length > 1 && argv[argv.length - 1] === '') argv.pop();
  return argv;
}

type Facts = Pick<Known, 'uid' | 'argv' | 'tokenInArgs' | 'cwd' | 'env'>;

/** What is left of a zombie. */
const NOTHING: Facts = { uid: -1, argv: [], tokenInArgs: false, cwd: null, env: null };

/** What may change while a program runs; all else comes with another image or start. */
function isAsTold(told: Proc, stat: ProcStat): boolean {
  return (
    told.state === stat.state &&
    told.ppid === stat.ppid &&
    told.pgid === stat.pgid &&
    told.sid === stat.sid &&
    told.tty === stat.tty
  );
}

function toProc(pid: number, stat: ProcStat, record: Facts): Proc {
  return {
    pid,
    ppid: stat.ppid,
    pgid: stat.pgid,
    sid: stat.sid,
    get uid() {
      record.uid ??= ownerOf(`/proc/${pid}`);
      return record.uid;
    },
    state: stat.state,
    startId: stat.startId,
    tty: stat.tty,
    comm: stat.comm,
    argv: record.argv,
    tokenInArgs: record.tokenInArgs,
    cwd: record.cwd,
    env: record.env,
  };
}
