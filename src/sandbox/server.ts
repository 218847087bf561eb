/**
 * The sandbox: an imitation of the Bot API on one HTTP port; what a call does is in core.ts, bot.ts and chats.ts. A poll does not end when its
 * client goes away: the real server does not notice that either. Not imitated: flood limits and deliveries to webhooks.
 * Source: tdlib/telegram-bot-api HttpConnection::handle, ClientManager::send, Client::on_cmd.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readArgs, readBody, routeOf, splitTarget, UnreadableRequest } from '../gateway/params.ts';
import { control } from './actions.ts';
import { type Answer, failure, type Reply, systemClock } from './bot.ts';
import { createCore, faultAnswer, randomToken } from './core.ts';

/** Requests may hang, as that is one of the faults. */
const LIMITS = {
  requireHostHeader: false,
  keepAliveTimeout: 500_000,
  maxHeaderSize: 1 << 18,
  requestTimeout: 0,
  headersTimeout: 0,
};
const BODY_BYTES_MAX = 60 * 1024 * 1024;

/** Starts a sandbox, at any free port if that is 0, with a bot for each token. Rejects when the port is taken or a token is malformed. */
export async function startSandbox({ port: asked = 0, tokens = [randomToken()], host = '127.0.0.1' } = {}) {
  const core = createCore();

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { path, query } = splitTarget(request.url ?? '/');
    const route = routeOf(path);
    if (route.kind === 'control') {
      const body = (await readBody(request, BODY_BYTES_MAX)).toString('utf8');
      const answer = await control({ ...core, root }, `${request.method} ${route.path}`, query, body);
      return sendJson(response, answer.status, answer.body);
    }
    if (request.method !== 'GET' && request.method !== 'POST') return sendEmpty(response, 501);
    const args = readArgs(query, await readBody(request, BODY_BYTES_MAX), request.headers);
    if (route.kind === 'none') return sendJson(response, 404, failure(404, route.description).body);
    // There are no bots in the test environment.
    const bot = route.test ? undefined : core.find(route.token);
    if (route.kind === 'file') {
      const bytes = bot ? core.file(route.path) : null;
      return bytes ? void response.end(bytes) : sendJson(response, 404, failure(404, 'Not Found').body);
    }
    const method = route.method === '' ? args.get('method') : route.method;
    const record = core.startRecord(response, bot?.id ?? 0, method, args);
    const fault = core.strike(method, record.bot);
    const call = (reply: Reply) => core.carryOut(bot, method, args, reply);
    const deliver = ({ status, body, retryAfter, delivered = [] }: Answer): void => {
      const { description = null } = body as { description?: string };
      core.endRecord(record, { status, delivered, error: status === 200 ? null : description });
      sendJson(response, status, body, retryAfter);
    };
    const breakOff = (error: string): void => {
      core.endRecord(record, { error });
      response.req.socket.resetAndDestroy();
    };
    if (fault === null) call(deliver);
    else if (fault.kind === 'slow')
      call((answer) => systemClock.after(fault.ms ?? 1000, () => deliver(answer)));
    else if (fault.kind === 'gone') call(() => breakOff('answer lost'));
    else if (fault.kind === 'reset') breakOff('connection reset');
    else if (fault.kind !== 'hang') {
      const { status, text, retryAfter: afterS } = faultAnswer(fault);
      core.endRecord(record, { status, error: `fault ${fault.kind}` });
      send(response, status, text, afterS);
    }
  }

  for (const token of tokens) core.addBot(token);
  const server = createServer(LIMITS, (request, response) => {
    handle(request, response).catch((error: unknown) => {
      if (error instanceof UnreadableRequest) return sendEmpty(response, error.status);
      response.destroy(); // the client went away in the middle of its request
    });
  });
  server.listen(asked, host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;

  const root = `http://${host}:${port}`;
  return {
    ...core,
    ...{ root, port },
    /** Token of the first bot. */
    token: tokens[0] ?? '',
    /** Ends every connection, like a broken network. Open calls are still carried out, but their answers are lost. */
    cutConnections: () => server.closeAllConnections(),
    /** Answers open polls at once (200 with the updates so far) and ends every connection. */
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const bot of core.bots()) bot.finishPoll();
      // One turn of the event loop lets the answers leave.
      await new Promise((resolve) => setImmediate(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

function sendJson(response: ServerResponse, status: number, body: unknown, retryAfter?: number): void {
  send(response, status, JSON.stringify(body), retryAfter);
}

function send(response: ServerResponse, status: number, text: string, retryAfter?: number): void {
  response.writeHead(status, {
    'Content-Type': text.startsWith('<') ? 'text/html' : 'application/json',
    'Content-Length': Buffer.byteLength(text),
    // Set here, as Node would add a Keep-Alive header and so change the length of the answer, by which a 409 is recognised from outside.
    Connection: response.req.headers.connection?.toLowerCase() === 'close' ? 'close' : 'keep-alive',
    ...(retryAfter !== undefined && { 'Retry-After': retryAfter }),
  });
  response.end(text);
}

/** Answers a request that can't be read, like the server: a bare status, and the connection ends. */
function sendEmpty(response: ServerResponse, status: number): void {
  response.writeHead(status, { 'Content-Length': 0, Connection: 'close' }).end();
}
