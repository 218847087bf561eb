/**
 * Connections to the gateway: the listening sockets, and which process is at the other end. A socket on 127.0.0.1 is as careful as a
 * local server has to be: heads are bounded in size and time, and when connections crowd, those from outside of the worker's tree go
 * first, so that strangers can't shut the worker out. Linux: the row of the client's end in the tables of TCP sockets gives an inode,
 * and the descriptor with that inode its process (the kernel's Documentation/networking/proc_net_tcp.rst). Elsewhere nobody knows.
 */
import { readdirSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { createBlockReader, listPids, parseProcStat, readStat, readText } from '../machine/procfs.ts';
import { socketInodes, tcpRows } from '../machine/tcp-table.ts';

export interface Peers {
  /** Listens at a port (0: any free one); rejects with the system's error. */
  listen(port: number): Promise<Endpoint>;
  /** A promise where a process may be the worker's that is new and has moved away from it: the tree is learned anew for it. */
  find(socket: Socket, port: number): Caller | Promise<Caller>;
  /** A poller keeps its name for as long as its connection lives. Null: nobody has asked for updates on it. */
  nameOf(socket: Socket): { readonly name: string; readonly connection: number } | null;
  /** Null where the system does not tell. */
  pidOf(name: string): number | null;
  /** A new worker runs: nobody of the one before polls any more, and nothing is known of its processes yet. */
  restart(leader: number): void;
}

export interface Endpoint {
  readonly port: number;
  /** Ends all connections, too. */
  close(): void;
}

export type Caller = { readonly kind: 'poller' } | Extract<Peer, { kind: 'stranger' | 'gone' }>;

export interface PeersOptions {
  readonly handle: (request: IncomingMessage, response: ServerResponse, port: number) => void;
  /** Pids of the whole tree of the worker. */
  readonly tree: () => readonly number[];
  /** Finds out about processes that are new: those that have moved away are known by their environment only. */
  readonly learnTree: (() => Promise<unknown>) | undefined;
  /** A poller's connection has ended. */
  readonly onLeft: (connection: number) => void;
  /** A poller's process is dead. */
  readonly onDeath: (name: string) => void;
}

/** As much as the Bot API server takes (tdlib/td HttpReader): a message of 4,096 letters in a query, percent-encoded. */
const HEAD_BYTES_MAX = 256 * 1024;
const HEAD_MS_MAX = 10_000;
const CONNECTIONS_MAX = 1_024;
/** With more connections than this strangers are dropped, so often at most, or after so many new connections. */
const CROWD = 96;
const CROWD_LOOK_EVERY_MS = 250;
const CROWD_LOOK_EVERY = 256;
/** A process is dead some time after its sockets are closed. */
const DEATH_LOOKS_MS = [0, 20, 100, 500, 2_000];

export function createPeers({ handle, tree, learnTree, onLeft, onDeath }: PeersOptions): Peers {
  const pids = new Map<string, number>();
  const pollers = new Map<Socket, { readonly name: string; readonly connection: number }>();
  let lastConnection = 0;
  let leader: number | null = null;
  let learning: Promise<unknown> | null = null;
  const finder = createFinder((thorough) => {
    if (thorough) return tree();
    return [...pids.values(), ...(leader === null ? [] : descendants(leader))];
  });

  function admit(peer: Peer, socket: Socket): Caller {
    if (socket.destroyed) return { kind: 'gone' };
    if (peer.kind === 'stranger' || peer.kind === 'gone') return peer;
    const name = peer.kind === 'member' ? `pid ${peer.pid}` : 'worker';
    if (peer.kind === 'member') pids.set(name, peer.pid);
    if (!pollers.has(socket)) pollers.set(socket, { name, connection: ++lastConnection });
    return { kind: 'poller' };
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

  function seeDeath(name: string, pid: number): void {
    if (pids.get(name) !== pid || lives(pid)) return;
    pids.delete(name);
    onDeath(name);
  }

  async function listen(port: number): Promise<Endpoint> {
    const sockets = new Set<Socket>();
    // Asking for it is a system call.
    let ownPort = port;
    let lookedAtMs = Number.NEGATIVE_INFINITY;
    let cameSince = 0;
    const server = createServer(
      {
        maxHeaderSize: HEAD_BYTES_MAX,
        headersTimeout: HEAD_MS_MAX,
        // An upload may take as long as it takes.
        requestTimeout: 0,
        // Never: closing would cross the worker's next call now and then, and the clock costs more than routing a call.
        keepAliveTimeout: 0,
        connectionsCheckingInterval: HEAD_MS_MAX,
        noDelay: true,
      },
      (request, response) => handle(request, response, ownPort),
    );
    const dropStrangers = () => {
      const nowMs = performance.now();
      if (nowMs - lookedAtMs < CROWD_LOOK_EVERY_MS && cameSince < CROWD_LOOK_EVERY) return;
      lookedAtMs = nowMs;
      cameSince = 0;
      const members = finder.members(ownPort);
      if (members === null) return;
      for (const socket of sockets) if (!members.has(socket.remotePort ?? 0)) socket.destroy();
    };
    server.maxConnections = CONNECTIONS_MAX;
    server.on('connection', (socket) => {
      sockets.add(socket);
      cameSince += 1;
      socket.on('close', () => {
        sockets.delete(socket);
        // A worker's end shows here first, and its successor is started before anything is done about the connections it had.
        setImmediate(left, socket);
      });
      if (sockets.size > CROWD) dropStrangers();
    });
    // Connections beyond the maximum are dropped by Node, without a 'connection' event.
    server.on('drop', dropStrangers);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: '127.0.0.1', port, exclusive: true }, resolve);
    });
    server.removeAllListeners('error');
    // EMFILE and the like: the next connection may fare better.
    server.on('error', () => {});
    ownPort = (server.address() as AddressInfo).port;
    return {
      port: ownPort,
      close() {
        server.close();
        for (const socket of sockets) socket.destroy();
      },
    };
  }

  return {
    listen,
    find(socket, port) {
      if (pollers.has(socket)) return { kind: 'poller' };
      const look = () => finder.of(socket.remotePort ?? 0, port);
      const peer = socket.destroyed ? ({ kind: 'gone' } as const) : look();
      if (peer.kind !== 'stranger' || !learnTree) return admit(peer, socket);
      // Callers that come meanwhile share the answer.
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
    nameOf: (socket) => pollers.get(socket) ?? null,
    pidOf: (name) => pids.get(name) ?? null,
    restart(pid) {
      // Now, not when the sockets end: by then the next worker may have polled.
      for (const socket of [...pollers.keys()]) left(socket);
      pids.clear();
      leader = pid;
    },
  };
}

type Peer =
  | { readonly kind: 'member'; readonly pid: number }
  /** Not of the worker's tree; pid null where its descriptors may not be seen, undefined where there was no time to look. */
  | { readonly kind: 'stranger'; readonly pid: number | null | undefined }
  /** It has hung up already. */
  | { readonly kind: 'gone' }
  /** The system does not tell. */
  | { readonly kind: 'unknown' };

interface Finder {
  /** `remotePort` is the client's, `port` ours. */
  of(remotePort: number, port: number): Peer;
  /** Of these ports of clients, those that the worker's tree has open; null where the system does not tell. */
  members(port: number): ReadonlySet<number> | null;
}

const NAMINGS_PER_S = 2;
const LOOKS_PER_S = 20;

/** `tree`: pids of the worker's tree, the likely ones first; `thorough` also looks for those that have moved away. */
function createFinder(tree: (thorough: boolean) => readonly number[]): Finder {
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

  /** Bounded, so that a crowd of strangers can't make us look through all processes many times a second. */
  function whole(): readonly number[] {
    if (looking.allows()) known = tree(true);
    return known;
  }

  return {
    of(remotePort, port) {
      if (process.platform !== 'linux') return { kind: 'unknown' };
      const inode = clients(port, remotePort).get(remotePort);
      // No process holds the client's end any more, so its owner is unknown: a stranger must not get in by hanging up.
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
      // Its process may have ended during the search: a worker that is stopped while it connects is no stranger.
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

/** False as soon as a process is dead, a zombie included. */
function lives(pid: number): boolean {
  const text = readStat(pid);
  if (text === null) return process.platform !== 'linux';
  const state = parseProcStat(text)?.state;
  return state !== 'Z' && state !== 'X';
}
