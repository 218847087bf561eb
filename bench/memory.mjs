// What a process takes, by the kernel's own count.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

/** In MiB: `rss`, `pss` (shared pages divided among their users), `private` (anonymous memory: nobody else's). */
export function memoryOf(pids) {
  const sums = { rss: 0, pss: 0, private: 0 };
  for (const pid of pids) {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    const mib = (key) => Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(text)[1]) / 1024;
    sums.rss += mib('Rss');
    sums.pss += mib('Pss');
    sums.private += mib('Anonymous');
  }
  return sums;
}

/** Begins to watch the highest RSS of a process: returns a function that tells how many MiB it has grown at its peak since. */
export function watchPeak(pid) {
  const mib = (key) => {
    const text = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(text)[1]) / 1024;
  };
  // proc(5): sets the high water mark back to what is in memory now.
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
  const before = mib('VmRSS');
  return () => mib('VmHWM') - before;
}

/**
 * CPU time in ms that these processes have used so far. The scheduler's own count, by the nanosecond, of all their threads;
 * that of children that have ended is known by the clock tick only.
 */
export function cpuMsOf(pids) {
  let ms = 0;
  for (const pid of pids) {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      ms += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
    }
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    ms += (Number(fields[13]) + Number(fields[14])) * 10;
  }
  return ms;
}
