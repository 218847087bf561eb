/**
 * The process list of a Linux machine. Reads stat lines itself, which never makes anybody wait, and has all else read by the
 * inspector's child. Owns what is remembered: details change only when a process executes another program, and then its
 * `imageId` does too. A program that writes its title over its arguments may wipe its environment as well; what was read
 * before it did so stays known.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { listPids, ownerOf, type ProcStat, readText, statOf } from '../machine/procfs.ts';
import type { Inspector } from './inspector.ts';
import type { Proc, ProcDetails, Snapshot } from './process.ts';

export interface Processes {
  /** Every process now. Waits for details of those that are new, no longer than it is told to (5 s). */
  snapshot(options?: { readonly timeoutMs?: number }): Promise<Snapshot>;
  /** At once: stat lines now, with the details that are remembered. Who is new has none. */
  quick(): Snapshot;
}

/** A signal or a request may wait this long for its turn. */
const TURN_MS = 10;
const NAMED_MAX = 3;
const UNKNOWN = { uid: -1, argv: [], cwd: null, env: null };

export function createProcesses(inspector: Pick<Inspector, 'inspect' | 'start'>): Processes {
  const known = new Map<number, { readonly image: string; readonly details: ProcDetails }>();
  const hidden = /^\S+ \/proc proc \S*hidepid=(?:[12]|noaccess|invisible)/m.test(
    readText('/proc/self/mounts') ?? '',
  );
  let uninspectable: Snapshot['uninspectable'] = { count: 0, first: [], stuck: 0, byUid: new Map(), hidden };
  let queue: Promise<unknown> = Promise.resolve();

  function* stats(): Generator<readonly [number, ProcStat]> {
    for (const pid of listPids()) {
      const stat = statOf(pid);
      if (stat && !stat.kernel && stat.state !== 'X' && stat.state !== 'x') yield [pid, stat];
    }
  }

  function detailsOf(pid: number, stat: ProcStat): ProcDetails | null {
    const it = known.get(pid);
    return it?.image === imageOf(stat) ? it.details : null;
  }

  function join(present: ReadonlyMap<number, ProcStat>, atMs: number): Snapshot {
    const procs = new Map<number, Proc>();
    for (const [pid, stat] of present) {
      const { ppid, pgid, sid, state, startId, tty, comm } = stat;
      const details = state === 'Z' ? UNKNOWN : (detailsOf(pid, stat) ?? UNKNOWN);
      procs.set(pid, { pid, ppid, pgid, sid, state, startId, tty, comm, ...details });
    }
    for (const pid of known.keys()) if (!present.has(pid)) known.delete(pid);
    return { procs, uninspectable, atMs };
  }

  async function take(timeoutMs: number | undefined): Promise<Snapshot> {
    const atMs = Date.now();
    if (known.size === 0) inspector.start();
    const present = new Map<number, ProcStat>();
    let turnMs = performance.now();
    for (const [pid, stat] of stats()) {
      present.set(pid, stat);
      if (performance.now() - turnMs < TURN_MS) continue;
      await nextTurn();
      turnMs = performance.now();
    }
    const fresh = [...present].filter(([pid, stat]) => stat.state !== 'Z' && !detailsOf(pid, stat));
    const { seen, unread } = await inspector.inspect(
      fresh.map(([pid]) => pid),
      timeoutMs,
    );
    for (const [pid, stat] of fresh) {
      const details = seen.get(pid);
      // A process that executes another program meanwhile is filed under the old one, so it is read again the next time.
      if (details) known.set(pid, { image: imageOf(stat), details });
      else if (!unread.has(pid)) present.delete(pid);
    }
    const snapshot = join(present, atMs);
    uninspectable = countClosed(snapshot.procs.values(), unread.size);
    return { ...snapshot, uninspectable };
  }

  function countClosed(procs: Iterable<Proc>, stuck: number): Snapshot['uninspectable'] {
    const byUid = new Map<number, number>();
    const closed = [...procs].filter(
      ({ pid, startId, state, env, cwd }) =>
        (env === null || cwd === null) && state !== 'Z' && pid !== 1 && lives(pid, startId),
    );
    for (const { pid, uid } of closed) {
      const owner = uid < 0 ? ownerOf(`/proc/${pid}`) : uid;
      byUid.set(owner, (byUid.get(owner) ?? 0) + 1);
    }
    const unmatched = [...known.values()].filter(({ details }) => details.gaveUp).length;
    return { count: closed.length, first: closed.slice(0, NAMED_MAX), stuck, unmatched, byUid, hidden };
  }

  return {
    snapshot({ timeoutMs } = {}) {
      // One after another: the second finds what the first has learned.
      const answer = queue.then(() => take(timeoutMs));
      queue = answer.catch(() => {});
      return answer;
    },
    quick: () => join(new Map(stats()), Date.now()),
  };
}

/** One that has ended since it was listed hides nothing. */
function lives(pid: number, startId: string): boolean {
  const now = statOf(pid);
  return now?.startId === startId && now.state !== 'Z';
}

function imageOf({ startId, imageId }: ProcStat): string {
  return `${startId} ${imageId}`;
}
