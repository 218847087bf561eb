/**
 * Which processes have a TCP connection to the API root. Linux: socket links in /proc/PID/fd, joined with the table
 * of the process's own network namespace (/proc/PID/net/tcp and tcp6; format in the kernel's
 * Documentation/networking/proc_net_tcp.rst). Only candidates are looked at, as the tables may be long.
 * The remote end must be the API root: the server's own side of a connection has it as the local end.
 */
import { lookup } from 'node:dns/promises';
import { readdirSync } from 'node:fs';
import { isIP } from 'node:net';
import { endianness } from 'node:os';
import { type BlockReader, createBlockReader, readLink } from './procfs.ts';

export interface ApiRoot {
  readonly host: string;
  readonly port: number;
}

/** Host and port of an API root URL. */
export function apiRootOf(url: string): ApiRoot {
  const parsed = new URL(url);
  const port = parsed.port === '' ? (parsed.protocol === 'http:' ? 80 : 443) : Number(parsed.port);
  return { host: parsed.hostname.replace(/^\[|\]$/g, ''), port };
}

export interface ConnectionFinder {
  /** Resolves the API root's host again when that is due. Never throws: without an answer the old addresses stay. */
  refresh(): Promise<void>;
  /**
   * Those of `pids` that have a connection to the API root now. Sockets that `known` processes have open (our own, the
   * worker's) do not count; naming them also saves looking through everybody else's where nobody else has any.
   */
  connected(pids: readonly number[], known?: Iterable<number>): Set<number>;
}

/** A busy server's table: 400,000 connections. */
const TABLE_BYTES_MAX = 64 * 1024 * 1024;
const FEW = 64;
const RESOLVE_EVERY_MS = 60_000;
const RESOLVE_WAIT_MS = 2_000;
/** ESTABLISHED, SYN_SENT, CLOSE_WAIT: connected, about to be, and closed by the other side only. */
const STATES = new Set(['01', '02', '08']);

export function createConnectionFinder(
  root: ApiRoot,
  resolve: typeof resolveAll = resolveAll,
): ConnectionFinder {
  const remotes = new Set<string>();
  const blocks = createBlockReader();
  let resolvedAtMs = Number.NEGATIVE_INFINITY;
  const add = (address: string) => {
    for (const hex of hexAddresses(address)) remotes.add(`${hex}:${hexPort(root.port)}`);
  };
  if (isIP(root.host)) {
    add(root.host);
    resolvedAtMs = Number.POSITIVE_INFINITY;
  } else if (root.host === 'localhost' || root.host.endsWith('.localhost')) {
    add('127.0.0.1');
    resolvedAtMs = Number.POSITIVE_INFINITY;
  }

  /** Socket inodes of one namespace whose remote end is the API root. */
  function inodesOf(pid: number): Set<string> {
    const inodes = new Set<string>();
    for (const row of tcpRows(blocks, pid, TABLE_BYTES_MAX))
      if (remotes.has(row.remote) && STATES.has(row.state)) inodes.add(row.inode);
    inodes.delete('0');
    return inodes;
  }

  return {
    async refresh() {
      if (performance.now() - resolvedAtMs < RESOLVE_EVERY_MS) return;
      resolvedAtMs = performance.now();
      // Addresses stay once known: a process keeps the connection that it opened to an older one.
      for (const address of await resolve(root.host)) add(address);
    },
    connected(pids, known = []) {
      const found = new Set<number>();
      if (remotes.size === 0) return found;
      const tables = new Map<string, Set<string>>();
      const tableOf = (pid: number): Set<string> => {
        const namespace = readLink(`/proc/${pid}/ns/net`) ?? `pid ${pid}`;
        let inodes = tables.get(namespace);
        if (!inodes) {
          inodes = inodesOf(pid);
          if (inodes.size > 0)
            for (const one of known) for (const inode of socketInodes(one) ?? []) inodes.delete(inode);
          tables.set(namespace, inodes);
        }
        return inodes;
      };
      // Who has no socket at all saves reading a table, which costs milliseconds on a large machine; for a crowd of
      // candidates one table is cheaper than the descriptors of them all.
      const few = pids.length <= FEW;
      for (const pid of pids) {
        let sockets = few ? (socketInodes(pid) ?? []) : null;
        if (sockets?.length === 0) continue;
        const inodes = tableOf(pid);
        if (inodes.size === 0) continue;
        sockets ??= socketInodes(pid) ?? [];
        if (sockets.some((inode) => inodes.has(inode))) found.add(pid);
      }
      return found;
    },
  };
}

/** One row of a table of TCP sockets; addresses as `hexAddresses(…):hexPort(…)`. */
export interface TcpRow {
  readonly local: string;
  readonly remote: string;
  /** Two hex digits, as in the kernel's tcp_states.h. */
  readonly state: string;
  /** `0`: no process has it. */
  readonly inode: string;
}

/** The sockets of the network namespace of a process (or `self`), tcp before tcp6. */
export function* tcpRows(blocks: BlockReader, pid: number | 'self', mostBytes: number): Generator<TcpRow> {
  for (const table of ['tcp', 'tcp6']) {
    const block = blocks.read(`/proc/${pid}/net/${table}`, { mostBytes });
    if (typeof block === 'string') continue;
    for (const line of block.toString('latin1', 1).split('\n')) {
      // "  12: 0100007F:1F90 0200007F:D431 01 …": slot, local, remote, state … the tenth field is the inode.
      const fields = line.trim().split(/\s+/);
      if (fields.length < 10) continue;
      yield { local: fields[1]!, remote: fields[2]!, state: fields[3]!, inode: fields[9]! };
    }
  }
}

/** A port as it stands in those tables. */
export function hexPort(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, '0');
}

/** Inodes of the sockets that a process has open; none where it has left, null where they may not be seen. */
export function socketInodes(pid: number): string[] | null {
  let names: string[];
  try {
    names = readdirSync(`/proc/${pid}/fd`);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EACCES' ? null : [];
  }
  const inodes: string[] = [];
  for (const name of names) {
    const target = readLink(`/proc/${pid}/fd/${name}`);
    if (target?.startsWith('socket:[')) inodes.push(target.slice(8, -1));
  }
  return inodes;
}

async function resolveAll(host: string): Promise<string[]> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never[]>((done) => {
    timer = setTimeout(done, RESOLVE_WAIT_MS, []);
  });
  try {
    const answer = lookup(host, { all: true }).then((all) => all.map((one) => one.address));
    return await Promise.race([answer, late]);
  } catch {
    return [];
  } finally {
    clearTimeout(timer);
  }
}

const LITTLE = endianness() === 'LE';

/** How an address may stand in tcp and tcp6: 32-bit words in the machine's byte order, upper-case hex. */
export function hexAddresses(address: string, little = LITTLE): string[] {
  const bare = address.split('%')[0]!;
  if (isIP(bare) === 4) {
    const loopback = bare.startsWith('127.') || bare === '0.0.0.0';
    const all = loopback ? [bare === '0.0.0.0' ? '127.0.0.1' : bare] : [bare];
    return [
      ...all.flatMap((one) => {
        const word = toHex(one.split('.').map(Number), little);
        return [word, `0000000000000000${toHex([0, 0, 0xff, 0xff], little)}${word}`];
      }),
      ...(loopback ? [toHex(bytes6('::1'), little)] : []),
    ];
  }
  const bytes = bytes6(bare);
  const own = toHex(bytes, little);
  if (bare === '::1' || bare === '::')
    return [toHex(bytes6('::1'), little), ...hexAddresses('127.0.0.1', little).slice(0, 2)];
  const mapped = bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
  return mapped ? hexAddresses(bytes.slice(12).join('.'), little) : [own];
}

function toHex(bytes: readonly number[], little: boolean): string {
  let hex = '';
  for (let i = 0; i < bytes.length; i += 4) {
    const word = bytes.slice(i, i + 4);
    if (little) word.reverse();
    hex += word.map((byte) => byte.toString(16).toUpperCase().padStart(2, '0')).join('');
  }
  return hex;
}

function bytes6(address: string): number[] {
  // The URL parser writes every IPv6 address in its canonical short form, without dotted parts.
  const canonical = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const [head = '', tail] = canonical.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const gap = tail === undefined ? 0 : 8 - left.length - right.length;
  const groups = [...left, ...Array<string>(gap).fill('0'), ...right].map((group) =>
    Number.parseInt(group, 16),
  );
  return groups.flatMap((group) => [group >> 8, group & 0xff]);
}
