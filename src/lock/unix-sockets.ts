/** Which stream sockets of the Unix family are bound in this network namespace, as the kernel lists them (proc(5), /proc/net/unix). */
import { readFileSync } from 'node:fs';

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

/** Those whose path `wanted` accepts. Connections that were accepted carry the path of their listener and are left out. */
export function boundSockets(wanted: (path: string) => boolean): BoundSocket[] {
  const found: BoundSocket[] = [];
  // latin1: a name is any bytes, and none of them may become two.
  for (const line of readFileSync('/proc/net/unix', 'latin1').split('\n')) {
    const [, flags, state, inode, path] = ROW.exec(line) ?? [];
    if (path === undefined || state !== UNCONNECTED || !wanted(path)) continue;
    const listening = (Number.parseInt(flags!, 16) & ACCEPTS) !== 0;
    found.push({ inode: Number(inode), listening, path });
  }
  return found;
}
