/** Streams one call of the worker to the Bot API or another host, and its answer back, both unchanged. */
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { showHttpAddress } from '../config/values.ts';
import { type HttpClient, openHttpClient, openTunnel, proxyOf } from '../telegram/http-client.ts';
import { answerJson, errorBody } from './request.ts';

interface RelayOptions {
  readonly client: HttpClient;
  readonly path: string;
  readonly body?: Buffer;
  /** Called when the answer begins, or with the problem if there is none. */
  readonly onStatus?: (status: number, problem: string | null) => void;
}

export function relay(request: IncomingMessage, response: ServerResponse, options: RelayOptions): void {
  const { client, path, body, onStatus } = options;
  const asked = client.begin(request.method ?? 'GET', path, framed(request, body));
  /** The worker has its answer or has left. */
  let isOver = false;

  /** If the answer comes before the end of an upload, the rest of that is not sent. */
  function finish(): void {
    isOver = true;
    request.unpipe(asked);
    if (!asked.writableFinished) asked.destroy();
  }

  function fail(error: Error): void {
    if (isOver) return;
    finish();
    if (response.headersSent) return void response.destroy();
    // System errors name hosts and codes, never paths.
    const problem = (error as NodeJS.ErrnoException).code ?? error.message;
    onStatus?.(502, problem);
    const text = `Bad Gateway: singlepoll could not reach the Bot API (${problem})`;
    answerJson(response, 502, errorBody(502, text));
  }

  asked.on('error', (error) => response.headersSent || fail(error));
  asked.on('close', () => response.headersSent || fail(new Error('the connection was closed')));
  asked.on('response', (answer) => {
    answer.on('error', fail);
    try {
      response.sendDate = false;
      // The reason phrase is left out, as it may hold any byte.
      response.writeHead(answer.statusCode ?? 0, without(OF_ONE_CONNECTION, answer.rawHeaders));
    } catch (error) {
      // Node refuses to write this status or header.
      return fail(error as Error);
    }
    onStatus?.(response.statusCode, null);
    answer.on('end', () => {
      if (isOver) return;
      finish();
      response.end();
    });
    answer.pipe(response, { end: false });
  });
  response.on('close', () => {
    if (isOver) return;
    isOver = true;
    client.giveUp(asked, new Error('the worker left'));
  });
  if (body === undefined && hasBody(request)) request.pipe(asked);
  else asked.end(body);
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** Adds exactly one header for the body's length, since Node's client adds none to a flat list of headers. */
function framed(request: IncomingMessage, body: Buffer | undefined): string[] {
  const headers = without(NOT_UPSTREAM, request.rawHeaders);
  if (request.headers['content-length'] !== undefined) return headers;
  if (body === undefined && hasBody(request)) headers.push('transfer-encoding', 'chunked');
  else if (body !== undefined || request.method === 'POST')
    headers.push('content-length', String(body?.length ?? 0));
  return headers;
}

/** Headers that belong to one connection only (RFC 9110, section 7.6.1). */
const OF_ONE_CONNECTION = new Set(
  `connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer
  transfer-encoding upgrade`.split(/\s+/),
);
/** `expect`: Node has answered it already. */
const NOT_UPSTREAM = new Set([...OF_ONE_CONNECTION, 'host', 'expect']);

/** `raw`: [name, value, name, value …]. */
function without(names: ReadonlySet<string>, raw: readonly string[]): string[] {
  return raw.filter((_, i) => !names.has(raw[i - (i % 2)]!.toLowerCase()));
}

const CONNECTIONS_MAX = 64;
const CONNECT_TIMEOUT_MS = 10_000;

/**
 * Calls that do not belong to this bot: with another bot's token, or to another host (from a program that uses the gateway as
 * its proxy). They are passed on unchanged, without door, status or a look at the answers. `env` names the user's own proxy.
 */
export function createForeign(env: Readonly<NodeJS.ProcessEnv>) {
  const clients = new Map<string, HttpClient>();

  return {
    pass(request: IncomingMessage, response: ServerResponse, { origin, pathname, search }: URL): void {
      const root = new URL(origin);
      const client = clients.get(origin) ?? openHttpClient(root, CONNECTIONS_MAX, env);
      clients.set(origin, client);
      relay(request, response, { client, path: pathname + search });
    },
    /** Connects to another host, through the user's own proxy if there is one. Rejects with the system's error. */
    async tunnel(host: string, port: number): Promise<Duplex> {
      const authority = showHttpAddress({ host, port });
      const proxy = proxyOf(new URL(`https://${authority}`), env);
      if (proxy !== null)
        return openTunnel(new URL(proxy), authority, AbortSignal.timeout(CONNECT_TIMEOUT_MS));
      const socket = connect({ host, port });
      await once(socket, 'connect');
      return socket;
    },
    close() {
      for (const client of clients.values()) client.close();
    },
  };
}
