// An HTTP proxy that tunnels (CONNECT), to the ports of this machine that a test gives to names which exist nowhere.
import { createServer } from 'node:http';
import { createConnection, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { listen } from './place.ts';

const CREDENTIALS = 'user:pr0xy-s3cret';

/** `places`: `host:port` → port of 127.0.0.1. Whoever comes without the credentials gets 407. */
export async function openConnectProxy(t: TestContext, places: Readonly<Record<string, number>>) {
  const asked: string[] = [];
  const sockets = new Set<Socket>();
  const track = (socket: Socket): Socket => {
    sockets.add(socket);
    return socket.on('error', () => {}).once('close', () => sockets.delete(socket));
  };
  let open = true;
  const cut = () => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  const server = createServer((_request, response) => response.writeHead(405).end());
  server.on('connection', track);
  server.on('connect', ({ url = '', headers }, socket: Socket) => {
    asked.push(url);
    const wanted = `Basic ${Buffer.from(CREDENTIALS).toString('base64')}`;
    if (headers['proxy-authorization'] !== wanted)
      return void socket.end('HTTP/1.1 407 Who Are You\r\nProxy-Authenticate: Basic\r\n\r\n');
    const port = places[url];
    if (!open) return void socket.resetAndDestroy();
    if (port === undefined) return void socket.end('HTTP/1.1 502 No Way\r\n\r\n');
    const onward = track(createConnection(port, '127.0.0.1'));
    onward.once('connect', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      socket.pipe(onward).pipe(socket);
    });
    socket.once('close', () => onward.destroy());
    onward.once('close', () => socket.destroy());
  });
  return {
    url: `http://${CREDENTIALS}@127.0.0.1:${await listen(t, server)}`,
    /** `host:port`, in order. */
    asked,
    /** Cuts what goes through it, and turns away what comes. */
    down() {
      open = false;
      cut();
    },
    up() {
      open = true;
    },
  };
}
