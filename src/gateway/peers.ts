/**
 * Finds the process at the other end of a connection to the gateway: only the worker's tree may poll. On Linux the row of the
 * client's end in the TCP tables gives an inode, and the process is the one with a descriptor for that inode (the kernel's
 * Documentation/networking/proc_net_tcp.rst). On other systems any process with the token counts as the worker.
 */
import type { Socket } from 'node:net';
import { aliveStat, argvOf, listPids } from '../machine/procfs.ts';
import { socketInodes, tcpRows } from '../machine/sockets.ts';
import { plainCommand } from '../output/plain.ts';
import { shared } from '../turns.ts';

/** One connection of a process of the worker. */
export interface Poller {
  readonly kind: 'poller';
  /** Null: the system does not tell. */
  readonly pid: number | null;
  readonly connection: number;
}

type Caller =
  | Poller
  /** Not of the worker's tree. Pid null: it can't be seen. */
  | { readonly kind: 'stranger'; readonly pid: number | null }
  /** It has hung up already, so its process is unknown and may be a stranger. */
  | { readonly kind: 'gone' };

export interface PeersOptions {
  /** Pids of the whole tree of the worker. */
  readonly tree: () => readonly number[];
  /** Reads new processes' environments, by which those are found that have left the tree. */
  readonly learnTree: () => Promise<unknown>;
  readonly onLeft: (connection: number) => void;
  readonly onDeath: (pid: number) => void;
}

/** When to look whether a process is dead, after its sockets have closed. */
const DEATH_LOOKS_MS = [0, 20, 100, 500, 2_000];
/** A stranger is sought among all processes, which takes long: one that comes sooner than this is taken for the last one found. */
const NAME_EVERY_MS = 500;

export function createPeers({ tree, learnTree, onLeft, onDeath }: PeersOptions) {
  const pollers = new Map<Socket, Poller>();
  /** The worker, and its processes that have polled: looked at first. */
  const known = new Set<number>();
  let lastConnection = 0;
  const learn = shared(learnTree);
  let stranger: number | null = null;
  let namedAtMs = Number.NEGATIVE_INFINITY;

  /** Which of these has the client's end; `unknown`: one of them can't be inspected, or the system does not tell. */
  function holder(socket: Socket, among: Iterable<number>): number | 'nobody' | 'unknown' | 'gone' {
    if (socket.destroyed) return 'gone';
    if (process.platform !== 'linux') return 'unknown';
    const inode = inodeOf(socket);
    if (inode === 0) return 'gone';
    let isHidden = false;
    for (const pid of among) {
      const inodes = socketInodes(pid);
      if (inodes?.includes(inode)) return pid;
      isHidden ||= inodes === null;
    }
    return isHidden ? 'unknown' : 'nobody';
  }

  /** 0: the client has closed its end. */
  function inodeOf({ localPort, remotePort }: Socket): number {
    for (const row of tcpRows(remotePort))
      if (row.localPort === remotePort && row.remotePort === localPort && row.remote === '127.0.0.1')
        return row.inode;
    return 0;
  }

  function strangerAt(socket: Socket): number | null {
    if (performance.now() - namedAtMs > NAME_EVERY_MS) {
      const found = holder(socket, listPids());
      stranger = typeof found === 'number' ? found : null;
      namedAtMs = performance.now();
    }
    return stranger;
  }

  function left(socket: Socket): void {
    const poller = pollers.get(socket);
    if (!poller) return;
    pollers.delete(socket);
    onLeft(poller.connection);
    const { pid } = poller;
    const look = () => {
      if (pid === null || !known.has(pid) || aliveStat(pid)) return;
      known.delete(pid);
      onDeath(pid);
    };
    for (const ms of DEATH_LOOKS_MS) setTimeout(look, ms).unref();
  }

  return {
    async find(socket: Socket): Promise<Caller> {
      const before = pollers.get(socket);
      if (before) return before;
      let found = holder(socket, known);
      if (found === 'nobody') {
        await learn().catch(() => {});
        found = holder(socket, tree());
      }
      const meanwhile = pollers.get(socket);
      if (meanwhile) return meanwhile;
      if (found === 'gone') return { kind: 'gone' };
      if (found === 'nobody') return { kind: 'stranger', pid: strangerAt(socket) };
      if (found !== 'unknown') known.add(found);
      const pid = found === 'unknown' ? null : found;
      const poller: Poller = { kind: 'poller', pid, connection: ++lastConnection };
      pollers.set(socket, poller);
      // A worker's end shows here first; its successor is started before its connections are dealt with.
      socket.once('close', () => setImmediate(left, socket));
      return poller;
    },
    /** A new worker runs, so the pollers of the previous one are gone. */
    restart(pid: number): void {
      // Done now because the next worker may have polled by the time the sockets end.
      for (const socket of [...pollers.keys()]) left(socket);
      known.clear();
      known.add(pid);
    },
  };
}

/** A process's words up to its script, as the interpreter alone would not identify the program. */
export function programWords(pid: number | null): string {
  const argv = pid === null ? [] : argvOf(pid);
  const script = argv.findIndex((word, i) => i > 0 && !word.startsWith('-'));
  return plainCommand(argv.slice(0, script < 0 ? argv.length : script + 1)) || 'the worker';
}
