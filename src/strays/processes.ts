/**
 * The process list of a Linux machine. Reads stat lines itself, which never makes anybody wait, and has all else read by the
 * inspector's child. Owns what is remembered: details change only when a process executes another program, and then its
 * `imageId` does too. A program that writes its title over its arguments may wipe its environment as well; what was read
 * before it did so stays known.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  listChildrenOfKernel,
  listPids,
  ownerOf,
  type ProcStat,
  parseProcStat,
  readStat,
  readText,
} from '../machine/procfs.ts';
import type { InspectOptions, Inspector, ProcessKey } from './inspector.ts';
import type { Proc, ProcDetails, Snapshot } from './process.ts';

export interface Processes {
  /** Every process now. Waits for details of those that are new, no longer than it is told to. */
  snapshot(options?: InspectOptions): Promise<Snapshot>;
  /** At once: stat lines now, with the details that are remembered. Who is new has none. */
  quick(): Snapshot;
}

/** A signal or a request may wait this long for its turn. */
const TURN_MS = 10;

type Remembered = ProcDetails & { readonly startId: string; readonly imageId: string };

export function createProcesses(inspector: Pick<Inspector, 'inspect'>): Processes {
  const known = new Map<number, Remembered>();
  const unmatched = new Set<number>();
  /** As they were last told; told again as long as nothing has changed. */
  let told = new Map<number, Proc>();
  /** The kernel's own, a third and more of all pids: not read again as long as the kernel lists them as its children. */
  const threads = new Set<number>();
  const hidden = /^\S+ \/proc proc \S*hidepid=(?:[12]|noaccess|invisible)/m.test(
    readText('/proc/self/mounts') ?? '',
  );
  let uninspectable: Snapshot['uninspectable'] = { count: 0, stuck: 0, byUid: new Map(), hidden };
  let queue: Promise<unknown> = Promise.resolve();

  function readOne(pid: number, stats: Map<number, ProcStat>): void {
    const text = readStat(pid);
    const stat = text === null ? null : parseProcStat(text);
    if (stat?.kernel) threads.add(pid);
    else threads.delete(pid);
    if (stat && !stat.kernel && stat.state !== 'X' && stat.state !== 'x') stats.set(pid, stat);
  }

  function* readAll(stats: Map<number, ProcStat>): Generator<void> {
    const ofKernel = listChildrenOfKernel();
    for (const pid of threads) if (!ofKernel.has(pid)) threads.delete(pid);
    for (const pid of listPids()) {
      if (threads.has(pid)) continue;
      readOne(pid, stats);
      yield;
    }
  }

  function detailsOf(pid: number, { startId, imageId }: ProcStat): Remembered | null {
    const record = known.get(pid);
    return record?.startId === startId && record.imageId === imageId ? record : null;
  }

  async function learn(asked: readonly ProcessKey[], options: InspectOptions): Promise<number> {
    if (asked.length === 0) return 0;
    const { seen, stuck } = await inspector.inspect(asked, options);
    for (const { pid, startId, imageId, details, gaveUp } of seen) {
      known.set(pid, { ...details, startId, imageId });
      if (gaveUp) unmatched.add(pid);
      else unmatched.delete(pid);
    }
    return stuck.length;
  }

  function join(stats: ReadonlyMap<number, ProcStat>, atMs: number): Snapshot {
    const procs = new Map<number, Proc>();
    for (const [pid, stat] of stats) {
      const details = stat.state === 'Z' ? null : detailsOf(pid, stat);
      const last = told.get(pid);
      procs.set(pid, last && isAsTold(last, stat, details) ? last : toProc(pid, stat, details));
    }
    told = procs;
    for (const pid of known.keys()) if (!stats.has(pid)) known.delete(pid);
    for (const pid of unmatched) if (!stats.has(pid)) unmatched.delete(pid);
    return { procs, uninspectable, atMs };
  }

  async function take(options: InspectOptions): Promise<Snapshot> {
    const atMs = Date.now();
    const stats = new Map<number, ProcStat>();
    let turnMs = performance.now();
    for (const _ of readAll(stats)) {
      if (performance.now() - turnMs < TURN_MS) continue;
      await nextTurn();
      turnMs = performance.now();
    }
    let stuck = 0;
    // Who was executing a program just then is another one now, and is asked for once more.
    for (let tries = 0; tries < 2; tries++) {
      const asked: ProcessKey[] = [];
      for (const [pid, stat] of stats)
        if (stat.state !== 'Z' && !detailsOf(pid, stat))
          asked.push({ pid, startId: stat.startId, imageId: stat.imageId });
      if (asked.length === stuck) break;
      stuck = await learn(asked, options);
      for (const { pid } of asked) {
        stats.delete(pid);
        readOne(pid, stats);
      }
    }
    const snapshot = join(stats, atMs);
    uninspectable = countClosed(snapshot.procs, stuck);
    return { ...snapshot, uninspectable };
  }

  function countClosed(procs: ReadonlyMap<number, Proc>, stuck: number): Snapshot['uninspectable'] {
    const byUid = new Map<number, number>();
    let count = 0;
    for (const proc of procs.values()) {
      if ((proc.env !== null && proc.cwd !== null) || proc.state === 'Z' || proc.pid === 1) continue;
      const uid = proc.uid < 0 ? ownerOf(`/proc/${proc.pid}`) : proc.uid;
      count += 1;
      byUid.set(uid, (byUid.get(uid) ?? 0) + 1);
    }
    return { count, stuck, unmatched: unmatched.size, byUid, hidden };
  }

  return {
    snapshot(options = {}) {
      // One after another: the second finds what the first has learned.
      const answer = queue.then(() => take(options));
      queue = answer.catch(() => {});
      return answer;
    },
    quick() {
      const atMs = Date.now();
      const stats = new Map<number, ProcStat>();
      for (const _ of readAll(stats));
      return join(stats, atMs);
    },
  };
}

const UNKNOWN: Pick<Proc, 'uid' | 'argv' | 'cwd' | 'env'> = { uid: -1, argv: [], cwd: null, env: null };

function isAsTold(told: Proc, stat: ProcStat, details: ProcDetails | null): boolean {
  return (
    told.argv === (details ?? UNKNOWN).argv &&
    told.startId === stat.startId &&
    told.state === stat.state &&
    told.ppid === stat.ppid &&
    told.pgid === stat.pgid &&
    told.sid === stat.sid &&
    told.comm === stat.comm
  );
}

function toProc(pid: number, stat: ProcStat, details: ProcDetails | null): Proc {
  const { ppid, pgid, sid, state, startId, tty, comm } = stat;
  const { uid, argv, cwd, env } = details ?? UNKNOWN;
  const proc = { pid, ppid, pgid, sid, uid, state, startId, tty, comm, argv, cwd, env };
  if (!details) return proc;
  const { tokenInArgs, otherBots, match } = details;
  return { ...proc, tokenInArgs, otherBots, match };
}
