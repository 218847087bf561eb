/**
 * The process list. On Linux this file reads stat lines itself, which never blocks, and everything else in the inspector's
 * child. Remembers details, which change only when a process executes another program and so changes its `imageId`. A program
 * that overwrites its arguments with a title may wipe its environment, too; what was read before stays known.
 */
import { execFileSync } from 'node:child_process';
import { maskForeign } from '../config/token.ts';
import {
  aliveStat,
  areOthersHidden,
  isAlive,
  listPids,
  ownerOf,
  type ProcStat,
  statOf,
  unhurried,
  userName,
} from '../machine/procfs.ts';
import { plain } from '../output/plain.ts';
import { oneAtATime } from '../turns.ts';
import type { Inspector, Sought } from './inspector.ts';
import { isBelow, matchPatterns, otherBotsIn } from './proc-reader.ts';
import type { Proc, ProcDetails, Snapshot, Uninspectable } from './process.ts';
import { type Hands, linuxHands } from './stop.ts';

export interface Processes {
  /** All processes now. Waits for the details of new ones for at most `timeoutMs` (5 s). */
  snapshot(options?: { readonly timeoutMs?: number }): Promise<Snapshot>;
  /** These processes alone: a look in a hurry does not wait for the details of others that are new. */
  some(pids: readonly number[]): Promise<ReadonlyMap<number, Proc>>;
  /** Synchronous: present stat lines with remembered details. New processes have none. */
  quick(): Snapshot;
}

const SOME_WAIT_MS = 1_000;
const TOOL_WAIT_MS = 10_000;
const NAMED_MAX = 3;
/** Stands for the details of a process of which only the stat line was read. */
export const UNKNOWN: ProcDetails = {
  ...{ uid: -1, argv: [], cwd: null, env: null },
  ...{ tokenInArgs: false, otherBots: [], match: null },
};

export function createProcesses(inspector: Pick<Inspector, 'inspect' | 'start'>): Processes {
  const known = new Map<number, { readonly image: string; readonly details: ProcDetails }>();
  const hidden = areOthersHidden();
  let uninspectable = sumUp([], { hidden });
  // Each snapshot can use the details of the previous one.
  const inTurn = oneAtATime();

  function* stats(pids: readonly number[] = listPids()): Generator<readonly [number, ProcStat]> {
    for (const pid of pids) {
      const stat = statOf(pid);
      if (stat && !stat.kernel && stat.state !== 'X') yield [pid, stat];
    }
  }

  function detailsOf(pid: number, stat: ProcStat): ProcDetails | null {
    const it = known.get(pid);
    return it?.image === imageOf(stat) ? it.details : null;
  }

  /** Has the child read what is not known yet. Drops from `present` what has ended meanwhile; answers with what could not be read. */
  async function learn(present: Map<number, ProcStat>, timeoutMs?: number): Promise<ReadonlySet<number>> {
    const fresh = [...present].filter(([pid, stat]) => stat.state !== 'Z' && !detailsOf(pid, stat));
    const { seen, unread } = await inspector.inspect(
      fresh.map(([pid]) => pid),
      timeoutMs,
    );
    for (const [pid, stat] of fresh) {
      const details = seen.get(pid);
      // What ends has lost its command line and its environment: no manager could be named by them.
      if (details?.argv.length === 0 && hasEnded(pid)) present.delete(pid);
      // If it executes another program meanwhile, it is kept under the old image, so it is read again next time.
      else if (details) known.set(pid, { image: imageOf(stat), details });
      else if (!unread.has(pid)) present.delete(pid);
    }
    return unread;
  }

  function join(present: ReadonlyMap<number, ProcStat>): Map<number, Proc> {
    const procs = new Map<number, Proc>();
    for (const [pid, stat] of present) {
      const { ppid, pgid, sid, state, startId, tty, comm } = stat;
      const details = state === 'Z' ? UNKNOWN : (detailsOf(pid, stat) ?? UNKNOWN);
      procs.set(pid, { pid, ppid, pgid, sid, state, startId, tty, comm, ...details });
    }
    return procs;
  }

  function joinAll(present: ReadonlyMap<number, ProcStat>): Map<number, Proc> {
    for (const pid of known.keys()) if (!present.has(pid)) known.delete(pid);
    return join(present);
  }

  async function take(timeoutMs: number | undefined): Promise<Snapshot> {
    if (known.size === 0) inspector.start();
    const present = new Map<number, ProcStat>();
    for await (const [pid, stat] of unhurried(stats())) present.set(pid, stat);
    const unread = await learn(present, timeoutMs);
    const procs = joinAll(present);
    // A process that has ended since it was listed hides nothing.
    const closed = [...procs.values()].filter(
      (it) => (it.env === null || it.cwd === null) && it.state !== 'Z' && it.pid !== 1 && isAlive(it),
    );
    const unmatched = [...known.values()].filter(({ details }) => details.gaveUp).length;
    uninspectable = sumUp(closed, { hidden, unmatched, stuck: unread.size });
    return { procs, uninspectable };
  }

  return {
    snapshot: ({ timeoutMs } = {}) => inTurn(() => take(timeoutMs)),
    async some(pids) {
      const present = new Map(stats(pids));
      await learn(present, SOME_WAIT_MS);
      return join(present);
    },
    quick: () => ({ procs: joinAll(new Map(stats())), uninspectable }),
  };
}

/** Counts and names the processes that could not be looked into. */
export function sumUp(closed: readonly Proc[], more: Partial<Uninspectable> = {}): Uninspectable {
  const uids = closed.map(({ pid, uid }) => (uid < 0 ? ownerOf(`/proc/${pid}`) : uid));
  const sizeOf = (uid: number) => uids.filter((it) => it === uid).length;
  const shares = [...new Set(uids)].map((uid) => [plain(userName(uid), 40), sizeOf(uid)]);
  const named = closed.length > NAMED_MAX ? [] : closed;
  const names = named.map(({ pid, comm }) => `pid ${pid} (${plain(comm, 40)})`);
  const counts = { count: closed.length, stuck: 0, unmatched: 0, hidden: false, ...more };
  return { ...counts, users: Object.fromEntries(shares), names };
}

function hasEnded(pid: number): boolean {
  const stat = aliveStat(pid);
  return stat === null || stat.isExiting;
}

const imageOf = ({ startId, imageId }: ProcStat): string => `${startId} ${imageId}`;

/**
 * The list without /proc (macOS, BSD): ps-list gives pids, parents, owners and command lines, so only `--stray` patterns find strays.
 * Environments, working folders and connections stay unknown. `quick` returns the last list.
 */
export function psProcesses(options: Sought): Processes {
  const { token, botId, scope, projectDir } = options;
  const patterns = options.patterns.map((source) => new RegExp(source));
  let latest = snapshotOf([]);

  function toProc({ pid, ppid, uid = -1, name, cmd = '', startTime }: PsRow): Proc {
    const isZombie = cmd.includes('<defunct>');
    const argv = isZombie ? [] : maskForeign(cmd).split(' ').slice(0, 64);
    const [found] = matchPatterns([{ argv, cwd: null }], patterns);
    // The working folder is unknown, so only an absolute path shows where the script is.
    const isWritten = argv.some((word) => word.startsWith('/') && isBelow(word, projectDir));
    const inScope = scope === 'any' || isWritten ? true : null;
    return {
      ...{ pid, ppid, uid, argv, pgid: 0, sid: 0, tty: 0, cwd: null, env: null },
      state: isZombie ? 'Z' : 'S',
      startId: startTime?.toISOString() ?? '',
      comm: name.slice(0, 15),
      tokenInArgs: token !== null && cmd.includes(token),
      otherBots: otherBotsIn(cmd, botId),
      match: found && found !== 'gave up' ? { pattern: found.source, inScope } : null,
    };
  }

  async function snapshot(): Promise<Snapshot> {
    // Loaded only on systems without /proc.
    const { default: psList } = await import('ps-list');
    latest = snapshotOf((await psList()).map(toProc));
    return latest;
  }

  return {
    snapshot,
    some: async () => (await snapshot()).procs,
    quick: () => latest,
  };
}

type PsRow = Awaited<ReturnType<typeof import('ps-list').default>>[number];

function snapshotOf(procs: readonly Proc[]): Snapshot {
  return { procs: new Map(procs.map((it) => [it.pid, it])), uninspectable: sumUp(procs) };
}

/** Looks at one process at a time with ps, for the moment before a signal. */
export const psHands: Hands = {
  ...linuxHands,
  look(pid) {
    try {
      const line = execFileSync('ps', ['-o', 'lstart=,stat=', '-p', String(pid)], {
        encoding: 'utf8',
        timeout: TOOL_WAIT_MS,
        stdio: ['ignore', 'pipe', 'ignore'],
        env: { ...process.env, LC_ALL: 'C' },
      });
      const match = /^(.*\d{4})\s+(\S)/.exec(line.trim());
      return match ? { startId: new Date(match[1]!).toISOString(), state: match[2]! } : null;
    } catch {
      return null;
    }
  },
};
