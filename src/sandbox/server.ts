/**
 * The sandbox: an imitation of the Bot API on one HTTP port. Owns the port, the bots, and reading and answering requests;
 * what a call does is in bot.ts and chats.ts. A poll does not end when its client goes away: the real server does not
 * notice that either. Not imitated: flood limits and deliveries to webhooks.
 * Source: tdlib/telegram-bot-api HttpConnection::handle, ClientManager::send, Client::on_cmd.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import {
  type Args,
  createArgs,
  readArgs,
  readBody,
  routeOf,
  splitTarget,
  UnreadableRequest,
} from '../gateway/params.ts';
import { control, type Sandbox, type SandboxBot } from './actions.ts';
import { type Answer, createBot, failure, type Reply, success, systemClock } from './bot.ts';
import { createChats } from './chats.ts';
import { answerFault, createFaults, type Fault } from './faults.ts';
import { createRequestLog, type RequestRecord } from './log.ts';

const KEEP_ALIVE_MS = 500_000;
const HEADER_BYTES_MAX = 1 << 18;
const BODY_BYTES_MAX = 60 * 1024 * 1024;
const TOKEN_SHAPE = /^[1-9]\d{0,15}:[A-Za-z0-9_-]{24,64}$/;
const ABILITIES = {
  can_join_groups: true,
  can_read_all_group_messages: false,
  supports_inline_queries: false,
};

export interface SandboxOptions {
  /** 0 or absent: any free port. */
  readonly port?: number;
  /** Absent: one bot with a random token. */
  readonly tokens?: readonly string[];
  /** Default 127.0.0.1. */
  readonly host?: string;
}

/** A token that looks real (an id of 9 or 10 digits, a secret of 35) but belongs to no bot. */
export function randomToken(): string {
  return `${randomInt(100_000_000, 9_999_999_999)}:AA${randomBytes(25).toString('base64url').slice(0, 33)}`;
}

/** Starts a sandbox. Rejects when the port is taken or a token is malformed. */
export async function startSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  const { host = '127.0.0.1' } = options;
  const bots = new Map<string, SandboxBot>();
  const chats = createChats();
  const log = createRequestLog();
  const faults = createFaults();
  let lastTextId = 0;

  const botOf = (token: string): SandboxBot => {
    const bot = bots.get(token);
    if (!bot) throw new Error('no such bot in this sandbox');
    return bot;
  };

  function addBot(token = randomToken()): string {
    if (!TOKEN_SHAPE.test(token))
      throw new Error('not the shape of a bot token: digits, a colon, at least 24 characters');
    const id = Number(token.split(':')[0]);
    const bot = createBot(systemClock, randomInt(200_001, 1_000_000_000));
    bots.get(token)?.end('shutdown');
    bots.set(token, { ...bot, id, token, username: `sandbox_${id}_bot` });
    return token;
  }

  function carryOut(bot: SandboxBot | undefined, method: string, args: Args, reply: Reply): void {
    if (!bot) {
      reply(failure(401, 'Unauthorized'));
      return;
    }
    if (bot.call(method, args, reply)) return;
    const { id, username } = bot;
    const user = { id, is_bot: true, first_name: 'Sandbox bot', username };
    const isGetMe = method.toLowerCase() === 'getme';
    reply(isGetMe ? success({ ...user, ...ABILITIES }) : chats.call({ id, user }, method, args));
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { path, query } = splitTarget(request.url ?? '/');
    const route = routeOf(path);
    if (route.kind === 'control') {
      const body = (await readBody(request, BODY_BYTES_MAX)).toString('utf8');
      const answer = await control(sandbox, `${request.method} ${route.path}`, query, body);
      return sendJson(response, answer.status, answer.body);
    }
    if (request.method !== 'GET' && request.method !== 'POST') return sendEmpty(response, 501);
    const args = readArgs(query, await readBody(request, BODY_BYTES_MAX), request.headers);
    if (route.kind === 'none') return sendJson(response, 404, failure(404, route.description).body);
    // There are no bots in the test environment.
    const bot = route.test ? undefined : bots.get(route.token);
    if (route.kind === 'file') {
      const bytes = bot ? chats.file(route.path) : null;
      return bytes ? void response.end(bytes) : sendJson(response, 404, failure(404, 'Not Found').body);
    }
    const method = route.method === '' ? args.get('method') : route.method;
    const record = log.start(response, bot?.id ?? 0, method, args);
    const fault = faults.strike(method, record.bot);
    answerCall((reply) => carryOut(bot, method, args, reply), fault, record, response);
  }

  /** Carries out the call and answers it, unless a fault applies. */
  function answerCall(
    call: (reply: Reply) => void,
    fault: Fault | null,
    record: RequestRecord,
    response: ServerResponse,
  ): void {
    const deliver = ({ status, body, retryAfter, delivered = [] }: Answer): void => {
      const { description = null } = body as { description?: string };
      log.end(record, { status, delivered, error: status === 200 ? null : description });
      sendJson(response, status, body, retryAfter);
    };
    const breakOff = (error: string): void => {
      log.end(record, { error });
      response.req.socket.resetAndDestroy();
    };
    if (fault === null) call(deliver);
    else if (fault.kind === 'slow')
      call((answer) => systemClock.after(fault.ms ?? 1000, () => deliver(answer)));
    else if (fault.kind === 'gone') call(() => breakOff('answer lost'));
    else if (fault.kind === 'reset') breakOff('connection reset');
    else if (fault.kind !== 'hang')
      log.end(record, { status: answerFault(response, fault), error: `fault ${fault.kind}` });
  }

  const tokens = (options.tokens ?? [randomToken()]).map((token) => addBot(token));
  const server = createServer(
    {
      requireHostHeader: false,
      keepAliveTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: HEADER_BYTES_MAX,
      noDelay: true,
    },
    (request, response) => {
      handle(request, response).catch((error: unknown) => {
        if (error instanceof UnreadableRequest) return sendEmpty(response, error.status);
        response.destroy(); // the client went away in the middle of its request
      });
    },
  );
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  // Requests may hang, as that is one of the faults.
  server.requestTimeout = 0;
  server.headersTimeout = 0;
  server.listen(options.port ?? 0, host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;

  const sandbox: Sandbox = {
    root: `http://${host}:${port}`,
    port,
    token: tokens[0] ?? '',
    log: log.records,
    sent: chats.sent,
    addBot,
    bots: () => [...bots.values()],
    revoke: (token) => botOf(token).end('revoked'),
    inject: (token, update) => botOf(token).push(update),
    injectText: (token, text) => botOf(token).push(textUpdate(++lastTextId, text)),
    call: (token, method, params) =>
      new Promise((resolve) => carryOut(botOf(token), method, createArgs(params), resolve)),
    fault: faults.add,
    clearFaults: faults.clear,
    faults: faults.list,
    onRequest: log.onRequest,
    cutConnections() {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const bot of bots.values()) bot.end('shutdown');
      // One turn of the event loop lets the answers leave.
      await new Promise((resolve) => setImmediate(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
  return sandbox;
}

/** An answer of the Bot API; `retryAfter` in seconds. */
function sendJson(response: ServerResponse, status: number, body: unknown, retryAfter?: number): void {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(text),
    // Set here, as Node would add a Keep-Alive header and so change the length of the answer.
    Connection: response.req.headers.connection?.toLowerCase() === 'close' ? 'close' : 'keep-alive',
    ...(retryAfter !== undefined && { 'Retry-After': retryAfter }),
  });
  response.end(text);
}

/** Answers a request that can't be read, like the server: a bare status, and the connection ends. */
function sendEmpty(response: ServerResponse, status: number): void {
  response.writeHead(status, { 'Content-Length': 0, Connection: 'close' }).end();
}

/** A text message from a user; text with a leading slash is marked as a command, as Telegram does. */
function textUpdate(messageId: number, text: string): object {
  const command = text.startsWith('/') ? (text.split(/\s/, 1)[0]?.length ?? 0) : 0;
  return {
    message: {
      message_id: messageId,
      from: { id: 1000, is_bot: false, first_name: 'User', language_code: 'en' },
      chat: { id: 1000, first_name: 'User', type: 'private' },
      date: Math.floor(Date.now() / 1000),
      text,
      ...(command > 0 && { entities: [{ type: 'bot_command', offset: 0, length: command }] }),
    },
  };
}
