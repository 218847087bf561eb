// What a process takes, by the kernel's own count.
import { readFileSync } from 'node:fs';

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

/** CPU time in ms that these processes have used so far, all their threads. */
export function cpuMsOf(pids) {
  let ticks = 0;
  for (const pid of pids) {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    // utime, stime, and those of children that have ended.
    for (const at of [11, 12, 13, 14]) ticks += Number(fields[at]);
  }
  return ticks * 10;
}
