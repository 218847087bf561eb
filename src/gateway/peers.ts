/**
 * Which process is at the other end of a connection to the gateway. Linux: the row of the client's end in the tables of TCP
 * sockets gives an inode, and the descriptor with that inode its process (formats in the kernel's
 * Documentation/networking/proc_net_tcp.rst). Elsewhere nobody knows.
 */
import { readdirSync } from 'node:fs';
import { createBlockReader, listPids, readStat, readText } from '../machine/procfs.ts';
import { parseProcStat } from '../machine/procstat.ts';
import { socketInodes, tcpRows } from '../machine/tcp-table.ts';

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

/** `tree`: pids of the worker's tree, the likely ones first; `thorough` also looks for those that have moved away. */
export function createPeers(tree: (thorough: boolean) => readonly number[]): Peers {
  const blocks = createBlockReader();
  const naming = budget(NAMINGS_PER_S);
  const looking = budget(LOOKS_PER_S);
  let known: readonly number[] = [];

  /** Inode by port of the clients that are connected to `port`. */
  function clients(port: number, only: number | null): Map<number, string> {
    const found = new Map<number, string>();
    for (const { localPort: clientPort, remote, remotePort, inode } of tcpRows(blocks)) {
      if (remotePort !== port || remote !== '127.0.0.1' || inode === '0') continue;
      if (only === null || clientPort === only) found.set(clientPort, inode);
      if (clientPort === only) break;
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
      let hidden = false;
      const seen = new Set<number>([process.pid]);
      for (const thorough of [false, true]) {
        for (const pid of thorough ? whole() : tree(false)) {
          if (seen.has(pid)) continue;
          seen.add(pid);
          const has = holds(pid, inode);
          if (has) return { kind: 'member', pid };
          hidden ||= has === null;
        }
      }
      if (hidden) return { kind: 'unknown' };
      if (!naming.allows()) return { kind: 'stranger', pid: undefined };
      for (const pid of listPids()) if (!seen.has(pid) && holds(pid, inode)) return { kind: 'stranger', pid };
      // One that has ended since belonged to nobody when it was looked for: a worker that is stopped while it connects.
      if (clients(port, remotePort).get(remotePort) !== inode) return { kind: 'gone' };
      return { kind: 'stranger', pid: null };
    },
    members(port) {
      if (process.platform !== 'linux') return null;
      const inodes = new Set<string>();
      for (const pid of tree(true)) for (const inode of socketInodes(pid) ?? []) inodes.add(inode);
      const ports = new Set<number>();
      for (const [remote, inode] of clients(port, null)) if (inodes.has(inode)) ports.add(remote);
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

/** Null: its descriptors may not be seen. */
function holds(pid: number, inode: string): boolean | null {
  return socketInodes(pid)?.includes(inode) ?? null;
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
  const text = readStat(pid);
  if (text === null) return process.platform !== 'linux';
  const state = parseProcStat(text)?.state;
  return state !== 'Z' && state !== 'X';
}
