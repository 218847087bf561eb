/**
 * The listening socket of the health endpoint. Whoever reaches it may be slow, many or hostile, and shares an event loop with
 * supervision: heads are small and soon, every connection carries one request, and a crowd pushes out its oldest member, so
 * that a health check gets through all the same.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { HttpAddress } from '../config/values.ts';
import type { Answered, Asked } from './respond.ts';

export interface Listening {
  /** With the port that was found where any was asked for. */
  readonly address: HttpAddress;
  /** Ends all connections, too. */
  close(): void;
}

const HEAD_BYTES_MAX = 8 * 1024;
const HEAD_MS_MAX = 5_000;
const CHECK_EVERY_MS = 1_000;
/** Without a byte in either direction: a reader that does not read. */
const IDLE_MS_MAX = 5_000;
const CROWD = 64;

/** Rejects with the system's error. `answer` may throw: that is a 500. */
export function listenHttp(
  { host, port }: HttpAddress,
  answer: (asked: Asked) => Answered,
): Promise<Listening> {
  const sockets = new Set<Socket>();
  const server = createServer(
    {
      maxHeaderSize: HEAD_BYTES_MAX,
      headersTimeout: HEAD_MS_MAX,
      requestTimeout: HEAD_MS_MAX,
      connectionsCheckingInterval: CHECK_EVERY_MS,
      // A Host is asked for only where it matters.
      requireHostHeader: false,
    },
    (request, response) => handle(request, response, answer),
  );
  server.maxRequestsPerSocket = 1;
  server.setTimeout(IDLE_MS_MAX);
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    if (sockets.size <= CROWD) return;
    const [oldest] = sockets;
    if (oldest) sockets.delete(oldest);
    oldest?.destroy();
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port, exclusive: true }, () => {
      server.off('error', reject);
      // EMFILE and the like: the next connection may fare better.
      server.on('error', () => {});
      resolve({
        address: { host, port: (server.address() as AddressInfo).port },
        close() {
          server.close();
          for (const socket of sockets) socket.destroy();
        },
      });
    });
  });
}

function handle(
  request: IncomingMessage,
  response: ServerResponse,
  answer: (asked: Asked) => Answered,
): void {
  const { method = 'GET', url = '/', headers } = request;
  let answered: Answered;
  try {
    answered = answer({ method, target: url, host: headers.host });
  } catch {
    answered = { status: 500, headers: { 'Content-Type': 'text/plain' }, body: 'internal error\n' };
  }
  const body = Buffer.from(answered.body);
  response.shouldKeepAlive = false;
  response.writeHead(answered.status, { ...answered.headers, 'Content-Length': body.length });
  response.end(method === 'HEAD' ? undefined : body);
}
