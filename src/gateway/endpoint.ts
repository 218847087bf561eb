/**
 * One listening socket on 127.0.0.1, as careful as a local server has to be: heads are bounded in size and time, and when
 * connections crowd, those from outside of the worker's tree go first, so that strangers can't shut the worker out.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

export interface Endpoint {
  readonly port: number;
  /** Ends all connections, too. */
  close(): void;
}

export interface EndpointOptions {
  /** 0: any free one. */
  readonly port: number;
  readonly handle: (request: IncomingMessage, response: ServerResponse, port: number) => void;
  readonly onClosed: (socket: Socket) => void;
  /** Ports of clients in the worker's tree; null where the system does not tell. */
  readonly members: (port: number) => ReadonlySet<number> | null;
}

/** As much as the Bot API server takes (tdlib/td HttpReader): a message of 4,096 letters in a query, percent-encoded. */
const HEAD_BYTES_MAX = 256 * 1024;
const HEAD_MS_MAX = 10_000;
const CHECK_EVERY_MS = 10_000;
const CONNECTIONS_MAX = 1_024;
/** From here on strangers are looked for, so often at most; or when so many have come since: well before the worker would be shut out. */
const CROWD = 96;
const CROWD_LOOK_EVERY_MS = 250;
const CROWD_LOOK_EVERY = 256;

/** Rejects with the system's error. */
export async function openEndpoint({ port, handle, onClosed, members }: EndpointOptions): Promise<Endpoint> {
  const sockets = new Set<Socket>();
  // Asking for it is a system call.
  let ownPort = port;
  let lookedAtMs = Number.NEGATIVE_INFINITY;
  let cameSince = 0;

  function dropStrangers(): void {
    const nowMs = performance.now();
    if (nowMs - lookedAtMs < CROWD_LOOK_EVERY_MS && cameSince < CROWD_LOOK_EVERY) return;
    lookedAtMs = nowMs;
    cameSince = 0;
    const known = members(ownPort);
    if (known === null) return;
    for (const socket of sockets) if (!known.has(socket.remotePort ?? 0)) socket.destroy();
  }

  const server = createServer(
    {
      maxHeaderSize: HEAD_BYTES_MAX,
      headersTimeout: HEAD_MS_MAX,
      // An upload may take as long as it takes.
      requestTimeout: 0,
      // Never: closing would cross the worker's next call now and then, and the clock costs more than routing a call.
      keepAliveTimeout: 0,
      connectionsCheckingInterval: CHECK_EVERY_MS,
      noDelay: true,
    },
    (request, response) => handle(request, response, ownPort),
  );
  server.maxConnections = CONNECTIONS_MAX;
  server.on('connection', (socket) => {
    sockets.add(socket);
    cameSince += 1;
    socket.on('close', () => {
      sockets.delete(socket);
      onClosed(socket);
    });
    if (sockets.size > CROWD) dropStrangers();
  });
  // Too many at once: those are not even told of.
  server.on('drop', dropStrangers);

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: '127.0.0.1', port, exclusive: true }, resolve);
  });
  server.removeAllListeners('error');
  // EMFILE and the like: the next connection may fare better.
  server.on('error', () => {});
  ownPort = (server.address() as AddressInfo).port;
  return {
    port: ownPort,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
