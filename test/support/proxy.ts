// A TCP proxy on loopback that breaks as networks do: it freezes one way or both (nobody is told, nothing is lost: what is under
// way arrives after the thaw, also when the sender has gone meanwhile), it cuts (RST), it refuses.
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { freePort } from './strays.ts';

/** `up`: to the server; `down`: to the client. */
export type Way = 'up' | 'down' | 'both';

export type BrokenLine = Awaited<ReturnType<typeof openProxy>>;

interface Lane {
  stranded: boolean;
  flow(): void;
}

/** To `to` on loopback; `port`: a free one by default; `host`: where it listens, loopback by default. */
export async function openProxy(to: number, options: { port?: number; host?: string } = {}) {
  const frozen = { up: false, down: false };
  const lanes = new Set<Lane>();
  const clients = new Set<Socket>();
  const sockets = new Set<Socket>();
  const count = { up: 0, down: 0 };
  let accepted = 0;
  let away = false;
  const { port = await freePort() } = options;
  let server = createServer();

  function lane(way: 'up' | 'down', from: Socket, into: Socket): void {
    const waiting: Buffer[] = [];
    let ended = false;
    const self: Lane = {
      stranded: false,
      flow() {
        if (frozen[way] || self.stranded) return;
        for (const chunk of waiting.splice(0)) if (into.writable) into.write(chunk);
        if (ended && into.writable) into.end();
      },
    };
    lanes.add(self);
    from.on('data', (chunk) => {
      count[way] += chunk.length;
      waiting.push(chunk);
      self.flow();
    });
    const end = (): void => {
      ended = true;
      self.flow();
    };
    from.on('end', end);
    from.on('close', end);
    into.on('close', () => lanes.delete(self));
  }

  function take(client: Socket): void {
    accepted++;
    if (away) {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect({ host: '127.0.0.1', port: to, allowHalfOpen: true, noDelay: true });
    clients.add(client);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        clients.delete(socket);
      });
    }
    // A server that is not there is told to the client at once, as far as the way to it is open.
    upstream.on('error', () => frozen.down || client.resetAndDestroy());
    // Whoever has gone away is not connected, whatever is still on its way from him.
    client.on('end', () => clients.delete(client));
    client.setNoDelay(true);
    lane('up', client, upstream);
    lane('down', upstream, client);
  }

  async function listen(): Promise<void> {
    server = createServer({ allowHalfOpen: true }, take);
    server.listen(port, options.host ?? '127.0.0.1');
    await once(server, 'listening');
  }

  await listen();
  return {
    port,
    freeze(way: Way): void {
      if (way !== 'down') frozen.up = true;
      if (way !== 'up') frozen.down = true;
    },
    thaw() {
      frozen.up = false;
      frozen.down = false;
      for (const one of lanes) one.flow();
    },
    /** Resets every connection; new ones are taken. */
    cut() {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    /** The connections of this moment carry nothing any more, for good, and nobody is told; new ones work. */
    strand() {
      for (const one of lanes) one.stranded = true;
    },
    /** From now on and until `accept`: new connections are taken and reset at once. */
    turnAway() {
      away = true;
    },
    /** New connections are refused, from now on and until `accept`. Those that are there stay. */
    async refuse() {
      server.close();
      if (clients.size === 0) await once(server, 'close').catch(() => {});
    },
    async accept() {
      away = false;
      if (!server.listening) await listen();
    },
    /** Clients that are connected now. */
    connections: () => clients.size,
    /** Clients that have connected since the beginning. */
    accepted: () => accepted,
    /** Bytes taken from clients and from the server so far. */
    bytes: () => ({ ...count }),
    async close() {
      const closed = server.listening ? once(server, 'close') : Promise.resolve();
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** The network between the program and a local port, which a test can take away and give back; it ends with the test. */
export async function openNetwork(t: TestContext, to: number) {
  // While it is down its port is free: on an address of its own nobody else's server comes to answer there.
  const host = `127.${1 + Math.floor(Math.random() * 254)}.${Math.floor(Math.random() * 255)}.2`;
  const line = await openProxy(to, { host });
  t.after(() => line.close());
  return {
    root: `http://${host}:${line.port}`,
    /** Connections are refused and those that exist are reset. */
    async down() {
      const refused = line.refuse();
      line.cut();
      await refused;
    },
    /** Connections are accepted and swallowed: nothing comes back, ever. */
    blackHole() {
      line.freeze('both');
      line.cut();
    },
    /** Works again, on the same port. */
    async up() {
      line.cut();
      line.thaw();
      await line.accept();
    },
  };
}
