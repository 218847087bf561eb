/** Carries one call of the worker to the Bot API and its answer back, unchanged, piece by piece. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { HttpClient } from '../telegram/http-client.ts';
import { downstreamHeaders, errorBody, upstreamHeaders, writeJsonHead } from './request.ts';

export interface RelayOptions {
  readonly client: HttpClient;
  readonly path: string;
  /** The request's body where it has been read already. */
  readonly body?: Buffer;
  /** Called once, when the answer has begun (or the failure that took its place). */
  readonly onStatus?: (status: number, problem: string | null) => void;
}

/** More is streamed. What is small is read first, so that a sender who dawdles takes no connection to the Bot API from the others. */
const WHOLE_BYTES_MAX = 64 * 1024;

export function relay(request: IncomingMessage, response: ServerResponse, options: RelayOptions): void {
  if (options.body || bodyBytes(request) === 0 || bodyBytes(request) > WHOLE_BYTES_MAX)
    return void carry(request, response, options);
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => carry(request, response, { ...options, body: Buffer.concat(chunks) }));
}

function carry(
  request: IncomingMessage,
  response: ServerResponse,
  { client, path, body, onStatus }: RelayOptions,
): void {
  const headers = framed(upstreamHeaders(request.rawHeaders), request, body);
  const asked = client.begin(request.method ?? 'GET', path, headers);
  /** The worker has its answer, or has left. */
  let isOver = false;
  let isAnswered = false;

  function finish(): void {
    isOver = true;
    request.unpipe(asked);
    // An answer may come before the whole of an upload: the rest is not sent.
    if (!asked.writableFinished) asked.destroy();
  }

  function fail(error: Error): void {
    if (isOver) return;
    finish();
    // Errors of the system name hosts and codes, never paths.
    const problem = (error as NodeJS.ErrnoException).code ?? error.message;
    onStatus?.(502, problem);
    if (response.headersSent) return void response.destroy();
    const text = errorBody(502, `Bad Gateway: singlepoll could not reach the Bot API (${problem})`);
    writeJsonHead(response, 502, text);
    endBehind(response, text);
  }

  /** Once the answer has begun, it says itself how it ends. */
  function failUnanswered(error: Error): void {
    if (!isAnswered) fail(error);
  }

  asked.on('error', failUnanswered);
  asked.on('close', () => failUnanswered(new Error('the connection was closed')));
  asked.on('response', (answer) => {
    isAnswered = true;
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
      endBehind(response);
    });
    answer.pipe(response, { end: false });
  });
  response.on('close', () => {
    if (isOver) return;
    isOver = true;
    client.giveUp(asked, new Error('the worker left'));
  });
  if (body === undefined && bodyBytes(request) > 0) request.pipe(asked);
  else asked.end(body);
}

/** Infinite where only its end will tell. */
function bodyBytes({ headers }: IncomingMessage): number {
  if (headers['transfer-encoding'] !== undefined) return Number.POSITIVE_INFINITY;
  return Number(headers['content-length'] ?? 0);
}

/** Says how long the body is in exactly one way, since Node's client adds nothing to a flat list of headers. */
function framed(headers: string[], request: IncomingMessage, body: Buffer | undefined): string[] {
  if (headers.some((it, i) => i % 2 === 0 && it.toLowerCase() === 'content-length')) return headers;
  if (body === undefined && bodyBytes(request) > 0) return [...headers, 'transfer-encoding', 'chunked'];
  if (body === undefined && request.method === 'GET') return headers;
  return [...headers, 'content-length', String(body?.length ?? 0)];
}

/** How long the rest of an upload that has been answered already is read and dropped. */
const LINGER_MS = 10_000;

/**
 * Ends an answer that may have come before the whole of its request: the rest is read and dropped. That has to be over before a
 * connection is closed, since the system resets one that has unread bytes, and a reset overtakes the answer.
 */
function endBehind(response: ServerResponse, body = ''): void {
  const { req: request } = response;
  if (request.complete || response.shouldKeepAlive) {
    response.end(body);
    if (!request.complete) request.resume();
    return;
  }
  response.flushHeaders();
  if (body !== '') response.write(body);
  const end = () => {
    clearTimeout(timer);
    response.end();
  };
  const timer = setTimeout(end, LINGER_MS).unref();
  request.once('end', end);
  request.once('close', end);
  request.resume();
}
