/**
 * The TCP sockets of this machine. `ss` of iproute2 tells byte counters, the time since the last data in each direction, owner and
 * inode of each socket of a network namespace, with TLS and for ordinary users, too; what the numbers mean is decided elsewhere.
 * /proc/net/tcp and tcp6 tell less, but at once, and without `ss`. The inode connects a socket with a process's descriptors.
 * Sources: ss(8); linux/tcp.h `struct tcp_info` (bytes_sent, bytes_received; tcpi_last_data_sent and _recv in ms; fields that are
 * zero are not printed); the kernel's Documentation/networking/proc_net_tcp.rst.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFile } from 'node:fs';
import { type AddressInfo, isIPv4, type ListenOptions, type Server, type Socket } from 'node:net';
import { endianness } from 'node:os';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { toolEnvironment } from '../tools.ts';
import { listPids, readLink, readText, statOf, unhurried } from './procfs.ts';

export type TcpSocket = Readonly<ReturnType<typeof parseSockets>[number]>;

interface ListOptions {
  /** Lists only connections to this port of the other end, or from these ports of this end. */
  readonly remotePort?: number;
  readonly localPorts?: readonly number[];
  /** Path of another network namespace, `/proc/PID/ns/net`; only root may look there. */
  readonly namespace?: string | undefined;
}

const TIMEOUT_MS = 2_000;
/** Enough for 100,000 connections. */
const LISTING_BYTES_MAX = 64 * 1024 * 1024;

/** The connected sockets now; null: ss is missing, too old, or has no rights. */
export async function listSockets(options: ListOptions = {}): Promise<readonly TcpSocket[] | null> {
  const text = await runSs(['-tineHO', 'state', 'connected', ...filterOf(options)], options.namespace);
  return text === null ? null : parseSockets(text);
}

/** The ports with a listener; null as above. */
export async function listeningPorts(namespace?: string): Promise<ReadonlySet<number> | null> {
  const text = await runSs(['-tlnHO'], namespace);
  return text === null
    ? null
    : new Set([...text.matchAll(/^(?:\S+\s+){3}\S*:(\d+)/gm)].map(([, port]) => Number(port)));
}

/**
 * Reports each socket to `remotePort` that is destroyed, with its last counters: a client that closes at its answer is gone
 * before any listing shows the answer. ss buffers its output to a pipe, so stdbuf of coreutils makes it write each line;
 * without stdbuf nothing is reported.
 */
export function followDestroyed(
  { remotePort, namespace }: { readonly remotePort: number; readonly namespace?: string | undefined },
  onSocket: (socket: TcpSocket) => void,
): { isReady(): boolean; stop(): void } {
  const [file, ...args] = within(namespace, ['stdbuf', '-oL', 'ss', '-EtinHO', ...filterOf({ remotePort })]);
  const child = spawn(file!, args, {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: toolEnvironment(process.env),
  });
  child.on('error', () => {});
  child.unref();
  if (child.stdout) {
    createInterface({ input: child.stdout }).on('line', (line) => parseSockets(line).forEach(onSocket));
    (child.stdout as { unref?: () => void }).unref?.();
  }
  // Node would send the signal of a child that could not be started to pid 0, which is our whole process group.
  return {
    // Once it waits for events of the kernel, it misses no socket.
    isReady() {
      const stat = child.pid === undefined ? null : statOf(child.pid);
      return stat === null || (stat.comm === 'ss' && stat.state === 'S');
    },
    stop: () => void (child.pid !== undefined && child.kill('SIGKILL')),
  };
}

/** Parses a listing. Sockets in TIME-WAIT have no counters and are left out. */
export function parseSockets(text: string) {
  return text.split('\n').flatMap((line) => {
    const match = LINE.exec(line);
    if (!match || match[1] === 'TIME-WAIT') return [];
    const local = endOf(match[2]!);
    const remote = endOf(match[3]!);
    if (!local || !remote) return [];
    const fields = new Map(
      [...match[4]!.matchAll(/(?<=\s)(\w+):(\S+)/g)].map(([, name, value]) => [name, value]),
    );
    const number = (name: string) => Number(fields.get(name) ?? 0);
    return {
      /** `address:port` of both ends; addresses in short form, IPv4-mapped ones as IPv4. */
      local: local.text,
      localPort: local.port,
      remote: remote.text,
      remotePort: remote.port,
      /** The owner's user id; 0 also if the kernel does not tell (a destroyed socket). */
      uid: number('uid'),
      /** 0: no process has the socket any more. */
      inode: number('ino'),
      /** Path of the control group, which names the unit or container; null: unknown. */
      cgroup: fields.get('cgroup') ?? null,
      bytesSent: number('bytes_sent'),
      bytesReceived: number('bytes_received'),
      /** Milliseconds since data was last sent or received; the kernel counts in ticks of 1 to 10 ms. */
      lastSendMs: number('lastsnd'),
      lastReceiveMs: number('lastrcv'),
      /** The shortest round trip that the kernel has measured, in ms; 0: none. Unlike ours, it does not grow with this machine's load. */
      minRttMs: number('minrtt'),
    };
  });
}

/** State, two queues, this end, the other end, the rest. ss omits `Netid` as only TCP is listed. */
const LINE = /^\s*([A-Z][A-Z0-9-]+)\s+\d+\s+\d+\s+(\S+)\s+(\S+)(.*)$/;

function endOf(text: string): { text: string; port: number } | null {
  const at = text.lastIndexOf(':');
  const port = Number(text.slice(at + 1));
  const address = shortAddress(text.slice(0, at));
  return address === null || !Number.isInteger(port) ? null : { text: `${address}:${port}`, port };
}

/** The address of an `address:port`. */
export function addressOf(end: string): string {
  return end.slice(0, end.lastIndexOf(':'));
}

/** An address in comparable form: without brackets and interface, IPv4-mapped as IPv4, IPv6 shortened; null: it is none. */
export function shortAddress(text: string): string | null {
  const bare = text.replace(/^\[|\]$/g, '').replace(/%.*$/, '');
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare)?.[1];
  if (mapped !== undefined) return mapped;
  // Not isIP, whose expression for IPv6 takes V8 milliseconds to compile at each start.
  if (!bare.includes(':')) return isIPv4(bare) ? bare : null;
  return URL.canParse(`http://[${bare}]/`) ? new URL(`http://[${bare}]/`).hostname.slice(1, -1) : null;
}

function filterOf({ remotePort, localPorts = [] }: ListOptions): string[] {
  if (remotePort === undefined) return [];
  const terms = [`dport = :${remotePort}`, ...localPorts.map((port) => `sport = :${port}`)];
  return [`( ${terms.join(' or ')} )`];
}

function within(namespace: string | undefined, words: readonly string[]): readonly string[] {
  return namespace === undefined ? words : ['nsenter', `--net=${namespace}`, ...words];
}

async function runSs(args: readonly string[], namespace: string | undefined): Promise<string | null> {
  const [file, ...words] = within(namespace, ['ss', ...args]);
  try {
    const { stdout } = await promisify(execFile)(file!, words, {
      encoding: 'latin1',
      timeout: TIMEOUT_MS,
      killSignal: 'SIGKILL',
      maxBuffer: LISTING_BYTES_MAX,
      env: toolEnvironment(process.env),
    });
    return stdout;
  } catch {
    return null;
  }
}

const LITTLE = endianness() === 'LE';

/** `port`: the rows with it alone, as taking a busy server's table apart takes long. */
export function* tcpRows(port?: number) {
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
        /** Two hex digits: 01 established, 0A listening. */
        state: state!,
        /** 0: no process has it any more. */
        inode: Number(inode),
      };
    }
  }
}

/**
 * True if this process's network namespace has a connection to this port of the other end: a table is read sooner than ss is started.
 * Not read synchronously, as that of a busy server is long.
 */
export async function connectsTo(port: number, pid: number): Promise<boolean> {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const row = new RegExp(`^ *\\d+: \\S+ [0-9A-F]+:${hex} `, 'm');
  const tables = ['tcp', 'tcp6'].map((table) =>
    // Not of fs/promises: to load that takes 0.4 MB.
    promisify(readFile)(`/proc/${pid}/net/${table}`, 'latin1').catch(() => ''),
  );
  return (await Promise.all(tables)).some((text) => row.test(text));
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

/**
 * Maps each inode to those of these processes that have this socket open; several may share one. Descriptors, unlike arguments,
 * never block their reader.
 */
export async function ownersOfSockets(inodes: readonly number[], pids: readonly number[]) {
  const owners = new Map<number, number[]>();
  const wanted = new Set(inodes);
  for await (const pid of unhurried(pids))
    for (const inode of new Set(socketInodes(pid)))
      if (wanted.has(inode)) owners.set(inode, [...(owners.get(inode) ?? []), pid]);
  return owners;
}

/** Looks for the owners among all processes. That takes long, so those that are `likely` to be owners are looked at first. */
export async function findOwners(inodes: readonly number[], likely: readonly number[] = []) {
  const owners = await ownersOfSockets(inodes, likely);
  return inodes.every((inode) => owners.has(inode)) ? owners : await ownersOfSockets(inodes, listPids());
}

/**
 * Has a server of ours listen, at any free port if that is 0. Of more connections than `most` the oldest is ended, so that the next one is
 * heard. Rejects with the system's error.
 */
export async function listenAt(server: Server, where: ListenOptions, most = Number.POSITIVE_INFINITY) {
  /** In the order in which they came. */
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    const [oldest] = sockets;
    if (sockets.size > most && sockets.delete(oldest!)) oldest!.destroy();
  });
  server.listen({ ...where, exclusive: true });
  await once(server, 'listening');
  // After EMFILE and the like the next connection may succeed.
  server.on('error', () => {});
  return {
    port: (server.address() as AddressInfo).port,
    /** Ends all connections, too. */
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Finds the pid of the process that listens at this port. `unseen`: this user may not see it; null: nobody listens, or the system does not tell. */
export async function portHolder(port: number): Promise<number | 'unseen' | null> {
  const rows = [...tcpRows(port)].filter((row) => row.state === '0A' && row.localPort === port);
  const owners = await findOwners(rows.map(({ inode }) => inode));
  const [pid = 'unseen' as const] = [...owners.values()].flat();
  return rows.length === 0 ? null : pid;
}
