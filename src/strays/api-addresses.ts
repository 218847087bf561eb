/** The addresses and the port of the API root, or of the proxy in front of it, and whether a process waits for an answer from there. */
import { lookup } from 'node:dns/promises';
import { networkInterfaces } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import {
  addressOf,
  listSockets,
  shortAddress,
  socketInodes,
  type TcpSocket,
  tcpRows,
} from '../machine/sockets.ts';
import { placeOf, proxyOf } from '../telegram/http-client.ts';
import { isHeld } from './reactions.ts';

export interface ApiAddresses {
  readonly port: number;
  /** The addresses are those of a proxy, which leads to other hosts, too. */
  readonly isProxy: boolean;
  /** True if an address in short form is one of the API root. */
  has(address: string): boolean;
}

/** After this, and if the resolver fails, no address is known. */
const RESOLVE_WAIT_MS = 2_000;

export async function findApiAddresses(apiRoot: string): Promise<ApiAddresses> {
  const root = new URL(apiRoot);
  const proxy = proxyOf(root, process.env);
  const { host, port } = placeOf(proxy ? new URL(proxy) : root);
  const found = new Set<string>(await resolve(host));
  const local = localAddresses();
  const isHere = [...found].some((address) => isLoopback(address) || local.has(address));
  return {
    port,
    isProxy: proxy !== null,
    // A server on this machine can be reached at each of its addresses.
    has: (address) => found.has(address) || (isHere && (isLoopback(address) || local.has(address))),
  };
}

async function resolve(host: string): Promise<string[]> {
  if (host === 'localhost' || host.endsWith('.localhost')) return ['127.0.0.1', '::1'];
  const literal = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : shortAddress(host);
  if (literal !== null) return [literal];
  const answer = lookup(host, { all: true }).catch(() => []);
  const found = await Promise.race([answer, pause(RESOLVE_WAIT_MS, [], { ref: false })]);
  return found.flatMap(({ address }) => shortAddress(address) ?? []);
}

function localAddresses(): Set<string> {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return new Set(all.flatMap(({ address }) => shortAddress(address) ?? []));
}

const isLoopback = (address: string) => /^(?:::1$|127\.)/.test(address);

/** Only long polls wait longer than this for an answer. */
const POLL_MS = 3_000;

/**
 * A connection to the API root. `quiet`: no data lately, as with a kept connection, or with a poll after whose request TLS sent
 * something. `calls`: it neither waits nor is quiet. `connected`: without ss no more is known.
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
  const theirs = sockets?.filter((it) => owners.has(it.inode) && has(addressOf(it.remote)));
  const waiting = theirs?.find(awaitsAnswer);
  const quiet = isProxy ? undefined : theirs?.find(isQuiet);
  const found = theirs
    ? (waiting ?? quiet ?? (isProxy ? undefined : theirs[0]))
    : [...tcpRows()].find((it) => owners.has(it.inode) && it.remotePort === port && has(it.remote));
  const pid = found && owners.get(found.inode);
  const kind = waiting ? 'waits' : quiet ? 'quiet' : theirs ? 'calls' : 'connected';
  return pid === undefined ? null : { kind, pid };
}

const isQuiet = ({ lastSendMs, lastReceiveMs }: TcpSocket) => Math.min(lastSendMs, lastReceiveMs) >= POLL_MS;

/** The latest data was a request, three seconds ago or more. */
export function awaitsAnswer(socket: TcpSocket): boolean {
  // On one machine an answer may come within the same kernel tick (4 ms, 10 ms at most) as its request.
  const remote = addressOf(socket.remote);
  const isLocal = remote === addressOf(socket.local) || remote.startsWith('127.');
  const mayBeAnswered = isLocal && socket.bytesReceived > 0 && socket.lastSendMs === socket.lastReceiveMs;
  return isHeld(socket, POLL_MS) && !mayBeAnswered;
}
