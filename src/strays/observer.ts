/**
 * Watches what a getUpdates of ours does to the connections that others have to the API root, and says which process reacted.
 * Owns when sockets are listed, and whose they are; what counts as a reaction is decided in reactions.ts. Sends nothing to anybody.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { parseProcStat, readStat } from '../machine/procfs.ts';
import { socketInodes } from '../machine/tcp-table.ts';
import type { ApiAddresses } from './api-addresses.ts';
import {
  type Counters,
  endOfWindows,
  HELD_LEAST_MS,
  isHeld,
  type Poke,
  type Reaction,
  reactionsTo,
  type Sample,
  windowsOf,
} from './reactions.ts';
import { addressOf, followDestroyed, listeningPorts, listSockets, type TcpSocket } from './sockets.ts';

/** A process for certain, and the one above it: what asks with one process a poll is known by that one. */
export interface Owner {
  readonly pid: number;
  readonly startId: string;
  readonly parent: { readonly pid: number; readonly startId: string } | null;
  /** The same for all lives of one program under one parent; null where its command line could not be seen. */
  readonly program: string | null;
}

/** Somebody else's connection to the API root. */
export interface Client {
  /** Names the connection in every listing: namespace and both ends. */
  readonly key: string;
  readonly uid: number;
  readonly cgroup: string | null;
  /** Whose it is; null where its process can't be seen from here. */
  readonly owner: Owner | null;
  /** A request of it is being held now. */
  readonly isHeld: boolean;
}

export interface Seen {
  readonly client: Client;
  readonly reaction: Reaction;
  /** The same process holds another request at the API root: it may poll a second bot. */
  readonly holdsAnother: boolean;
}

/** One observation: from what is connected now to the end of the time in which a poll of ours has an effect. */
export interface Observation {
  /** Who is connected, without ourselves. */
  readonly clients: readonly Client[];
  /** A getUpdates has just been sent. `onSeen` is called at each reaction; resolves when nobody more can react, or `signal` ends it. */
  poked(poke: Poke, onSeen: (seen: Seen) => void, signal: AbortSignal): Promise<void>;
  stop(): void;
}

export interface ObserverOptions {
  readonly addresses: ApiAddresses;
  /** Whose connections are ours: this process, the worker's tree. */
  readonly isOurs: (pid: number) => boolean;
  /** Which processes have these sockets open. */
  readonly ownersOf: (inodes: readonly number[]) => Promise<ReadonlyMap<number, readonly number[]>>;
  /** What processes run, to compare; null where that can't be seen. */
  readonly commands: () => Promise<(pid: number) => string | null>;
}

const DENSE_MS = 8;
const SPARSE_MS = 200;
/** A connection that is missing in a listing may be told of as destroyed within this time. */
const MISSING_MS = 120;
/** A fork of ours follows what is destroyed only after it has started. */
const FOLLOW_READY_MS = 30;
const YOUNG_MS = 50;
const NAMESPACES_MAX = 32;
/** What a relay passes on is longer or shorter by this at most: another header, another record. */
const RELAYED_SHARE = 0.25;
const RELAYED_BYTES = 64;

interface Place {
  readonly name: string;
  /** Undefined: our own network namespace. */
  readonly path: string | undefined;
}

type Places = ReadonlyMap<string, { readonly place: Place; readonly ports: ReadonlySet<number> }>;

/** Who is connected now, without ourselves. Null: ss does not work here. */
export async function listClients(options: ObserverOptions): Promise<readonly Client[] | null> {
  return (await lookAround(options))?.clients ?? null;
}

async function lookAround(options: ObserverOptions): Promise<{ clients: Client[]; places: Places } | null> {
  const { addresses, isOurs, ownersOf } = options;
  const { port: remotePort } = addresses;
  // Left out at once: where nobody else is connected, one listing is enough to know it.
  const own = new Set((socketInodes(process.pid) ?? []).map(Number));
  const listed: { place: Place; socket: TcpSocket; ports: ReadonlySet<number> }[] = [];
  const all = await Promise.all(
    namespaces().map(async (place) => ({
      place,
      sockets: await listSockets({ remotePort, ...where(place) }),
    })),
  );
  for (const { place, sockets } of all) {
    if (sockets === null && place.path === undefined) return null;
    const clients = (sockets ?? []).filter(
      (it) => it.inode !== 0 && !own.has(it.inode) && addresses.has(addressOf(it.remote)),
    );
    if (clients.length === 0) continue;
    const ports = (await listeningPorts(place.path)) ?? new Set<number>();
    // The server's own end of a connection has the API root's port on this side, and it listens there.
    for (const socket of clients) if (!ports.has(socket.localPort)) listed.push({ place, socket, ports });
  }
  const inodes = listed.map(({ socket }) => socket.inode);
  const owners = inodes.length === 0 ? new Map<number, readonly number[]>() : await ownersOf(inodes);
  const commandOf = owners.size > 0 ? await options.commands() : () => null;
  const clients: Client[] = [];
  const places = new Map<string, { place: Place; ports: ReadonlySet<number> }>();
  for (const { place, socket, ports } of listed) {
    const pids = owners.get(socket.inode) ?? [];
    if (pids.some(isOurs)) continue;
    places.set(place.name, { place, ports });
    const { uid, cgroup } = socket;
    // Children have it from whoever opened it, and are stopped with it.
    const owner = pids.length === 0 ? null : ownerOf(Math.min(...pids), commandOf);
    clients.push({ key: keyOf(place, socket), uid, cgroup, owner, isHeld: isHeld(socket, HELD_LEAST_MS) });
  }
  return { clients, places };
}

/** Looks who is connected, and gets ready to see who reacts. Null: ss does not work here, nobody can be judged. */
export async function observe(options: ObserverOptions): Promise<Observation | null> {
  const around = await lookAround(options);
  if (!around) return null;
  const { clients, places } = around;
  const { port: remotePort } = options.addresses;
  const accepted = await acceptedByClients();
  const gone = new Map<string, { readonly atMs: number; readonly counters: Counters }>();
  const followers = [...places.values()].map(({ place }) =>
    followDestroyed({ remotePort, ...where(place) }, (socket) =>
      gone.set(keyOf(place, socket), { atMs: performance.now(), counters: { ...socket, isGone: true } }),
    ),
  );
  const readyAtMs = performance.now() + FOLLOW_READY_MS;

  function ownersIn(inodes: readonly number[]): Promise<ReadonlyMap<number, readonly number[]>> {
    return inodes.length === 0 ? Promise.resolve(new Map()) : options.ownersOf(inodes);
  }

  /** Connections that came to a client's own listening port: who passes our 409 on to one of them is a relay. */
  async function acceptedByClients(): Promise<Map<number, { key: string; localPort: number }[]>> {
    const pids = new Set(clients.flatMap(({ owner }) => owner?.pid ?? []));
    const found = new Map<number, { key: string; localPort: number }[]>();
    for (const { place, ports } of places.values()) {
      if (pids.size === 0 || ports.size === 0) continue;
      const sockets = ((await listSockets(where(place))) ?? []).filter((it) => ports.has(it.localPort));
      const byInode = await ownersIn(sockets.map(({ inode }) => inode));
      for (const socket of sockets) {
        for (const pid of byInode.get(socket.inode) ?? []) {
          if (!pids.has(pid)) continue;
          const list = found.get(pid) ?? [];
          list.push({ key: keyOf(place, socket), localPort: socket.localPort });
          found.set(pid, list);
        }
      }
    }
    return found;
  }

  async function list(previous: Sample | undefined): Promise<Sample> {
    const localPorts = [...new Set([...accepted.values()].flat().map((it) => it.localPort))];
    const sockets = new Map<string, Counters>();
    const startedMs = performance.now();
    const all = await Promise.all(
      [...places.values()].map(async ({ place }) => ({
        place,
        rows: (await listSockets({ remotePort, localPorts, ...where(place) })) ?? [],
      })),
    );
    const atMs = performance.now();
    for (const { place, rows } of all) for (const row of rows) sockets.set(keyOf(place, row), row);
    for (const { key } of clients) {
      const last = previous?.sockets.get(key);
      if (sockets.has(key) || !last) continue;
      const told = gone.get(key);
      if (told)
        sockets.set(key, {
          ...told.counters,
          lastReceiveMs: told.counters.lastReceiveMs + Math.max(0, atMs - told.atMs),
        });
      else if (last.isGone || atMs - (missingSince.get(key) ?? atMs) < MISSING_MS) {
        if (!missingSince.has(key)) missingSince.set(key, startedMs);
        sockets.set(key, last);
      }
    }
    return { atMs, sockets };
  }

  const missingSince = new Map<string, number>();
  const samples: Sample[] = [];
  const wait = readyAtMs - performance.now();
  if (clients.length > 0 && wait > 0) await pause(wait);
  if (clients.length > 0) samples.push(await list(undefined));
  // A request that has just gone out is known to be held only after a while.
  for (
    let waited = 0;
    waited < HELD_LEAST_MS && clients.some(({ key }) => isYoung(samples.at(-1), key));
    waited += YOUNG_MS
  ) {
    await pause(YOUNG_MS);
    samples.splice(0, samples.length, await list(samples.at(-1)));
  }

  /** The same process received our 409 and passed about as much on: the poller is behind it. */
  function isRelayed(client: Client, bytes: number | null, base: Sample): boolean {
    const last = samples.at(-1);
    return (accepted.get(client.owner?.pid ?? -1) ?? []).some(({ key }) => {
      const before = base.sockets.get(key);
      const now = last?.sockets.get(key);
      if (!before) return false;
      // Closed beside it: what it passed on is not known.
      if (!now || bytes === null) return true;
      const passedOn = now.bytesSent - before.bytesSent;
      return passedOn > 0 && Math.abs(passedOn - bytes) <= RELAYED_BYTES + bytes * RELAYED_SHARE;
    });
  }

  return {
    clients: clients.map((client) => ({ ...client, isHeld: isHeldIn(samples.at(-1), client.key) })),
    async poked(poke, onSeen, signal) {
      if (clients.length === 0) return;
      const told = new Set<string>();
      /** Seen in one listing: what a relay passes on shows in the next one for certain. */
      const pending = new Set<string>();
      const endMs = endOfWindows(poke) + MISSING_MS;
      while (!signal.aborted && performance.now() < endMs) {
        samples.push(await list(samples.at(-1)));
        const base = samples.filter((it) => it.atMs <= poke.sentAtMs).at(-1);
        for (const reaction of reactionsTo(poke, samples)) {
          const client = clients.find(({ key }) => key === reaction.socket);
          const id = `${reaction.socket} ${reaction.bytes}`;
          if (!client || !base || told.has(id)) continue;
          if (accepted.has(client.owner?.pid ?? -1) && !pending.has(id)) {
            pending.add(id);
            continue;
          }
          told.add(id);
          if (!isRelayed(client, reaction.bytes, base))
            onSeen({ client, reaction, holdsAnother: holdsAnother(client) });
        }
        // Whoever held no request then can't react.
        if (!clients.some(({ key }) => isHeldIn(base, key))) return;
        await pause(paceAt(performance.now(), poke), undefined, { signal }).catch(() => {});
      }
    },
    stop() {
      for (const stop of followers) stop();
    },
  };

  function holdsAnother(client: Client): boolean {
    return clients.some(({ key, owner }) => {
      const isSame = owner !== null && owner.pid === client.owner?.pid;
      return key !== client.key && isSame && samples.some((sample) => isHeldIn(sample, key));
    });
  }

  function isYoung(sample: Sample | undefined, key: string): boolean {
    const counters = sample?.sockets.get(key);
    return counters !== undefined && isHeld(counters, 0) && !isHeld(counters, HELD_LEAST_MS);
  }

  function isHeldIn(sample: Sample | undefined, key: string): boolean {
    const counters = sample?.sockets.get(key);
    return counters !== undefined && isHeld(counters, HELD_LEAST_MS);
  }
}

function paceAt(nowMs: number, poke: Poke): number {
  for (const [from, to] of windowsOf(poke)) {
    const fromMs = poke.sentAtMs + from;
    const toMs = poke.sentAtMs + to + MISSING_MS;
    if (nowMs < fromMs) return Math.min(SPARSE_MS, fromMs - nowMs);
    if (nowMs < toMs) return DENSE_MS;
  }
  return SPARSE_MS;
}

function ownerOf(pid: number, commandOf: (pid: number) => string | null): Owner | null {
  const own = parseProcStat(readStat(pid) ?? '');
  if (!own) return null;
  const command = commandOf(pid);
  const above = parseProcStat(readStat(own.ppid) ?? '');
  return {
    pid,
    startId: own.startId,
    parent: above && own.ppid > 1 ? { pid: own.ppid, startId: above.startId } : null,
    program: command === null ? null : `${own.ppid} ${above?.startId} ${command}`,
  };
}

/** Ours, and as root all others in which somebody lives: a container's connections show only there. */
function namespaces(): Place[] {
  const own = linkOf('self') ?? 'net';
  const places = new Map<string, Place>([[own, { name: own, path: undefined }]]);
  if (process.geteuid?.() !== 0) return [...places.values()];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d/.test(entry)) continue;
    const name = linkOf(entry);
    if (name === null || places.has(name)) continue;
    places.set(name, { name, path: `/proc/${entry}/ns/net` });
    if (places.size >= NAMESPACES_MAX) break;
  }
  return [...places.values()];
}

function linkOf(pid: string): string | null {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return null;
  }
}

function where({ path }: Place): { namespace?: string } {
  return path === undefined ? {} : { namespace: path };
}

function keyOf({ name }: Place, { local, remote }: TcpSocket): string {
  return `${name} ${local} ${remote}`;
}
