// What /proc says about processes, and the clean-up of everything a test started: found by pid or by the cookie
// variable in its environment, never by name. Source: proc(5).
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { until } from './wait.ts';

export const COOKIE_NAME = 'SP_TEST_COOKIE';

export interface ProcView {
  pid: number;
  ppid: number;
  /** One letter: R, S, D, T (stopped), Z (zombie) … */
  state: string;
  pgid: number;
  session: number;
  /** Clock ticks since boot; together with the pid it names one process for ever. */
  startTicks: number;
}

/** The process as /proc/PID/stat has it, null when there is none. Zombies are given with state Z. */
export function readProc(pid: number): ProcView | null {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return null;
  }
  const rest = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return {
    pid,
    state: rest[0] ?? '?',
    ppid: Number(rest[1]),
    pgid: Number(rest[2]),
    session: Number(rest[3]),
    startTicks: Number(rest[19]),
  };
}

/** True while the process runs; a zombie is dead. */
export function alive(pid: number): boolean {
  const proc = readProc(pid);
  return proc !== null && proc.state !== 'Z' && proc.state !== 'X';
}

/** Environment of a process, latin1 per entry; null where it cannot be read. */
export function environOf(pid: number): string[] | null {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').filter(Boolean);
  } catch {
    return null;
  }
}

export function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0').join(' ').trim();
  } catch {
    return '';
  }
}

export function allPids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** Live processes whose environment holds the variable with exactly this value. */
export function findByEnv(name: string, value: string): number[] {
  const entry = `${name}=${value}`;
  return allPids().filter((pid) => alive(pid) && (environOf(pid)?.includes(entry) ?? false));
}

function killNow(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Gone already.
  }
}

/** SIGKILLs every live process that carries the cookie, and the given pids, until none is left. */
export async function killByCookie(cookie: string, extra: ReadonlyMap<number, number>): Promise<void> {
  let quietRounds = 0;
  await until(
    'the test to have no process left',
    () => {
      const left = new Set(findByEnv(COOKIE_NAME, cookie));
      for (const [pid, startTicks] of extra) {
        const proc = readProc(pid);
        if (proc && proc.startTicks === startTicks && alive(pid)) left.add(pid);
      }
      left.delete(process.pid);
      for (const pid of left) killNow(pid);
      quietRounds = left.size === 0 ? quietRounds + 1 : 0;
      return quietRounds >= 2;
    },
    { ms: 30_000, seen: () => findByEnv(COOKIE_NAME, cookie).map(commandOf).join('\n') },
  );
}

interface Listener {
  address: string;
  inode: string;
}

/** Listening TCP sockets at the port; addresses in the kernel's hex, `0100007F` is 127.0.0.1. */
export function listenersAt(port: number): Listener[] {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  return ['tcp', 'tcp6'].flatMap((family) =>
    readFileSync(`/proc/net/${family}`, 'latin1')
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter((field) => field[3] === '0A' && field[1]?.endsWith(`:${hex}`))
      .map((field) => ({ address: field[1]!.split(':')[0]!, inode: field[9]! })),
  );
}

function holds(pid: number, inodes: ReadonlySet<string>): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      try {
        return inodes.has(/^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? '');
      } catch {
        return false; // Closed meanwhile.
      }
    });
  } catch {
    return false; // Gone, or another user's.
  }
}

/** The process holds a connection to this port. */
export function isConnected(pid: number, port: number): boolean {
  const remote = `:${port.toString(16).toUpperCase().padStart(4, '0')} 01 `;
  const lines = readFileSync('/proc/net/tcp', 'latin1').split('\n');
  const inodes = lines.filter((line) => line.includes(remote)).map((line) => line.trim().split(/\s+/)[9]!);
  return holds(pid, new Set(inodes));
}

/** The supervisor, and with it whoever listens at the port, if that is another process. */
export function processesOfGateway(supervisor: number, port: number): number[] {
  const inodes = new Set(listenersAt(port).map(({ inode }) => inode));
  if (inodes.size === 0 || holds(supervisor, inodes)) return [supervisor];
  const others = allPids().filter((pid) => pid !== process.pid && holds(pid, inodes));
  return [supervisor, ...others];
}

/** A line of /proc/PID/status, such as VmRSS. */
export function statusKb(pid: number, name: string): number {
  return Number(new RegExp(`${name}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]);
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0);

/** Starts a measurement: the returned function tells the highest resident memory since then above that of now, in MB. */
export function watchMemory(pids: readonly number[]): () => number {
  // 5 sets the peak (VmHWM) back to the present size.
  for (const pid of pids) writeFileSync(`/proc/${pid}/clear_refs`, '5');
  const beforeKb = sum(pids.map((pid) => statusKb(pid, 'VmRSS')));
  return () => (sum(pids.map((pid) => statusKb(pid, 'VmHWM'))) - beforeKb) / 1024;
}
