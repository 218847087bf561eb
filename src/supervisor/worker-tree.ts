/**
 * The worker's own tree: its descendants, whatever else carries this run's SINGLEPOLL_RUN, wherever it has moved to, and what was
 * noted as its offspring before. Looks at it, reckons what it uses, sees whether it talks to the Bot API, stops it whole.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { BOT_API_HOST } from '../intercept/certificates.ts';
import { aliveStat, isAlive, isThere, type ProcessId, readText } from '../machine/procfs.ts';
import { type ApiAddresses, findApiAddresses, type PollSign, pollSign } from '../strays/api-addresses.ts';
import { commandOf } from '../strays/finder.ts';
import type { Proc, Snapshot } from '../strays/process.ts';
import type { Processes } from '../strays/processes.ts';
import { type Hands, linuxHands, type StopResult, stopTargets } from '../strays/stop.ts';
import { gather, leftBy, maySignal, stillThere, surroundings } from '../strays/tree.ts';
import { NO_USAGE, type TreeEntry, type UsageEntry } from './status.ts';

/** `isElsewhere`: to Telegram's own server, while the API root is another. */
export type Sign = PollSign & { readonly isElsewhere: boolean };

export type WorkerTree = ReturnType<typeof createWorkerTree>;

export interface WorkerStopOptions {
  readonly stopTimeoutMs: number;
  readonly now: AbortSignal;
}

/** For the details of processes that are new; a stop waits no longer for them. */
const DETAILS_MS = 1_000;

/** `run` is the random id of this supervisor run, in the environment of all that belongs to it. The simulation has hands of its own. */
export function createWorkerTree(
  options: { run: string; botId: string; apiRoot: string | null },
  {
    processes,
    hands = linuxHands,
  }: { readonly processes: Pick<Processes, 'snapshot' | 'quick'>; readonly hands?: Hands },
) {
  const offspring = createOffspring();
  /** Looked up once: where the API root is another server, the name may not be known here. */
  let telegram: Promise<ApiAddresses> | null = null;
  let lastLeader: number | null = null;
  const place = { botId: options.botId, selfPid: process.pid, worker: null };

  /** The present processes. Only they show that nothing of the last leader is left: a snapshot may have been begun before it started anything. */
  function present(leader: number | null): Snapshot {
    const snapshot = processes.quick();
    const isEmpty = () => leftBy(lastLeader!, surroundings(snapshot, place)).length === 0;
    if (leader === null && lastLeader !== null && isEmpty()) lastLeader = null;
    return snapshot;
  }

  /** `isRead`: the details of new processes have been waited for, so what has none by now can't be read. */
  function members(
    snapshot: Snapshot,
    leader: number | null,
    listed: readonly ProcessId[],
    isRead = true,
  ): Proc[] {
    const around = surroundings(snapshot, place);
    const { living, former } = stillThere(listed, snapshot);
    const left = lastLeader === null ? [] : leftBy(lastLeader, around);
    const noted = new Map(offspring.list().map((it) => [it.pid, it.startId]));
    // A process that has moved away is signalled once its command line is read, since it may be a supervisor that is to live on.
    const isNoted = (proc: Proc) =>
      noted.get(proc.pid) === proc.startId && (isRead || proc.argv.length > 0) && maySignal(proc, around);
    const roots = [...snapshot.procs.values()].filter(
      (proc) =>
        proc.state !== 'Z' &&
        proc.pid !== process.pid &&
        (proc.pid === leader ||
          proc.env?.run === options.run ||
          left.includes(proc) ||
          living.includes(proc) ||
          isNoted(proc)),
    );
    // The leader first: it is the one to hear of the stop before its children vanish under it.
    roots.sort((a, b) => Number(b.pid === leader) - Number(a.pid === leader));
    const found = gather(roots, around, former);
    // Known by its stat line only: the next time it will have a name.
    if (found.some(({ argv }) => argv.length === 0)) void processes.snapshot();
    return found;
  }

  return {
    /** A worker has begun: its session belongs to the tree, also once it has ended. */
    led(leader: number): void {
      lastLeader = leader;
    },
    /** Pid of the last leader, also once it has ended, as long as anything of its session may be left. */
    former: (): number | null => lastLeader,
    /**
     * True: more of the last worker is left than what was noted as offspring. Asks the kernel for its process group first, which is
     * quick (where children can't be listed, only a look at all processes tells). What is empty is forgotten, as its number may be a
     * stranger's next.
     */
    checkLeft(): boolean {
      if (lastLeader !== null && offspring.areListed() && !isThere(-lastLeader)) lastLeader = null;
      if (lastLeader !== null) present(null);
      return lastLeader !== null;
    },
    offspring,
    usage: createUsage((leader) => [leader, ...offspring.list().map(({ pid }) => pid)]),
    /** Finds out about new processes: who has moved away is known by its environment only. */
    async learn(): Promise<void> {
      await processes.snapshot({ timeoutMs: DETAILS_MS });
    },
    /** The leader (null when it has ended) and all that belongs to it, parents first. */
    list: (leader: number | null): readonly TreeEntry[] =>
      members(present(leader), leader, []).map(({ pid, ppid, ...it }) => ({
        pid,
        ppid,
        command: commandOf(it),
      })),
    /** Which process of the tree talks to the Bot API by itself. */
    async sign(leader: number | null): Promise<Sign | null> {
      const { apiRoot } = options;
      if (apiRoot === null) return null;
      const pids = members(await processes.snapshot(), leader, []).map(({ pid }) => pid);
      const sign = await pollSign(await findApiAddresses(apiRoot), pids);
      if (sign || new URL(apiRoot).hostname === BOT_API_HOST) return sign && { ...sign, isElsewhere: false };
      telegram ??= findApiAddresses(`https://${BOT_API_HOST}`);
      const other = await pollSign(await telegram, pids);
      return other && { ...other, isElsewhere: true };
    },
    /** Stops everything; `now` aborted means no more grace. */
    stop(leader: number | null, { stopTimeoutMs, now }: WorkerStopOptions): Promise<StopResult> {
      // Under way while the first signals work: who has moved away is known by its environment only.
      const moved = processes.snapshot({ timeoutMs: DETAILS_MS });
      return stopTargets(members(present(leader), leader, [], false), {
        stopTimeoutMs,
        // The leader is listed by now: its bare number would also name whoever gets its pid next.
        grown: async (listed) => {
          await moved;
          return members(await processes.snapshot({ timeoutMs: DETAILS_MS }), null, listed);
        },
        hands,
        now,
      });
    },
  };
}

/**
 * What the worker has started, noted while the parent of each lives: a child that dropped the run's id (`env -i`, `sudo -u`) and took
 * a session of its own can't be told from a stranger once its parent has ended. Reads lists of children and /proc/PID/stat
 * only, for these never wait for the process.
 */
export type Offspring = ReturnType<typeof createOffspring>;

interface Noted extends ProcessId {
  readonly pgid: number;
}

/** Looking at more threads of one process, or at more processes, would cost more than it is worth. */
const THREADS_MAX = 64;
const PROCESSES_MAX = 256;

function createOffspring() {
  let noted = new Map<number, Noted>();
  let group: number | null = null;
  let areListed = true;

  return {
    /** Looks at all below `leader` and below what was noted before. */
    look(leader: number | null): void {
      group = leader;
      const found = new Map<number, Noted>();
      for (const it of noted.values()) {
        const stat = aliveStat(it.pid);
        if (stat?.startId === it.startId) found.set(it.pid, { ...it, pgid: stat.pgid });
      }
      const queue = [...(leader === null ? [] : [leader]), ...found.keys()];
      for (let pid = queue.shift(); pid !== undefined; pid = queue.shift()) {
        const children = childrenOf(pid);
        if (pid === leader && isThere(pid)) areListed = children !== null;
        for (const child of children ?? []) {
          if (found.has(child) || found.size >= PROCESSES_MAX) continue;
          const stat = aliveStat(child);
          // Its parent may have ended since, and its number may be another's.
          if (stat?.ppid !== pid) continue;
          found.set(child, { pid: child, startId: stat.startId, pgid: stat.pgid });
          queue.push(child);
        }
      }
      noted = found;
    },
    /** False where the kernel does not list children (CONFIG_PROC_CHILDREN). */
    areListed: (): boolean => areListed,
    list: (): readonly ProcessId[] => [...noted.values()].filter(isAlive),
    /** Of these, the ones outside of the leader's process group. */
    escaped: (): readonly ProcessId[] => [...noted.values()].filter(({ pgid }) => pgid !== group),
  };
}

function childrenOf(pid: number): number[] | null {
  try {
    return readdirSync(`/proc/${pid}/task`)
      .slice(0, THREADS_MAX)
      .flatMap((tid) => readFileSync(`/proc/${pid}/task/${tid}/children`, 'latin1').split(' '))
      .filter(Boolean)
      .map(Number);
  } catch {
    return null;
  }
}

/** USER_HZ, in which Linux tells times to programs, on every machine. */
const TICKS_PER_S = 100;
const FRESH_MS = 1_000;

/**
 * CPU and memory of the tree, of stat lines alone: reading them never waits for a process. Memory is what is resident, summed, so what
 * processes share counts for each. Asked every few seconds, the CPU is that of these seconds.
 */
function createUsage(pids: (leader: number) => readonly number[]) {
  let ticks = new Map<number, number>();
  let atMs = Number.NEGATIVE_INFINITY;
  let usage = NO_USAGE;
  const pageBytes = readPageBytes();
  return (leader: number | null): UsageEntry => {
    const nowMs = performance.now();
    const spentMs = nowMs - atMs;
    if (spentMs < FRESH_MS) return usage;
    const before = ticks;
    ticks = new Map();
    let [pages, spent] = [0, 0];
    for (const pid of leader === null ? [] : pids(leader)) {
      const text = readText(`/proc/${pid}/stat`);
      // proc_pid_stat(5): state is field 3, utime 14, stime 15, rss 24; the name may hold anything.
      const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ');
      if (!fields) continue;
      ticks.set(pid, Number(fields[11]) + Number(fields[12]));
      spent += ticks.get(pid)! - (before.get(pid) ?? 0);
      pages += Number(fields[21]);
    }
    atMs = nowMs;
    // Nobody knows over which time the first look counts; a child that has ended takes its time along.
    const percent = Number.isFinite(spentMs)
      ? Math.max(0, Math.round((spent / TICKS_PER_S / spentMs) * 1e6) / 10)
      : null;
    usage = ticks.size === 0 ? NO_USAGE : { cpuPercent: percent, memoryBytes: pages * pageBytes };
    return usage;
  };
}

/** AT_PAGESZ of getauxval(3). */
function readPageBytes(): number {
  try {
    const auxv = readFileSync('/proc/self/auxv');
    for (let at = 0; at + 16 <= auxv.length; at += 16)
      if (auxv.readBigUInt64LE(at) === 6n) return Number(auxv.readBigUInt64LE(at + 8));
  } catch {}
  return 4_096;
}
