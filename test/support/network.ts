// A TCP relay between the program and the Bot API stand-in: the network, which a test can take away and give back.
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';

export interface Network {
  readonly root: string;
  /** Connections are refused and those that exist are reset. */
  down(): Promise<void>;
  /** Connections are accepted and swallowed: nothing comes back, ever. */
  blackHole(): void;
  /** Works again, on the same port. */
  up(): Promise<void>;
}

/** Opens a relay to a local port; it ends with the test. */
export async function openNetwork(t: TestContext, targetPort: number): Promise<Network> {
  const sockets = new Set<Socket>();
  const track = (socket: Socket): Socket => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
    return socket;
  };
  const cut = () => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  let swallow = false;
  let server: Server | null = null;
  // While it is down its port is free: on an address of its own nobody else's server comes to answer there.
  const host = `127.${1 + Math.floor(Math.random() * 254)}.${Math.floor(Math.random() * 255)}.2`;
  const listen = (port: number) =>
    new Promise<number>((resolve, reject) => {
      const opened = createServer((socket) => {
        track(socket);
        if (swallow) return void socket.resume();
        const up = track(createConnection(targetPort, '127.0.0.1'));
        socket.pipe(up).pipe(socket);
        socket.once('close', () => up.destroy());
        up.once('close', () => socket.destroy());
      });
      opened.once('error', reject);
      opened.listen(port, host, () => {
        server = opened;
        resolve((opened.address() as { port: number }).port);
      });
    });
  const stop = async () => {
    const closing = server;
    server = null;
    const closed = new Promise<void>((resolve) => (closing ? closing.close(() => resolve()) : resolve()));
    cut();
    await closed;
  };
  const port = await listen(0);
  t.after(stop);
  return {
    root: `http://${host}:${port}`,
    down: stop,
    blackHole() {
      swallow = true;
      cut();
    },
    async up() {
      cut();
      swallow = false;
      if (!server) await listen(port);
    },
  };
}
