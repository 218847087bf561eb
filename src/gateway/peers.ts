/**
 * Finds the process at the other end of a connection to the gateway: only the worker's tree may poll. On Linux the row of the
 * client's end in the TCP tables gives an inode, and the process is the one with a descriptor for that inode (the kernel's
 * Documentation/networking/proc_net_tcp.rst). On other systems any process with the token counts as the worker.
 */
import type { Socket } from 'node:net';
import { argvOf, createBlockReader, listPids, parseProcStat, readStat } from '../machine/procfs.ts';
import { socketInodes, tcpRows } from '../machine/tcp-table.ts';
import { plainCommand } from '../output/plain.ts';

/** A poller keeps its name while its connection lives. */
export interface Poller {
  readonly kind: 'poller';
  readonly name: string;
  readonly connection: number;
}

export type Caller =
  | Poller
  /** Not of the worker's tree. Pid null: it can't be seen; undefined: it was not looked for. */
  | { readonly kind: 'stranger'; readonly pid: number | null | undefined }
  /** It has hung up already, so its process is unknown and may be a stranger. */
  | { readonly kind: 'gone' };

export type Peers = ReturnType<typeof createPeers>;

export interface PeersOptions {
  /** Pids of the whole tree of the worker. */
  readonly tree: () => readonly number[];
  /** Reads new processes' environments, by which those are found that have left the tree. */
  readonly learnTree: () => Promise<unknown>;
  /** A poller's connection has ended. */
  readonly onLeft: (connection: number) => void;
  /** A poller's process is dead. */
  readonly onDeath: (name: string) => void;
}

/** When to look whether a process is dead, after its sockets have closed. */
const DEATH_LOOKS_MS = [0, 20, 100, 500, 2_000];
/** A stranger is sought among all processes, which takes long, so no more often than this. */
const NAME_EVERY_MS = 500;

export function createPeers({ tree, learnTree, onLeft, onDeath }: PeersOptions) {
  const pids = new Map<string, number>();
  const pollers = new Map<Socket, Poller>();
  const blocks = createBlockReader();
  let lastConnection = 0;
  let leader: number | null = null;
  let learning: Promise<unknown> | null = null;
  let namedAtMs = Number.NEGATIVE_INFINITY;

  /** Which of these has the client's end; `unknown`: one of them can't be inspected, or the system does not tell. */
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
        // Callers that come meanwhile share the result.
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
    /** Null: the system does not tell. */
    pidOf: (name: string): number | null => pids.get(name) ?? null,
    /** A new worker runs, so the pollers of the previous one are gone. */
    restart(pid: number): void {
      // Done now because the next worker may have polled by the time the sockets end.
      for (const socket of [...pollers.keys()]) left(socket);
      pids.clear();
      leader = pid;
    },
  };
}

/** A process's words up to its script, as the interpreter alone would not identify the program. */
export function programWords(pid: number | null): string {
  const argv = pid === null ? [] : argvOf(pid);
  const script = argv.findIndex((word, i) => i > 0 && !word.startsWith('-'));
  return plainCommand(argv.slice(0, script < 0 ? argv.length : script + 1)) || 'the worker';
}

/** False for a dead process or a zombie. */
function lives(pid: number): boolean {
  const text = readStat(pid);
  if (text === null) return process.platform !== 'linux';
  const state = parseProcStat(text)?.state;
  return state !== 'Z' && state !== 'X';
}
