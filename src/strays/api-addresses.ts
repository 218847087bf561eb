/**
 * The addresses and the port behind which the API root, or the proxy in front of it, is reached, and whether a process waits for an
 * answer from there. A poller keeps the connection that it opened to an older address of the same name, so those of the last
 * day are remembered in the state folder.
 */
import { lookup } from 'node:dns/promises';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { socketInodes, tcpRows } from '../machine/tcp-table.ts';
import { proxyOf } from '../telegram/http-client.ts';
import { isHeld } from './reactions.ts';
import { addressOf, listSockets, shortAddress, type TcpSocket } from './sockets.ts';

export interface ApiAddresses {
  readonly port: number;
  /** They are those of a proxy, behind which other hosts are, too. */
  readonly isProxy: boolean;
  /** True for an address, in short form, of the API root. */
  has(address: string): boolean;
}

interface AddressOptions {
  readonly apiRoot: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Where older addresses are kept; null: nowhere. */
  readonly file: string | null;
}

const DAY_MS = 24 * 3600 * 1000;
const RESOLVE_WAIT_MS = 2_000;
const REMEMBERED_MAX = 64;

/** Never throws: without an answer of the resolver the remembered ones are all. */
export async function findApiAddresses({ apiRoot, env, file }: AddressOptions): Promise<ApiAddresses> {
  const root = new URL(apiRoot);
  const proxy = proxyOf(root, env);
  const target = proxy ? new URL(proxy) : root;
  const port = Number(target.port || (target.protocol === 'https:' ? 443 : 80));
  const host = target.hostname.replace(/^\[|\]$/g, '');
  const found = new Set<string>(await resolve(host));
  const remembered = file && shortAddress(host) === null ? remember(file, `${host}:${port}`, found) : found;
  const local = localAddresses();
  const isHere = [...found].some((address) => isLoopback(address) || local.has(address));
  return {
    port,
    isProxy: proxy !== null,
    // A server of this machine is reached under each of its addresses.
    has: (address) => remembered.has(address) || (isHere && (isLoopback(address) || local.has(address))),
  };
}

async function resolve(host: string): Promise<string[]> {
  if (host === 'localhost' || host.endsWith('.localhost')) return ['127.0.0.1', '::1'];
  const literal = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : shortAddress(host);
  if (literal !== null) return [literal];
  const end = new AbortController();
  const late = pause(RESOLVE_WAIT_MS, [], { signal: end.signal }).catch(() => []);
  const answer = lookup(host, { all: true }).catch(() => []);
  const found = await Promise.race([answer, late]);
  end.abort();
  return found.flatMap(({ address }) => shortAddress(address) ?? []);
}

/** Adds what was found to the file, drops what is older than a day; all that stands in it then. */
function remember(file: string, key: string, found: ReadonlySet<string>): Set<string> {
  const nowMs = Date.now();
  const seen: Record<string, number> = {};
  try {
    const known = JSON.parse(readFileSync(file, 'utf8'))?.[key] as Record<string, unknown> | undefined;
    for (const [address, atMs] of Object.entries(known ?? {}).slice(0, REMEMBERED_MAX))
      if (shortAddress(address) === address && typeof atMs === 'number' && nowMs - atMs < DAY_MS)
        seen[address] = atMs;
  } catch {
    // The first time, or not ours to read: the resolver's answer is all.
  }
  for (const address of found) seen[address] = nowMs;
  try {
    const part = `${file}.${process.pid}`;
    writeFileSync(part, JSON.stringify({ [key]: seen }), { mode: 0o600 });
    renameSync(part, file);
  } catch {
    // A full disk costs the memory of older addresses, nothing else.
  }
  return new Set(Object.keys(seen));
}

function localAddresses(): Set<string> {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return new Set(all.flatMap(({ address }) => shortAddress(address) ?? []));
}

function isLoopback(address: string): boolean {
  return address === '::1' || /^127\./.test(address);
}

/** Answers to anything but a long poll come sooner. */
const POLL_MS = 3_000;

/**
 * A process that waits for an answer of the API root, as a poller does. `quiet`: nothing has gone either way lately, as with a poll
 * behind whose request TLS said something, or with a connection that is kept. `calls`: neither. `connected`: without ss no more can be told.
 */
export interface PollSign {
  readonly kind: 'waits' | 'quiet' | 'calls' | 'connected';
  readonly pid: number;
}

export async function pollSign(
  { port, has, isProxy }: ApiAddresses,
  pids: readonly number[],
): Promise<PollSign | null> {
  const sockets = await listSockets({ remotePort: port });
  const owners = new Map(pids.flatMap((pid) => (socketInodes(pid) ?? []).map((inode) => [inode, pid])));
  const theirs = sockets?.filter((it) => owners.has(String(it.inode)) && has(addressOf(it.remote)));
  const waiting = theirs?.find(awaitsAnswer);
  const quiet = isProxy ? undefined : theirs?.find(isQuiet);
  const found = theirs
    ? (waiting ?? quiet ?? (isProxy ? undefined : theirs[0]))
    : [...tcpRows()].find((it) => owners.has(it.inode) && it.remotePort === port && has(it.remote));
  const pid = found && owners.get(String(found.inode));
  const kind = waiting ? 'waits' : quiet ? 'quiet' : theirs ? 'calls' : 'connected';
  return pid === undefined ? null : { kind, pid };
}

const isQuiet = ({ lastSendMs, lastReceiveMs }: TcpSocket) => Math.min(lastSendMs, lastReceiveMs) >= POLL_MS;

/** The last thing that happened was a request, three seconds ago or more. */
export function awaitsAnswer(socket: TcpSocket): boolean {
  // On one machine an answer may come within the same tick of the kernel's clock as its request (4 ms, 10 ms at most).
  const remote = addressOf(socket.remote);
  const isLocal = remote === addressOf(socket.local) || remote.startsWith('127.');
  const mayBeAnswered = isLocal && socket.bytesReceived > 0 && socket.lastSendMs === socket.lastReceiveMs;
  return isHeld(socket, POLL_MS) && !mayBeAnswered;
}
