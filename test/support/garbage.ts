// Throws rubbish at a Unix socket.
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { within } from './wait.ts';

const open = (path: string): Socket => connect({ path }).on('error', () => {});

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
  const sent = loads.map(
    (bytes) =>
      new Promise<void>((resolve) => {
        const socket = open(path).on('close', () => resolve());
        socket.write(bytes, () => resolve());
      }),
  );
  // A server may also stop reading: then 5 s are enough to have harmed it.
  await within('the garbage to be sent or refused', Promise.all(sent), 5_000).catch(() => {});
  for (const socket of idle) socket.destroy();
}
