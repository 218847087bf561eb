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
    response.end(text);
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
  const headers = upstreamHeaders(request.rawHeaders);
  if (request.headers['content-length'] !== undefined) return headers;
  if (body === undefined && hasBody(request)) headers.push('transfer-encoding', 'chunked');
  else if (body !== undefined || request.method === 'POST')
    headers.push('content-length', String(body?.length ?? 0));
  return headers;
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
  return without(NOT_UPSTREAM, raw);
}

export function downstreamHeaders(raw: readonly string[]): string[] {
  return without(OF_ONE_CONNECTION, raw);
}

function without(names: ReadonlySet<string>, raw: readonly string[]): string[] {
  return raw.filter((_, i) => !names.has(raw[i - (i % 2)]!.toLowerCase()));
}
