/** Carries one call of the worker to the Bot API and its answer back, unchanged, piece by piece. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { HttpClient } from '../telegram/http-client.ts';
import { errorBody, writeJsonHead } from './request.ts';

export interface RelayOptions {
  readonly client: HttpClient;
  readonly path: string;
  /** The request's body where it has been read already. */
  readonly body?: Buffer;
  /** Called when the answer has begun, or with the failure that took its place. */
  readonly onStatus?: (status: number, problem: string | null) => void;
}

export function relay(request: IncomingMessage, response: ServerResponse, options: RelayOptions): void {
  const { client, path, body, onStatus } = options;
  const asked = client.begin(request.method ?? 'GET', path, framed(request, body));
  /** The worker has its answer, or has left. */
  let isOver = false;

  /** An answer may come before the whole of an upload: the rest is not sent. */
  function finish(): void {
    isOver = true;
    request.unpipe(asked);
    if (!asked.writableFinished) asked.destroy();
  }

  function fail(error: Error): void {
    if (isOver) return;
    finish();
    if (response.headersSent) return void response.destroy();
    // Errors of the system name hosts and codes, never paths.
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
      // Without the reason phrase, which nobody reads and which may hold any byte.
      response.writeHead(answer.statusCode ?? 0, downstreamHeaders(answer.rawHeaders));
    } catch (error) {
      // A status or a header that Node does not write.
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

/** Says how long the body is in exactly one way, since Node's client adds nothing to a flat list of headers. */
function framed(request: IncomingMessage, body: Buffer | undefined): string[] {
  const headers = upstreamHeaders(request.rawHeaders);
  if (request.headers['content-length'] !== undefined) return headers;
  if (body === undefined && hasBody(request)) headers.push('transfer-encoding', 'chunked');
  else if (body !== undefined || request.method === 'POST')
    headers.push('content-length', String(body?.length ?? 0));
  return headers;
}

/** How long the rest of an upload that has been answered already is read and dropped. */
const LINGER_MS = 10_000;

/** Before a connection is closed its request has to be read: the system resets one that has unread bytes, and that overtakes the answer. */
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

/** They belong to one connection only (RFC 9110, section 7.6.1). */
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

/** Of a request, as [name, value, name, value …]. */
export function upstreamHeaders(raw: readonly string[]): string[] {
  return filtered(raw, NOT_UPSTREAM);
}

/** Of an answer. */
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
