// Finds the Unix sockets at which a process listens (Linux, /proc/net/unix) and throws rubbish at one.
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { until } from './wait.ts';

/** Paths of listening Unix sockets of the process; abstract ones begin with `@`. */
export function controlSockets(pid: number): string[] {
  const inodes = new Set<string>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      const found = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`));
      if (found?.[1]) inodes.add(found[1]);
    } catch {
      // Closed meanwhile.
    }
  }
  // Num RefCount Protocol Flags Type St Inode Path; flag 0x10000 = listening.
  return readFileSync('/proc/net/unix', 'latin1')
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((field) => inodes.has(field[6] ?? '') && field[3] === '00010000' && field[7])
    .map((field) => field[7] as string);
}

const open = (path: string): Socket => {
  const socket = connect({ path: path.startsWith('@') ? `\0${path.slice(1)}` : path });
  socket.on('error', () => {});
  return socket;
};

/** Half-open connections, binary noise, an endless line, deep and false JSON; returns when all were sent or refused. */
export async function flood(path: string): Promise<void> {
  const idle = Array.from({ length: 200 }, () => open(path));
  const loads = [
    randomBytes(1 << 20),
    Buffer.from('a'.repeat(16 << 20)),
    Buffer.from(`${'['.repeat(200_000)}\n`),
    Buffer.from('{"command":{"toString":1}}\n{"__proto__":{"x":1}}\nnull\n[]\n""\n0\n'.repeat(2000)),
    Buffer.from('\n'.repeat(500_000)),
    Buffer.from('\xff\xfe\x00\n', 'latin1'),
    Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
  ];
  const busy = loads.map((bytes) => {
    const socket = open(path);
    let over = false;
    socket.on('close', () => {
      over = true;
    });
    socket.write(bytes, () => {
      over = true;
    });
    return () => over;
  });
  // A server may also stop reading: then 5 s are enough to have harmed it.
  await until('the garbage to be sent or refused', () => busy.every((over) => over()), { ms: 5000 }).catch(
    () => {},
  );
  for (const socket of idle) socket.destroy();
}
