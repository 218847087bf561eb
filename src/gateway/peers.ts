/**
 * Which process is at the other end of a connection to the gateway: only those of the worker's tree may poll. Linux: the row of the
 * client's end in the tables of TCP sockets gives an inode, and the descriptor with that inode its process (the kernel's
 * Documentation/networking/proc_net_tcp.rst). Elsewhere nobody knows, and whoever has the token is taken for the worker.
 */
import type { Socket } from 'node:net';
import { argvOf, createBlockReader, listPids, parseProcStat, readStat } from '../machine/procfs.ts';
import { socketInodes, tcpRows } from '../machine/tcp-table.ts';
import { plainCommand } from '../output/plain.ts';

/** A poller keeps its name for as long as its connection lives. */
export interface Poller {
  readonly kind: 'poller';
  readonly name: string;
  readonly connection: number;
}

export type Caller =
  | Poller
  /** Not of the worker's tree; pid null where it can't be seen, undefined where it was not looked for. */
  | { readonly kind: 'stranger'; readonly pid: number | null | undefined }
  /** It has hung up already: its owner is unknown, and a stranger must not get in by hanging up. */
  | { readonly kind: 'gone' };

export type Peers = ReturnType<typeof createPeers>;

export interface PeersOptions {
  /** Pids of the whole tree of the worker. */
  readonly tree: () => readonly number[];
  /** Finds out about processes that are new: those that have moved away are known by their environment only. */
  readonly learnTree: () => Promise<unknown>;
  /** A poller's connection has ended. */
  readonly onLeft: (connection: number) => void;
  /** A poller's process is dead. */
  readonly onDeath: (name: string) => void;
}

/** A process is dead some time after its sockets are closed. */
const DEATH_LOOKS_MS = [0, 20, 100, 500, 2_000];
/** Strangers are looked for among all processes, which takes long, so no more often than this. */
const NAME_EVERY_MS = 500;

export function createPeers({ tree, learnTree, onLeft, onDeath }: PeersOptions) {
  const pids = new Map<string, number>();
  const pollers = new Map<Socket, Poller>();
  const blocks = createBlockReader();
  let lastConnection = 0;
  let leader: number | null = null;
  let learning: Promise<unknown> | null = null;
  let namedAtMs = Number.NEGATIVE_INFINITY;

  /** Who of these holds the client's end; `unknown` where one of them can't be looked into, or the system does not tell. */
  function holder(socket: Socket, among: Iterable<number>): number | 'nobody' | 'unknown' | 'gone' {
    if (socket.destroyed) return 'gone';
    if (process.platform !== 'linux') return 'unknown';
    const inode = inodeOf(socket);
    if (inode === null) return 'gone';
    let isHidden = false;
    for (const pid of among) {
      const inodes = socketInodes(pid);
      if (inodes?.includes(inode)) return pid;
      isHidden ||= inodes === null;
    }
    return isHidden ? 'unknown' : 'nobody';
  }

  function inodeOf(socket: Socket): string | null {
    const { localPort, remotePort } = socket;
    for (const row of tcpRows(blocks))
      if (row.localPort === remotePort && row.remotePort === localPort && row.remote === '127.0.0.1')
        return row.inode === '0' ? null : row.inode;
    return null;
  }

  function admit(socket: Socket, pid: number | null): Poller {
    const name = pid === null ? 'worker' : `pid ${pid}`;
    if (pid !== null) pids.set(name, pid);
    const poller: Poller = { kind: 'poller', name, connection: ++lastConnection };
    pollers.set(socket, poller);
    return poller;
  }

  function nameStranger(socket: Socket): number | null | undefined {
    if (performance.now() - namedAtMs < NAME_EVERY_MS) return undefined;
    const found = holder(socket, listPids());
    namedAtMs = performance.now();
    return typeof found === 'number' ? found : null;
  }

  function seeDeath(name: string, pid: number): void {
    if (pids.get(name) !== pid || lives(pid)) return;
    pids.delete(name);
    onDeath(name);
  }

  function left(socket: Socket): void {
    const poller = pollers.get(socket);
    if (!poller) return;
    pollers.delete(socket);
    onLeft(poller.connection);
    const pid = pids.get(poller.name);
    if (pid !== undefined)
      for (const ms of DEATH_LOOKS_MS) setTimeout(seeDeath, ms, poller.name, pid).unref();
  }

  return {
    async find(socket: Socket): Promise<Caller> {
      const before = pollers.get(socket);
      if (before) return before;
      let found = holder(socket, [...pids.values(), ...(leader === null ? [] : [leader])]);
      if (found === 'nobody') {
        // Callers that come meanwhile share the answer.
        learning ??= learnTree().finally(() => {
          learning = null;
        });
        await learning.catch(() => {});
        found = holder(socket, tree());
      }
      const known = pollers.get(socket);
      if (known) return known;
      if (found === 'gone') return { kind: 'gone' };
      if (found === 'nobody') return { kind: 'stranger', pid: nameStranger(socket) };
      return admit(socket, found === 'unknown' ? null : found);
    },
    /** A connection has ended. */
    left,
    /** Null where the system does not tell. */
    pidOf: (name: string): number | null => pids.get(name) ?? null,
    /** A new worker runs: nobody of the one before polls any more. */
    restart(pid: number): void {
      // Now, not when the sockets end: by then the next worker may have polled.
      for (const socket of [...pollers.keys()]) left(socket);
      pids.clear();
      leader = pid;
    },
  };
}

/** A process's words up to its script, so that no interpreter is meant as a whole. */
export function programWords(pid: number | null): string {
  const argv = pid === null ? [] : argvOf(pid);
  const script = argv.findIndex((word, i) => i > 0 && !word.startsWith('-'));
  return plainCommand(argv.slice(0, script < 0 ? argv.length : script + 1)) || 'the worker';
}

/** False as soon as a process is dead, a zombie included. */
function lives(pid: number): boolean {
  const text = readStat(pid);
  if (text === null) return process.platform !== 'linux';
  const state = parseProcStat(text)?.state;
  return state !== 'Z' && state !== 'X';
}
