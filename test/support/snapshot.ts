/** A plain reader of /proc for tests that need real processes; slow and simple on purpose. Linux only. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { Proc } from '../../src/strays/process.ts';

const MARKS = [
  'pm_id',
  'PM2_HOME',
  'name',
  'SUPERVISOR_PROCESS_NAME',
  'SUPERVISOR_GROUP_NAME',
  'SUPERVISOR_SERVER_URL',
];

/** Every process that can be read, by pid. Those that end meanwhile are left out. */
export function snapshot(): Map<number, Proc> {
  const byPid = new Map<number, Proc>();
  for (const entry of readdirSync('/proc')) {
    const proc = /^\d+$/.test(entry) ? readProc(Number(entry)) : null;
    if (proc !== null) byPid.set(proc.pid, proc);
  }
  return byPid;
}

function readProc(pid: number): Proc | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const environment = attempt(() => readFileSync(`/proc/${pid}/environ`, 'utf8'));
    return {
      pid,
      ppid: Number(fields[1]),
      pgid: Number(fields[2]),
      sid: Number(fields[3]),
      uid: Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? -1),
      state: fields[0]!,
      startId: fields[19]!,
      tty: Number(fields[4]),
      comm: stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')')),
      argv: readFileSync(`/proc/${pid}/cmdline`, 'utf8')
        .replace(/\0+$/, '')
        .split('\0')
        .filter((word, at) => at > 0 || word !== ''),
      cwd: attempt(() => readlinkSync(`/proc/${pid}/cwd`)),
      env:
        environment === null
          ? null
          : {
              holdsToken: false,
              bot: null,
              run: null,
              spawn: null,

              marks: marksOf(environment),
            },
    };
  } catch {
    return null;
  }
}

function marksOf(environment: string): Record<string, string> {
  const marks: Record<string, string> = {};
  for (const setting of environment.split('\0')) {
    const at = setting.indexOf('=');
    if (MARKS.includes(setting.slice(0, at))) marks[setting.slice(0, at)] = setting.slice(at + 1);
  }
  return marks;
}

function attempt<T>(read: () => T): T | null {
  try {
    return read();
  } catch {
    return null;
  }
}
