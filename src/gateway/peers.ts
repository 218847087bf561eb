/**
 * Which process is at the other end of a connection to the gateway. Linux: the row of the client's end in the tables of TCP
 * sockets gives an inode, and the descriptor with that inode its process (formats in the kernel's
 * Documentation/networking/proc_net_tcp.rst). Elsewhere nobody knows.
 */
import { readdirSync } from 'node:fs';
import type { Socket } from 'node:net';
import { createBlockReader, listPids, readStat, readText } from '../machine/procfs.ts';
import { parseProcStat } from '../machine/procstat.ts';
import { socketInodes, tcpRows } from '../machine/tcp-table.ts';

type Peer =
  | { readonly kind: 'member'; readonly pid: number }
  /** Not of the worker's tree; pid null where its descriptors may not be seen, undefined where there was no time to look. */
  | { readonly kind: 'stranger'; readonly pid: number | null | undefined }
  /** It has hung up already. */
  | { readonly kind: 'gone' }
  /** The system does not tell. */
  | { readonly kind: 'unknown' };

interface Peers {
  /** `remotePort` is the client's, `port` ours. */
  of(remotePort: number, port: number): Peer;
  /** Of these ports of clients, those that the worker's tree has open; null where the system does not tell. */
  members(port: number): ReadonlySet<number> | null;
}

const NAMINGS_PER_S = 2;
const LOOKS_PER_S = 20;

/** `tree`: pids of the worker's tree, the likely ones first; `thorough` also looks for those that have moved away. */
function createPeers(tree: (thorough: boolean) => readonly number[]): Peers {
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
function descendants(leader: number): number[] {
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

/** Who has asked for updates, by connection. A caller keeps its name for as long as its connection lives. */
export interface Callers {
  /** A promise where a process may be the worker's that is new and has moved away from it: the tree is learned anew for it. */
  find(socket: Socket, port: number): Caller | Promise<Caller>;
  nameOf(connection: number): string | undefined;
  /** All that have asked. */
  connections(): readonly number[];
  /** Null where the system does not tell. */
  pidOf(name: string): number | null;
  members(port: number): ReadonlySet<number> | null;
  /** The connection has ended. False: nobody has asked for updates on it. */
  left(connection: number): boolean;
  /** A new worker runs: nothing is known of its processes yet. */
  restart(leader: number): void;
}

export type Caller = { readonly kind: 'poller' } | Extract<Peer, { kind: 'stranger' | 'gone' }>;

export interface CallersOptions {
  /** Pids of the whole tree of the worker. */
  readonly tree: () => readonly number[];
  /** Finds out about processes that are new: those that have moved away are known by their environment only. */
  readonly learnTree?: () => Promise<unknown>;
  readonly connectionOf: (socket: Socket) => number;
  readonly onDeath: (name: string) => void;
}

/** A process is dead some time after its sockets are closed. */
const DEATH_LOOKS_MS = [0, 20, 100, 500, 2_000];

export function createCallers({ tree, learnTree, connectionOf, onDeath }: CallersOptions): Callers {
  const pids = new Map<string, number>();
  const names = new Map<number, string>();
  let leader: number | null = null;
  let learning: Promise<unknown> | null = null;
  const peers = createPeers((thorough) => {
    if (thorough) return tree();
    return [...pids.values(), ...(leader === null ? [] : descendants(leader))];
  });

  function admit(peer: Peer, socket: Socket): Caller {
    if (socket.destroyed) return { kind: 'gone' };
    if (peer.kind === 'stranger' || peer.kind === 'gone') return peer;
    const name = peer.kind === 'member' ? `pid ${peer.pid}` : 'worker';
    if (peer.kind === 'member') pids.set(name, peer.pid);
    names.set(connectionOf(socket), name);
    return { kind: 'poller' };
  }

  function seeDeath(name: string, pid: number): void {
    if (pids.get(name) !== pid || lives(pid)) return;
    pids.delete(name);
    onDeath(name);
  }

  return {
    find(socket, port) {
      if (names.has(connectionOf(socket))) return { kind: 'poller' };
      const look = () => peers.of(socket.remotePort ?? 0, port);
      const peer = socket.destroyed ? ({ kind: 'gone' } as const) : look();
      if (peer.kind !== 'stranger' || !learnTree) return admit(peer, socket);
      // Many at once share the answer.
      learning ??= learnTree().finally(() => {
        learning = null;
      });
      return learning.then(
        () => {
          const again = socket.destroyed ? peer : look();
          return admit(again.kind === 'stranger' && again.pid === undefined ? peer : again, socket);
        },
        () => admit(peer, socket),
      );
    },
    nameOf: (connection) => names.get(connection),
    connections: () => [...names.keys()],
    pidOf: (name) => pids.get(name) ?? null,
    members: peers.members,
    left(connection) {
      const name = names.get(connection);
      names.delete(connection);
      const pid = name === undefined ? undefined : pids.get(name);
      if (name !== undefined && pid !== undefined)
        for (const ms of DEATH_LOOKS_MS) setTimeout(seeDeath, ms, name, pid).unref();
      return name !== undefined;
    },
    restart(pid) {
      pids.clear();
      leader = pid;
    },
  };
}

/** False as soon as a process is dead, a zombie included. */
function lives(pid: number): boolean {
  const text = readStat(pid);
  if (text === null) return process.platform !== 'linux';
  const state = parseProcStat(text)?.state;
  return state !== 'Z' && state !== 'X';
}
