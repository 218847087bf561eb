/**
 * The TCP sockets of this network namespace as the kernel lists them in /proc/net/tcp and tcp6, with the inode that connects
 * them with a process's descriptors (format: the kernel's Documentation/networking/proc_net_tcp.rst). Used if there is no time
 * for `ss` or no `ss`; only `ss` tells byte counters (strays/sockets.ts).
 */
import { readdirSync } from 'node:fs';
import { endianness } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { shortAddress } from '../strays/sockets.ts';
import { hasProcfs, listPids, readLink, readText } from './procfs.ts';

export interface TcpRow {
  readonly localPort: number;
  readonly remote: string;
  readonly remotePort: number;
  /** Two hex digits: 01 established, 0A listening. */
  readonly state: string;
  /** 0: no process has it any more. */
  readonly inode: number;
}

const LITTLE = endianness() === 'LE';

/** `port`: the rows with it alone, as taking a busy server's table apart takes long. */
export function* tcpRows(port?: number): Generator<TcpRow> {
  const sought = port === undefined ? ':' : `:${port.toString(16).toUpperCase().padStart(4, '0')} `;
  for (const table of ['tcp', 'tcp6']) {
    for (const line of readText(`/proc/self/net/${table}`)?.split('\n') ?? []) {
      if (!line.includes(sought)) continue;
      // "  12: 0100007F:1F90 0200007F:D431 01 …": slot, local, remote, state … the tenth field is the inode.
      const [, local, remote, state, , , , , , inode] = line.trim().split(/\s+/);
      if (inode === undefined || !remote!.includes(':')) continue;
      const [address, port] = remote!.split(':') as [string, string];
      yield {
        localPort: portOf(local!.slice(-4)),
        remote: addressOfHex(address),
        remotePort: portOf(port),
        state: state!,
        inode: Number(inode),
      };
    }
  }
}

const portOf = (hex: string) => Number.parseInt(hex, 16);

/** Converts 32-bit words in the machine's byte order; IPv4-mapped addresses become IPv4. */
export function addressOfHex(hex: string, little = LITTLE): string {
  const bytes = [...hex.matchAll(/../g)].map(([byte]) => portOf(byte));
  if (little)
    for (let i = 0; i < bytes.length; i += 4) bytes.splice(i, 4, ...bytes.slice(i, i + 4).reverse());
  if (bytes.length === 4) return bytes.join('.');
  if (bytes.slice(0, 10).every((it) => it === 0) && bytes[10] === 0xff && bytes[11] === 0xff)
    return bytes.slice(12).join('.');
  const groups = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i]! << 8) | bytes[2 * i + 1]!).toString(16));
  return shortAddress(groups.join(':')) ?? hex;
}

/** Inodes of the sockets that a process has open; none if it has ended; null: we may not see them. */
export function socketInodes(pid: number): number[] | null {
  let names: string[];
  try {
    names = readdirSync(`/proc/${pid}/fd`);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EACCES' ? null : [];
  }
  const inodes: number[] = [];
  for (const name of names) {
    const target = readLink(`/proc/${pid}/fd/${name}`);
    if (target?.startsWith('socket:[')) inodes.push(Number(target.slice(8, -1)));
  }
  return inodes;
}

/** How long other events may have to wait for their turn. */
const TURN_MS = 10;

/**
 * Maps each inode to the pids that have this socket open (several processes may share one). Looks at `hints` first, and at the
 * other processes only if a socket is still missing. Descriptors, unlike arguments, never block their reader.
 */
export async function ownersOfSockets(inodes: readonly number[], hints: readonly number[] = []) {
  const owners = new Map<number, number[]>();
  const wanted = new Set(inodes);
  let turnMs = performance.now();
  const look = async (pids: readonly number[]) => {
    for (const pid of pids) {
      for (const inode of new Set(socketInodes(pid)))
        if (wanted.has(inode)) owners.set(inode, [...(owners.get(inode) ?? []), pid]);
      if (performance.now() - turnMs < TURN_MS) continue;
      await nextTurn();
      turnMs = performance.now();
    }
  };
  await look(hints);
  if (inodes.some((inode) => !owners.has(inode)))
    await look(listPids().filter((pid) => !hints.includes(pid)));
  return owners;
}

/** Pid of the process that listens at this port; null: there is none, or the system does not tell. */
export function portHolder(port: number): number | null {
  if (!hasProcfs()) return null;
  const rows = [...tcpRows(port)].filter((row) => row.state === '0A' && row.localPort === port);
  const listens = (pid: number) =>
    socketInodes(pid)?.some((inode) => rows.some((row) => row.inode === inode));
  return (rows.length > 0 && listPids().find(listens)) || null;
}
