/**
 * What the worker has started, noted while the parent of each lives: a child that dropped the run's id (`env -i`, `sudo -u`) and took
 * a session of its own can't be told from a stranger once its parent has ended. Reads lists of children and /proc/PID/stat
 * only, for these never wait for the process.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { type ProcStat, statOf } from '../machine/procfs.ts';
import type { Target } from '../strays/stop.ts';

export interface Offspring {
  /** Looks at all below `leader` and below what was noted before. False where the kernel does not list children. */
  look(leader: number | null): boolean;
  /** Noted, and still there. */
  list(): readonly Target[];
  /** Of these, the ones outside of the leader's process group. */
  escaped(): readonly Target[];
}

interface Noted extends Target {
  readonly pgid: number;
}

/** Looking at more threads of one process, or at more processes, would cost more than it is worth. */
const THREADS_MAX = 64;
const PROCESSES_MAX = 256;

export function createOffspring(): Offspring {
  let noted = new Map<number, Noted>();
  let group: number | null = null;

  return {
    look(leader) {
      group = leader;
      const found = new Map<number, Noted>();
      for (const it of noted.values()) {
        const stat = aliveStat(it.pid);
        if (stat?.startId === it.startId) found.set(it.pid, { ...it, pgid: stat.pgid });
      }
      const queue = [...(leader === null ? [] : [leader]), ...found.keys()];
      let isListed = true;
      for (let pid = queue.shift(); pid !== undefined; pid = queue.shift()) {
        const children = childrenOf(pid);
        if (children === null) isListed &&= pid !== leader;
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
      return isListed;
    },
    list: () => [...noted.values()].filter(({ pid, startId }) => aliveStat(pid)?.startId === startId),
    escaped: () => [...noted.values()].filter(({ pgid }) => pgid !== group),
  };
}

function aliveStat(pid: number): ProcStat | null {
  const stat = statOf(pid);
  return stat?.state === 'Z' || stat?.state === 'X' ? null : stat;
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
