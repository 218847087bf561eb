/**
 * The sandbox: a stand-in for the Bot API on one HTTP port. This file owns the port and its sockets; a request's way is in
 * exchange.ts, what a call means in world.ts and bot.ts. Not imitated: the limit of 20 new bots a minute from one address
 * (the server spares local ones), flood limits, deliveries to webhooks.
 * Source: tdlib/telegram-bot-api HttpServer.h; tdlib/td HttpReader.cpp (501, unreadable requests).
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Args } from '../gateway/params.ts';
import { readBody, routeOf, splitTarget, UnreadableRequest } from '../gateway/params.ts';
import type { Answer } from './answer.ts';
import type { SentMessage } from './chats.ts';
import { type Clock, systemClock } from './clock.ts';
import { control } from './control.ts';
import { createExchange } from './exchange.ts';
import { createFaults, type Fault } from './faults.ts';
import { createRequestLog, maxOpenPolls, type RequestEvent, type RequestRecord } from './request-log.ts';
import { textUpdate } from './text-update.ts';
import { send, sendEmpty } from './wire.ts';
import { createWorld } from './world.ts';

const KEEP_ALIVE_MS = 500_000;
const HEADER_BYTES_MAX = 1 << 18;

const CLIENT_ERRORS: Record<string, string> = {
  HPE_INVALID_METHOD: '501 Not Implemented',
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
};

export interface Sandbox {
  /** `http://127.0.0.1:PORT` */
  readonly root: string;
  readonly port: number;
  /** Token of the first bot. */
  readonly token: string;
  /**
   * Registers a bot and returns its token (random when absent). A known one starts anew, with an empty queue. With
   * `test`, a bot of the test environment (`/bot<token>/test/…`). Throws on a malformed token.
   */
  addBot(token?: string, test?: boolean): string;
  /** From now on the token is refused with 401; a waiting poll is answered. */
  revoke(token: string): void;
  /** Queues an update (`update_id` optional); returns its id, 0 where `allowed_updates` keeps it out. */
  inject(token: string, update: object): number;
  /** Queues a text message from a user with the id 1000. */
  injectText(token: string, text: string): number;
  /** The bots, in the order they were added, with their tokens. */
  bots(): readonly { readonly id: number; readonly token: string; readonly username: string }[];
  /** A Bot API call from inside, not through HTTP and not in the log; resolves with its answer. */
  call(token: string, method: string, args: Args): Promise<Answer>;
  /** Makes getWebhookInfo report a failed delivery. */
  noteWebhookError(token: string, message: string): void;
  fault(fault: Fault): void;
  clearFaults(): void;
  /** Every Bot API request, oldest first, bounded. */
  readonly log: readonly RequestRecord[];
  /** Everything bots have sent, oldest first, bounded. */
  readonly sent: readonly SentMessage[];
  /** Called when a request arrives and when it ends; returns the way to stop that. */
  onRequest(listener: (event: RequestEvent) => void): () => void;
  /** The largest number of getUpdates that were open at once, from the clients' side; optionally of some client ports. */
  overlap(token: string, ports?: Iterable<number>): number;
  /** Resets every connection, as a network that breaks does; what the bots asked goes on, into the void. */
  cutConnections(): void;
  /** Ends open polls at once (200 with what there is) and every connection. */
  close(): Promise<void>;
}

export interface SandboxOptions {
  /** 0 or absent: any free port. */
  readonly port?: number;
  /** How many bots with random tokens; default 1, or 0 where `tokens` are given. */
  readonly bots?: number;
  readonly tokens?: readonly string[];
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Requests remembered; default 20,000. */
  readonly logLimit?: number;
  readonly clock?: Clock;
}

/** Starts a sandbox. Rejects when the port is taken or a token is malformed. */
export async function startSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  const clock = options.clock ?? systemClock;
  const world = createWorld(clock);
  const log = createRequestLog(options.logLimit ?? 20_000);
  const faults = createFaults();
  const sockets = new Set<Socket>();
  const exchange = createExchange({ clock, world, log, faults });
  let lastTextId = 0;

  const tokens = [...(options.tokens ?? [])].map((token) => world.addBot(token));
  const randomCount = options.bots ?? (tokens.length === 0 ? 1 : 0);
  for (let i = 0; i < randomCount; i++) tokens.push(world.addBot());

  const botOf = (token: string) => {
    const known = world.find(token) ?? world.find(token, true);
    if (!known) throw new Error('no such bot in this sandbox');
    return known.bot;
  };

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedAtMs = performance.now();
    const { path, query } = splitTarget(request.url ?? '/');
    const route = routeOf(path);
    if (route.kind === 'control') {
      const body = (await readBody(request)).toString('utf8');
      const answer = control(
        controlPorts,
        request.method ?? '',
        route.path,
        new URLSearchParams(query),
        body,
      );
      return send(response, answer.status, JSON.stringify(answer.body));
    }
    if (request.method !== 'GET' && request.method !== 'POST') return sendEmpty(response, 501);
    return exchange({ request, response, route, query, startedAtMs });
  }

  const server = createServer(
    { requireHostHeader: false, keepAliveTimeout: KEEP_ALIVE_MS, maxHeaderSize: HEADER_BYTES_MAX },
    (request, response) => {
      handle(request, response).catch((error: unknown) => {
        if (error instanceof UnreadableRequest) return sendEmpty(response, error.status);
        response.destroy(); // the client went away in the middle of its request
      });
    },
  );
  server.requestTimeout = 0;
  server.headersTimeout = 0;
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => {});
  });
  // Verbs that Node itself does not know arrive here; the real server answers them like any other it does not serve.
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    const status = CLIENT_ERRORS[error.code ?? ''] ?? '400 Bad Request';
    if (socket.writable) socket.end(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
  });

  const host = options.host ?? '127.0.0.1';
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
  const { port } = server.address() as AddressInfo;

  const sandbox: Sandbox = {
    root: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    port,
    token: tokens[0] ?? '',
    log: log.records,
    sent: world.chats.sent,
    addBot: (token, test) => world.addBot(token, test),
    revoke: (token) => botOf(token).endSession('revoked'),
    inject: (token, update) => botOf(token).push(update),
    injectText: (token, text) => botOf(token).push(textUpdate(++lastTextId, text)),
    bots: () => world.bots(),
    call: (token, method, args) =>
      new Promise((resolve) => world.call(token, world.find(token) === null, method, args, resolve)),
    noteWebhookError: (token, message) => botOf(token).noteWebhookError(message),
    fault: (fault) => faults.add(fault),
    clearFaults: () => faults.clear(),
    onRequest: (listener) => log.onRequest(listener),
    overlap: (token, ports) =>
      maxOpenPolls(log.records, Number(token.split(':')[0]), ports && new Set(ports)),
    cutConnections() {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const { bot } of world.bots()) bot.endSession('shutdown');
      // One turn for the answers to leave, then nothing is waited for.
      await new Promise((resolve) => setImmediate(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
  const controlPorts = {
    sandbox,
    bots: () => world.bots(),
    faults: () => faults.list(),
    clearFaults: () => faults.clear(),
    records: () => log.records,
  };
  return sandbox;
}
