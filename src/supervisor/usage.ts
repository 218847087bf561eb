/**
 * CPU and memory of the worker's tree, of stat lines alone: reading them never waits for a process. Memory is what is resident,
 * summed, so what processes share counts for each. Nothing is known where there is no /proc.
 */
import { readFileSync } from 'node:fs';
import { readText } from '../machine/procfs.ts';
import { NO_USAGE, type UsageEntry } from './status.ts';

/** USER_HZ, in which Linux tells times to programs, on every machine. */
const TICKS_PER_S = 100;
const FRESH_MS = 1_000;

/** `pids`: of the tree, now. Asked every few seconds, the CPU is that of these seconds. */
export function createUsage(pids: () => readonly number[]): () => UsageEntry {
  let ticks = new Map<number, number>();
  let atMs = Number.NEGATIVE_INFINITY;
  let usage = NO_USAGE;
  const pageBytes = readPageBytes();
  return () => {
    const nowMs = performance.now();
    const spentMs = nowMs - atMs;
    if (spentMs < FRESH_MS) return usage;
    const before = ticks;
    ticks = new Map();
    let [pages, spent] = [0, 0];
    for (const pid of pids()) {
      const text = readText(`/proc/${pid}/stat`);
      // proc_pid_stat(5): state is field 3, utime 14, stime 15, rss 24; the name may hold anything.
      const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ');
      if (!fields) continue;
      ticks.set(pid, Number(fields[11]) + Number(fields[12]));
      spent += ticks.get(pid)! - (before.get(pid) ?? 0);
      pages += Number(fields[21]);
    }
    atMs = nowMs;
    // Of the first look nobody knows over which time; a child that has ended takes its time along.
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
