/**
 * Sees from outside whether a process polls, also through TLS: it has sent a request to the API root and waits for the answer.
 * A connection alone proves nothing: whoever sends messages or asks getMe has one as well, but gets its answer at once.
 */
import { findApiAddresses } from '../strays/api-addresses.ts';
import { addressOf, listSockets, type TcpSocket } from '../strays/sockets.ts';
import { socketInodes, tcpRows } from './tcp-table.ts';

/** Answers to anything but a long poll come sooner. */
export const HELD_MS = 3_000;

/** True where one of `pids` waits for an answer of the API root; null where the system does not tell (no ss). */
export async function holdsRequest(apiRoot: string, pids: readonly number[]): Promise<boolean | null> {
  const addresses = await findApiAddresses({ apiRoot, env: process.env, file: null });
  const sockets = await listSockets({ remotePort: addresses.port });
  if (sockets === null) return null;
  const own = new Set(pids.flatMap((pid) => socketInodes(pid) ?? []));
  return sockets.some(
    (it) =>
      own.has(String(it.inode)) &&
      it.remotePort === addresses.port &&
      addresses.has(addressOf(it.remote)) &&
      isHeld(it),
  );
}

/** True where one of `pids` has a connection to the API root: the weaker sign, for where `ss` is missing. */
export async function isConnected(apiRoot: string, pids: readonly number[]): Promise<boolean> {
  const addresses = await findApiAddresses({ apiRoot, env: process.env, file: null });
  const own = new Set(pids.flatMap((pid) => socketInodes(pid) ?? []));
  return [...tcpRows()].some(
    ({ remote, remotePort, inode }) =>
      own.has(inode) && remotePort === addresses.port && addresses.has(remote),
  );
}

/** The last thing that happened was a request, HELD_MS ago or more. Pure. */
export function isHeld(socket: TcpSocket): boolean {
  if (socket.bytesSent === 0 || socket.lastSendMs < HELD_MS) return false;
  if (socket.bytesReceived === 0) return true;
  // On one machine an answer may come within the same tick of the kernel's clock as its request (4 ms, 10 ms at most).
  const remote = addressOf(socket.remote);
  const isLocal = remote === addressOf(socket.local) || remote.startsWith('127.');
  return isLocal ? socket.lastSendMs < socket.lastReceiveMs : socket.lastSendMs <= socket.lastReceiveMs;
}
