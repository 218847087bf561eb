/**
 * Which process is at the other end of a connection to the gateway. Linux: the row of the client's end in the tables of TCP
 * sockets gives an inode, and the descriptor with that inode its process (formats in the kernel's
 * Documentation/networking/proc_net_tcp.rst). Elsewhere nobody knows.
 */
import { readdirSync } from 'node:fs';
import { createBlockReader, readLink, readText } from '../machine/procfs.ts';
import { hexAddresses } from '../machine/sockets.ts';

export type Peer =
  | { readonly kind: 'member'; readonly pid: number }
  /** Not of the worker's tree; pid null where its descriptors may not be seen, undefined where there was no time to look. */
  | { readonly kind: 'stranger'; readonly pid: number | null | undefined }
  /** It has hung up already. */
  | { readonly kind: 'gone' }
  /** The system does not tell. */
  | { readonly kind: 'unknown' };

export interface Peers {
  /** `remotePort` is the client's, `port` ours. */
  of(remotePort: number, port: number): Peer;
  /** Of these ports of clients, those that the worker's tree has open; null where the system does not tell. */
  members(port: number): ReadonlySet<number> | null;
}

const NAMINGS_PER_S = 2;
const LOOKS_PER_S = 20;
const TABLE_BYTES_MAX = 16 * 1024 * 1024;

/** `tree`: pids of the worker's tree, the likely ones first; `thorough` also looks for those that have moved away. */
export function createPeers(tree: (thorough: boolean) => readonly number[]): Peers {
  const blocks = createBlockReader();
  const naming = budget(NAMINGS_PER_S);
  const looking = budget(LOOKS_PER_S);
  let known: readonly number[] = [];
  const loopback = hexAddresses('127.0.0.1').slice(0, 2);

  /** Inode by port of the clients that are connected to `port`. */
  function clients(port: number, only: number | null): Map<number, string> {
    const found = new Map<number, string>();
    const remotes = new Set(loopback.map((hex) => `${hex}:${hexPort(port)}`));
    for (const table of ['tcp', 'tcp6']) {
      const block = blocks.read(`/proc/self/net/${table}`, { mostBytes: TABLE_BYTES_MAX });
      if (typeof block === 'string') continue;
      for (const line of block.toString('latin1', 1).split('\n')) {
        const fields = line.trim().split(/\s+/);
        if (fields.length < 10 || !remotes.has(fields[2]!) || fields[9] === '0') continue;
        const local = Number.parseInt(fields[1]!.slice(-4), 16);
        if (only === null || local === only) found.set(local, fields[9]!);
      }
      if (only !== null && found.size > 0) break;
    }
    return found;
  }

  /** Looking through all processes of the machine, many times a second, is what a crowd of strangers must not bring about. */
  function whole(): readonly number[] {
    if (looking.allows()) known = tree(true);
    return known;
  }

  return {
    of(remotePort, port) {
      if (process.platform !== 'linux') return { kind: 'unknown' };
      const inode = clients(port, remotePort).get(remotePort);
      // Its end is no process's any more. Who it was can't be told: a stranger must not get in by hanging up.
      if (inode === undefined) return { kind: 'gone' };
      const wanted = `socket:[${inode}]`;
      let hidden = false;
      const seen = new Set<number>([process.pid]);
      for (const thorough of [false, true]) {
        for (const pid of thorough ? whole() : tree(false)) {
          if (seen.has(pid)) continue;
          seen.add(pid);
          const has = holds(pid, wanted);
          if (has) return { kind: 'member', pid };
          hidden ||= has === null;
        }
      }
      if (hidden) return { kind: 'unknown' };
      if (!naming.allows()) return { kind: 'stranger', pid: undefined };
      for (const name of readdirSync('/proc')) {
        const pid = Number(name);
        if (Number.isInteger(pid) && !seen.has(pid) && holds(pid, wanted)) return { kind: 'stranger', pid };
      }
      return { kind: 'stranger', pid: null };
    },
    members(port) {
      if (process.platform !== 'linux') return null;
      const inodes = new Set<string>();
      for (const pid of tree(true)) for (const target of sockets(pid) ?? []) inodes.add(target);
      const ports = new Set<number>();
      for (const [remote, inode] of clients(port, null))
        if (inodes.has(`socket:[${inode}]`)) ports.add(remote);
      return ports;
    },
  };
}

/** Allows so many per second. */
function budget(perSecond: number): { allows(): boolean } {
  let sinceMs = Number.NEGATIVE_INFINITY;
  let left = 0;
  return {
    allows() {
      const nowMs = performance.now();
      if (nowMs - sinceMs >= 1_000) {
        sinceMs = nowMs;
        left = perSecond;
      }
      left -= 1;
      return left >= 0;
    },
  };
}

function hexPort(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, '0');
}

/** Null: its descriptors may not be seen. */
function holds(pid: number, wanted: string): boolean | null {
  const targets = sockets(pid);
  return targets === null ? null : targets.includes(wanted);
}

function sockets(pid: number): string[] | null {
  let names: string[];
  try {
    names = readdirSync(`/proc/${pid}/fd`);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EACCES' ? null : [];
  }
  const targets: string[] = [];
  for (const name of names) {
    const target = readLink(`/proc/${pid}/fd/${name}`);
    if (target?.startsWith('socket:[')) targets.push(target);
  }
  return targets;
}

/** The leader and its descendants, by the kernel's lists of children: cheap, but those that have moved away are missing. */
export function descendants(leader: number): number[] {
  const found = [leader];
  for (let i = 0; i < found.length; i++) {
    let threads: string[] = [];
    try {
      threads = readdirSync(`/proc/${found[i]}/task`);
    } catch {
      // It has ended.
    }
    for (const thread of threads) {
      const children = readText(`/proc/${found[i]}/task/${thread}/children`) ?? '';
      for (const child of children.split(' ')) if (child !== '') found.push(Number(child));
    }
  }
  return found;
}

/** False as soon as a process is dead, a zombie included. */
export function lives(pid: number): boolean {
  const stat = readText(`/proc/${pid}/stat`);
  if (stat === null) return process.platform !== 'linux';
  const state = stat.slice(stat.lastIndexOf(')') + 2).charAt(0);
  return state !== 'Z' && state !== 'X';
}
