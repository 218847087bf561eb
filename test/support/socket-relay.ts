/** A way to a port of this machine for those who live in a network of their own: by a socket in the file system. */
import { connect, createServer } from 'node:net';

/** Whoever connects to the socket is led to the port. The other end, inside: test/fixtures/relay-to-socket.mjs. */
export function relayToPort(socket: string, port: number): { close(): void } {
  const server = createServer((from) => {
    const to = connect(port, '127.0.0.1');
    from.pipe(to).pipe(from);
    from.on('error', () => to.destroy()).on('close', () => to.destroy());
    to.on('error', () => from.destroy()).on('close', () => from.destroy());
  });
  return server.listen(socket);
}
