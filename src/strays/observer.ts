/**
 * Watches how our getUpdates affects other processes' connections to the API root, and tells which process reacted. Decides when
 * to list sockets, and finds their owners; reactions.ts decides what counts as a reaction. Sends nothing.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { listPids, readLink, statOf } from '../machine/procfs.ts';
import {
  addressOf,
  connectsTo,
  findOwners,
  followDestroyed,
  listeningPorts,
  listSockets,
  ownersOfSockets,
  socketInodes,
  type TcpSocket,
} from '../machine/sockets.ts';
import { isRoot } from '../shell.ts';
import type { ApiAddresses } from './api-addresses.ts';
import { commandKey } from './grade.ts';
import type { Proc, Snapshot } from './process.ts';
import type { Processes } from './processes.ts';
import {
  type Client,
  type Counters,
  endOfWindows,
  HELD_LEAST_MS,
  heldForMs,
  isHeld,
  type Owner,
  type Poke,
  reactionsTo,
  type Sample,
  type Seen,
  unmovedBy,
  windowsOf,
} from './reactions.ts';

/** Watches the connections that exist now until our poll can have no further effect. */
export interface Observation {
  /** All connections but ours. */
  readonly clients: readonly Client[];
  /** The longest time that a listing took so far. */
  readonly listingMs: number;
  /**
   * Call it when a getUpdates was just sent. Calls `onSeen` at each reaction; resolves when none can follow, or at `signal`: with the
   * processes whose only request the poll has left alone.
   */
  poked(poke: Poke, onSeen: (seen: Seen) => void, signal: AbortSignal): Promise<readonly Owner[]>;
  stop(): void;
}

export interface ObserverOptions {
  readonly addresses: ApiAddresses;
  /** Further pids whose connections are not a stranger's: the worker's tree. */
  readonly ours: () => readonly number[];
  readonly processes: Pick<Processes, 'some'>;
  /** Processes that were connected before. */
  readonly known: readonly number[];
}

const DENSE_MS = 8;
const SPARSE_MS = 200;
/** How long after a listing without a connection `ss` may still report it as destroyed. */
const MISSING_MS = 120;
/** How long the start of the followers of destroyed sockets may take. */
const FOLLOW_READY_MS = 500;
const FOLLOW_LOOK_MS = 5;
/** How often it is looked whether young requests are old enough to be held for certain, and for how long at most. */
const YOUNG_MS = 50;
const YOUNG_MAX_MS = 1_000;
/** A relay's copy of an answer is shorter by at most this share plus these bytes, and longer by what headers of its own may take. */
const RELAYED_SHARE = 0.25;
const RELAYED_BYTES = 64;
const HEADERS_BYTES = 1_024;

/** A network namespace with connections. */
interface Network {
  readonly name: string;
  /** Path of its /proc/PID/ns/net; undefined: our own. */
  readonly namespace: string | undefined;
  readonly ports: ReadonlySet<number>;
}

interface Around {
  readonly clients: readonly Client[];
  readonly networks: readonly Network[];
}

/** Lists all connections to the API root but ours. Null: ss does not work here. */
export async function lookAround({
  addresses,
  ours,
  known,
  processes,
}: ObserverOptions): Promise<Around | null> {
  // Our own sockets are left out first, so that one listing is enough if no other process is connected.
  const own = new Set(socketInodes(process.pid));
  const found = await Promise.all(
    namespaces().map(async ({ name, namespace, pid }) => {
      const isOther = namespace !== undefined && !(await connectsTo(addresses.port, pid));
      const sockets = isOther ? [] : await listSockets({ remotePort: addresses.port, namespace });
      const clients = (sockets ?? []).filter(
        (it) => it.inode !== 0 && !own.has(it.inode) && addresses.has(addressOf(it.remote)),
      );
      const ports = clients.length > 0 ? await listeningPorts(namespace) : null;
      const network: Network = { name, namespace, ports: ports ?? new Set() };
      // The server's own end of a connection has the API root's port on this side, and it listens there.
      return {
        network,
        isBlind: !sockets,
        clients: clients.filter((it) => !network.ports.has(it.localPort)),
      };
    }),
  );
  if (found.some(({ network, isBlind }) => isBlind && network.namespace === undefined)) return null;
  const listed = found.flatMap(({ network, clients }) => clients.map((socket) => ({ network, socket })));
  if (listed.length === 0) return { clients: [], networks: [] };
  const inodes = listed.map(({ socket }) => socket.inode);
  const owners = await findOwners(inodes, [...known, ...ours()]);
  const oldest = [...owners.values()].map((pids) => Math.min(...pids));
  const procs = oldest.length > 0 ? await processes.some(oldest) : new Map<number, Proc>();
  const mine = new Set([process.pid, ...ours()]);
  const networks = new Set<Network>();
  const clients = listed.flatMap(({ network, socket }) => {
    const pids = owners.get(socket.inode) ?? [];
    if (pids.some((pid) => mine.has(pid))) return [];
    networks.add(network);
    const { uid, cgroup } = socket;
    // Of several holders the oldest opened it; the others inherited it and are stopped with its tree.
    const owner = pids.length === 0 ? null : ownerOf(Math.min(...pids), procs);
    return [{ key: keyOf(network, socket), uid, cgroup, owner, isHeld: isHeld(socket, HELD_LEAST_MS) }];
  });
  return { clients, networks: [...networks] };
}

/**
 * Lists the connections and prepares to see reactions. Null: ss does not work here, so no reaction can be seen. `rttMs`: usual answer time of
 * the Bot API, where the poll is sent when we like: then every request is given the time in which it becomes certain that it is held.
 */
export async function observe(options: ObserverOptions, rttMs: number | null): Promise<Observation | null> {
  const around = await lookAround(options);
  if (!around) return null;
  const { clients, networks } = around;
  if (clients.length === 0) return { clients, listingMs: 0, poked: async () => [], stop: () => {} };
  const { port: remotePort } = options.addresses;
  const accepted = await acceptedBy(around);
  const localPorts = [...new Set([...accepted.values()].flat().map((it) => it.localPort))];
  const gone = new Map<string, { readonly atMs: number; readonly counters: Counters }>();
  const missingSince = new Map<string, number>();
  const followers = networks.map((network) =>
    followDestroyed({ remotePort, namespace: network.namespace }, (socket) =>
      gone.set(keyOf(network, socket), { atMs: performance.now(), counters: { ...socket, isGone: true } }),
    ),
  );
  const samples: Sample[] = [];
  let listingMs = 0;

  async function list(): Promise<Sample> {
    const sockets = new Map<string, Counters>();
    const startedMs = performance.now();
    await Promise.all(
      networks.map(async (network) => {
        const rows = await listSockets({ remotePort, localPorts, namespace: network.namespace });
        for (const row of rows ?? []) sockets.set(keyOf(network, row), row);
      }),
    );
    const atMs = performance.now();
    for (const { key } of clients) {
      const last = samples.at(-1)?.sockets.get(key);
      if (sockets.has(key) || !last) continue;
      const told = gone.get(key);
      if (told) {
        const lastReceiveMs = told.counters.lastReceiveMs + Math.max(0, atMs - told.atMs);
        sockets.set(key, { ...told.counters, lastReceiveMs });
      } else if (last.isGone || atMs - (missingSince.get(key) ?? atMs) < MISSING_MS) {
        if (!missingSince.has(key)) missingSince.set(key, startedMs);
        sockets.set(key, last);
      }
    }
    listingMs = Math.max(listingMs, atMs - startedMs);
    return { atMs, sockets };
  }

  const isHeldIn = (sample: Sample | undefined, key: string, forMs = HELD_LEAST_MS): boolean => {
    const counters = sample?.sockets.get(key);
    return counters !== undefined && isHeld(counters, forMs);
  };

  const readyByMs = performance.now() + FOLLOW_READY_MS;
  while (!followers.every((it) => it.isReady()) && performance.now() < readyByMs) await pause(FOLLOW_LOOK_MS);
  samples.push(await list());
  // It takes a while until a request is certainly held, so this waits for young ones.
  const grownMs = () => (rttMs === null ? HELD_LEAST_MS : heldForMs({ rttMs, listingMs }));
  const isYoung = ({ key }: Client) => isHeldIn(samples[0], key, 0) && !isHeldIn(samples[0], key, grownMs());
  for (let ms = 0; ms < Math.min(grownMs(), YOUNG_MAX_MS) && clients.some(isYoung); ms += YOUNG_MS) {
    await pause(YOUNG_MS);
    samples[0] = await list();
  }

  /** The process received our 409 and passed about as much on, so it is a relay for the poller. */
  function isRelayed(client: Client, bytes: number | null, base: Sample): boolean {
    return (accepted.get(client.owner?.pid ?? -1) ?? []).some(({ key }) => {
      const before = base.sockets.get(key);
      const now = samples.at(-1)?.sockets.get(key);
      if (!before) return false;
      // The accepted connection has closed, so what was passed on is unknown: no proof.
      if (!now || bytes === null) return true;
      const passedOn = now.bytesSent - before.bytesSent;
      const isWhole = passedOn >= bytes * (1 - RELAYED_SHARE) - RELAYED_BYTES;
      return passedOn > 0 && isWhole && passedOn <= bytes + HEADERS_BYTES;
    });
  }

  function holdsAnother({ key, owner }: Client): boolean {
    return clients.some(
      (it) =>
        it.key !== key &&
        owner !== null &&
        it.owner?.pid === owner.pid &&
        samples.some((sample) => isHeldIn(sample, it.key)),
    );
  }

  return {
    clients: clients.map((client) => ({ ...client, isHeld: isHeldIn(samples.at(-1), client.key) })),
    listingMs,
    async poked(poke, onSeen, signal) {
      const told = new Set<string>();
      /** Reactions of servers, seen in one listing. Whether a server passed them on shows only in the next one. */
      const pending = new Set<string>();
      const base = samples.at(-1)!;
      // A connection without a held request can't react.
      if (!clients.some(({ key }) => isHeldIn(base, key))) return [];
      const endMs = endOfWindows(poke) + MISSING_MS;
      while (!signal.aborted && performance.now() < endMs) {
        samples.push(await list());
        for (const reaction of reactionsTo(poke, samples)) {
          const client = clients.find(({ key }) => key === reaction.socket)!;
          const id = `${reaction.socket} ${reaction.bytes}`;
          if (!client || told.has(id)) continue;
          const isServer = accepted.has(client.owner?.pid ?? -1);
          if (isServer && !pending.has(id)) {
            pending.add(id);
            continue;
          }
          told.add(id);
          if (!isRelayed(client, reaction.bytes, base))
            onSeen({ client, reaction, holdsAnother: holdsAnother(client) });
        }
        await pause(paceAt(performance.now(), poke), undefined, { signal }).catch(() => {});
      }
      if (signal.aborted) return [];
      const unmoved = new Set(unmovedBy(poke, samples));
      return clients.flatMap(({ key, owner }) => {
        const isIts = (it: Client) => owner !== null && it.owner?.pid === owner.pid;
        const isOnly = clients.filter((it) => isIts(it) && isHeldIn(base, it.key, 0)).length === 1;
        return owner && unmoved.has(key) && isOnly ? owner : [];
      });
    },
    stop() {
      for (const follower of followers) follower.stop();
    },
  };
}

/** Maps a client's pid to the connections that it has accepted. A client that passes our 409 on to one of them is a relay. */
async function acceptedBy({ clients, networks }: Around) {
  const pids = new Set(clients.flatMap(({ owner }) => owner?.pid ?? []));
  const found = new Map<number, { readonly key: string; readonly localPort: number }[]>();
  for (const network of networks) {
    const all = pids.size === 0 ? null : await listSockets({ namespace: network.namespace });
    const sockets = (all ?? []).filter((it) => network.ports.has(it.localPort));
    if (sockets.length === 0) continue;
    const inodes = sockets.map(({ inode }) => inode);
    const owners = await ownersOfSockets(inodes, [...pids]);
    for (const socket of sockets)
      for (const pid of owners.get(socket.inode) ?? []) {
        const it = { key: keyOf(network, socket), localPort: socket.localPort };
        found.set(pid, [...(found.get(pid) ?? []), it]);
      }
  }
  return found;
}

function paceAt(nowMs: number, poke: Poke): number {
  for (const [from, to] of windowsOf(poke)) {
    const fromMs = poke.sentAtMs + from;
    if (nowMs < fromMs) return Math.min(SPARSE_MS, fromMs - nowMs);
    if (nowMs < poke.sentAtMs + to + MISSING_MS) return DENSE_MS;
  }
  return SPARSE_MS;
}

function ownerOf(pid: number, procs: Snapshot['procs']): Owner | null {
  const own = statOf(pid);
  if (!own) return null;
  const above = statOf(own.ppid);
  const proc = procs.get(pid);
  const isSeen = proc && proc.argv.length > 0;
  return {
    pid,
    startId: own.startId,
    parent: above && own.ppid > 1 ? { pid: own.ppid, startId: above.startId } : null,
    program: isSeen ? `${own.ppid} ${above?.startId} ${commandKey(proc)}` : null,
  };
}

/** Our own network namespace and, as root, all others: the connections of containers show only there. `pid`: somebody in it. */
function namespaces() {
  const found = new Map<string, { readonly namespace: string | undefined; readonly pid: number }>();
  found.set(readLink('/proc/self/ns/net') ?? 'net', { namespace: undefined, pid: process.pid });
  for (const pid of isRoot() ? listPids() : []) {
    const namespace = `/proc/${pid}/ns/net`;
    const name = readLink(namespace);
    if (name !== null && !found.has(name)) found.set(name, { namespace, pid });
  }
  return [...found].map(([name, network]) => ({ name, ...network }));
}

function keyOf({ name }: Network, { local, remote }: TcpSocket): string {
  return `${name} ${local} ${remote}`;
}
