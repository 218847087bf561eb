/** Streams one call of the worker to the Bot API and its answer back, both unchanged. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { HttpClient } from '../telegram/http-client.ts';
import { errorBody, writeJsonHead } from './request.ts';

export interface RelayOptions {
  readonly client: HttpClient;
  readonly path: string;
  /** The request's body, if it has been read already. */
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
    const text = errorBody(502, `Bad Gateway: singlepoll could not reach the Bot API (${problem})`);
    writeJsonHead(response, 502, text);
    response.write(text);
    endWhenRead(response);
  }

  asked.on('error', (error) => response.headersSent || fail(error));
  asked.on('close', () => response.headersSent || fail(new Error('the connection was closed')));
  asked.on('response', (answer) => {
    answer.on('error', fail);
    try {
      response.sendDate = false;
      // The reason phrase is left out, as it may hold any byte.
      response.writeHead(answer.statusCode ?? 0, downstreamHeaders(answer.rawHeaders));
    } catch (error) {
      // Node refuses to write this status or header.
      return fail(error as Error);
    }
    onStatus?.(response.statusCode, null);
    answer.on('end', () => {
      if (isOver) return;
      finish();
      endWhenRead(response);
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
  const headers = upstreamHeaders(request.rawHeaders);
  if (request.headers['content-length'] !== undefined) return headers;
  if (body === undefined && hasBody(request)) headers.push('transfer-encoding', 'chunked');
  else if (body !== undefined || request.method === 'POST')
    headers.push('content-length', String(body?.length ?? 0));
  return headers;
}

/** How long the rest of an upload is read and dropped after the answer. */
const LINGER_MS = 10_000;

/** Reads the rest of the request before it closes: the system resets a connection with unread bytes, so the answer is lost. */
function endWhenRead(response: ServerResponse): void {
  const { req: request } = response;
  if (request.complete || response.shouldKeepAlive) {
    response.end();
    if (!request.complete) request.resume();
    return;
  }
  const end = () => void response.end();
  const timer = setTimeout(end, LINGER_MS).unref();
  response.once('close', () => clearTimeout(timer));
  request.once('end', end).once('close', end).resume();
}

/** Headers that belong to one connection only (RFC 9110, section 7.6.1). */
const OF_ONE_CONNECTION = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);
/** `expect`: Node has answered it already. */
const NOT_UPSTREAM = new Set([...OF_ONE_CONNECTION, 'host', 'expect']);

/** Headers of a request, as [name, value, name, value …]. */
export function upstreamHeaders(raw: readonly string[]): string[] {
  return filtered(raw, NOT_UPSTREAM);
}

/** Headers of an answer. */
export function downstreamHeaders(raw: readonly string[]): string[] {
  return filtered(raw, OF_ONE_CONNECTION);
}

function filtered(raw: readonly string[], without: ReadonlySet<string>): string[] {
  const kept: string[] = [];
  // `Connection` may name further headers of this connection.
  let named: readonly string[] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase();
    if (!without.has(name)) kept.push(raw[i]!, raw[i + 1]!);
    else if (name === 'connection') named = raw[i + 1]!.toLowerCase().split(/\s*,\s*/);
  }
  if (named.length === 0) return kept;
  return kept.filter((_, i) => !named.includes(kept[i - (i % 2)]!.toLowerCase()));
}
