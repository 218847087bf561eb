// What the kernel tells of the process behind a port: who listens, at which addresses, how much memory and how many
// descriptors it holds. Linux, proc(5).
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { allPids } from './proc.ts';

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

/** The supervisor, and with it whoever listens at the port, if that is another process. */
export function processesOfGateway(supervisor: number, port: number): number[] {
  const inodes = new Set(listenersAt(port).map(({ inode }) => inode));
  if (inodes.size === 0 || holds(supervisor, inodes)) return [supervisor];
  const others = allPids().filter((pid) => pid !== process.pid && holds(pid, inodes));
  return [supervisor, ...others];
}

function statusKb(pid: number, name: string): number {
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

/** Open descriptors of the processes. */
export const descriptors = (pids: readonly number[]): number =>
  sum(pids.map((pid) => readdirSync(`/proc/${pid}/fd`).length));
