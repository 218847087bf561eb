/**
 * What the kernel says of the process behind a socket, never what that process writes. Descriptors and arguments are read by
 * strays/inspector.ts, since another process can make those reads block for ever.
 */
import { readFileSync } from 'node:fs';
import { ownerOf, pidNamespace, readLink, readText, statOf } from '../machine/procfs.ts';
import { isSinglepoll } from '../strays/bystander.ts';
import { createInspector } from '../strays/inspector.ts';
import { readProgram } from '../strays/program.ts';

export interface SocketProcess {
  readonly pid: number;
  readonly uid: number;
  /** Field 22 of its /proc/PID/stat. Together with the pid it identifies one process for ever. */
  readonly startId: string;
  readonly innerPid: number;
  readonly pidNamespace: string | null;
  readonly elsewhere: boolean;
  readonly comm: string;
}

const READ_MS = 1_500;

/** The processes that have each socket open. Sockets without a process that this user may see are left out. */
export async function processesOf(
  inodes: readonly number[],
  hintPids: readonly number[] = [],
): Promise<Map<number, SocketProcess[]>> {
  if (inodes.length === 0) return new Map();
  const inspector = openInspector();
  const owners = await inspector.ownersOfSockets(inodes, hintPids);
  inspector.close();
  const found = new Map<number, SocketProcess[]>();
  for (const [inode, pids] of owners) {
    const processes = pids.map(processOf).filter((it) => it !== null);
    if (processes.length > 0) found.set(inode, processes);
  }
  return found;
}

/** Null: the process has gone. All but the namespace can be read of other users' processes, too. */
export function processOf(pid: number): SocketProcess | null {
  const stat = statOf(pid);
  if (!stat) return null;
  const namespace = readLink(`/proc/${pid}/ns/pid`);
  const inner = /^NSpid:.*?(\d+)$/m.exec(readText(`/proc/${pid}/status`) ?? '')?.[1];
  return {
    pid,
    uid: ownerOf(`/proc/${pid}`),
    startId: stat.startId,
    innerPid: Number(inner ?? pid),
    pidNamespace: namespace,
    elsewhere: namespace !== null && namespace !== pidNamespace(),
    comm: stat.comm,
  };
}

export async function runsSinglepoll(pid: number): Promise<boolean | null> {
  const inspector = openInspector();
  const it = (await inspector.inspect([pid], READ_MS)).seen.get(pid);
  inspector.close();
  return it ? isSinglepoll(readProgram(it.argv)) : null;
}

function openInspector() {
  return createInspector({ token: null, botId: '', patterns: [], scope: 'any', projectDir: '/' });
}

export interface BoundSocket {
  readonly inode: number;
  /** False: bind(2) was called, listen(2) was not. */
  readonly listening: boolean;
  /** The kernel shows every zero byte as @, so that two abstract names may look alike. */
  readonly path: string;
}

// Num: RefCount Protocol Flags Type St Inode Path.
const ROW = /^[0-9a-f]+: \S+ \S+ ([0-9A-F]+) 0001 (\S+) +(\d+) (.+)$/;
/** __SO_ACCEPTCON: listen(2) was called. */
const ACCEPTS = 0x10000;
const UNCONNECTED = '01';

/** Sockets whose path `wanted` accepts. Accepted connections, which carry the path of their listener, are left out. */
export function boundSockets(wanted: (path: string) => boolean): BoundSocket[] {
  const found: BoundSocket[] = [];
  // A name may hold any bytes; latin1 makes one character of each.
  for (const line of readFileSync('/proc/net/unix', 'latin1').split('\n')) {
    const [, flags, state, inode, path] = ROW.exec(line) ?? [];
    if (path === undefined || state !== UNCONNECTED || !wanted(path)) continue;
    const listening = (Number.parseInt(flags!, 16) & ACCEPTS) !== 0;
    found.push({ inode: Number(inode), listening, path });
  }
  return found;
}
