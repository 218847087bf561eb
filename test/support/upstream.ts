// A Bot API of the test's own: records every request to the byte and answers what the test wants. By itself it is one
// bot without webhook whose long polls wait and end empty (or with `updates`); every other method gives `true`.
import { createHash } from 'node:crypto';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { TestContext } from 'node:test';
import { listen } from './place.ts';

const KEPT_BYTES = 4 << 20;
const LONG_POLL_MAX_S = 50;

export interface Seen {
  readonly connection: number;
  readonly verb: string;
  /** Request target, not decoded. */
  readonly target: string;
  /** Last part of the path, decoded and in lower case: the method, or the name of a file. */
  readonly method: string;
  /** As sent, in order; values as latin1. */
  readonly headers: readonly (readonly [string, string])[];
  /** Without chunks; the first 4 MB of it. */
  body: Buffer;
  bytes: number;
  sha256: string;
  /** performance.now() */
  readonly atMs: number;
  firstByteMs: number | null;
  /** The whole request was read. */
  readMs: number | null;
  answeredMs: number | null;
  /** The connection ended before the answer was given. */
  goneMs: number | null;
}

export const headersOf = (seen: Pick<Seen, 'headers'>, name: string): string[] =>
  seen.headers.filter(([key]) => key.toLowerCase() === name.toLowerCase()).map(([, value]) => value);

export type Handler = (response: ServerResponse, seen: Seen, request: IncomingMessage) => void;

/** Starts the server for one test. `path` is a prefix such as `/some/path`. */
export async function openUpstream(t: TestContext, botId: number, path = '') {
  const seen: Seen[] = [];
  const raw: Buffer[][] = [];
  const unreadable: string[] = [];
  const handlers = new Map<string, Handler>();
  const headHandlers = new Map<string, Handler>();
  const updates: { update_id: number }[] = [];
  let openPolls = 0;
  let mostPolls = 0;

  const ok = (response: ServerResponse, result: unknown) => {
    response.writeHead(200, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify({ ok: true, result }));
  };

  function getUpdates(response: ServerResponse, one: Seen): void {
    const params = paramsOf(one);
    const offset = Number(params.offset ?? 0);
    const waitUntil = performance.now() + Math.min(Number(params.timeout ?? 0), LONG_POLL_MAX_S) * 1000;
    mostPolls = Math.max(mostPolls, ++openPolls);
    const timer = setInterval(look, 10);
    response.once('close', () => {
      clearInterval(timer);
      openPolls--;
    });
    function look() {
      const found = updates.filter((update) => update.update_id >= offset);
      if (found.length === 0 && performance.now() < waitUntil) return;
      clearInterval(timer);
      ok(response, found);
    }
    look();
  }

  const me = { id: botId, is_bot: true, first_name: 'Upstream', username: `up_${botId}_bot` };
  const standard: Record<string, Handler> = {
    getme: (response) => ok(response, me),
    getwebhookinfo: (response) =>
      ok(response, { url: '', has_custom_certificate: false, pending_update_count: 0 }),
    getupdates: getUpdates,
  };

  const server = http.createServer({ maxHeaderSize: 1 << 20, insecureHTTPParser: false });
  server.requestTimeout = 0;
  server.headersTimeout = 0;
  server.keepAliveTimeout = 500_000;
  server.on('connection', (socket) => {
    const chunks: Buffer[] = [];
    const id = raw.push(chunks) - 1;
    Object.assign(socket, { testId: id });
    let kept = 0;
    socket.on('data', (chunk: Buffer) => {
      if (kept < KEPT_BYTES) chunks.push(Buffer.from(chunk));
      kept += chunk.length;
    });
    socket.on('error', () => {});
  });
  server.on('clientError', (error, socket) => {
    const { rawPacket } = error as { rawPacket?: Buffer };
    // Without bytes it is a request that was broken off.
    if (rawPacket) unreadable.push(`${error.message}: ${rawPacket.toString('latin1')}`);
    socket.destroy();
  });
  const onRequest = (request: IncomingMessage, response: ServerResponse) => {
    const one = record(request);
    seen.push(one);
    response.on('finish', () => {
      one.answeredMs = performance.now();
    });
    response.on('close', () => {
      if (!response.writableFinished) one.goneMs ??= performance.now();
    });
    const early = headHandlers.get(one.method);
    if (early) return early(response, one, request);
    read(request, one, () => {
      const handler = handlers.get(one.method) ?? standard[one.method];
      if (handler) handler(response, one, request);
      else ok(response, true);
    });
  };
  server.on('request', onRequest);
  server.on('checkContinue', (request, response) => {
    response.writeContinue();
    onRequest(request, response);
  });

  const port = await listen(t, server);
  return {
    port,
    /** With the path prefix, if there is one. */
    root: `http://127.0.0.1:${port}${path}`,
    seen,
    /** Requests of this method, in order of arrival. */
    of: (method: string) => seen.filter((one) => one.method === method.toLowerCase()),
    /** Bytes of every connection, in order of arrival. */
    rawText: () => raw.map((chunks) => Buffer.concat(chunks).toString('latin1')).join('\n=====\n'),
    /** Requests that could not be read as HTTP. */
    unreadable,
    /** Answers this method from now on, once its body was read. */
    on: (method: string, handler: Handler) => handlers.set(method.toLowerCase(), handler),
    /** The same, before the body; the handler reads it. */
    onHead: (method: string, handler: Handler) => headHandlers.set(method.toLowerCase(), handler),
    /** Updates that the next polls deliver, by their ids. */
    updates,
    /** The most getUpdates that were open at once. */
    mostPolls: () => mostPolls,
  };
}

function record(request: IncomingMessage): Seen {
  const target = request.url ?? '';
  const path = target.split('?')[0] ?? '';
  const headers: [string, string][] = [];
  for (let i = 0; i < request.rawHeaders.length; i += 2)
    headers.push([request.rawHeaders[i]!, request.rawHeaders[i + 1]!]);
  return {
    connection: (request.socket as unknown as { testId: number }).testId,
    verb: request.method ?? '',
    target,
    method: decoded(path.split('/').at(-1) ?? '').toLowerCase(),
    headers,
    body: Buffer.alloc(0),
    bytes: 0,
    sha256: '',
    atMs: performance.now(),
    firstByteMs: null,
    readMs: null,
    answeredMs: null,
    goneMs: null,
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Reads the body of a request into its record; `done` comes once it is whole. */
export function read(request: IncomingMessage, one: Seen, done: () => void): void {
  const hash = createHash('sha256');
  const kept: Buffer[] = [];
  request.on('data', (chunk: Buffer) => {
    one.firstByteMs ??= performance.now();
    if (one.bytes < KEPT_BYTES) kept.push(chunk);
    one.bytes += chunk.length;
    hash.update(chunk);
  });
  request.on('end', () => {
    one.body = Buffer.concat(kept);
    one.sha256 = hash.digest('hex');
    one.readMs = performance.now();
    done();
  });
  request.on('error', () => {});
  request.on('close', () => {
    if (!request.complete) one.goneMs ??= performance.now();
  });
}

/** Parameters of query, form or JSON body; the first of a name wins. */
function paramsOf(one: Seen): Record<string, string> {
  const params: Record<string, string> = {};
  const add = (name: string, value: string) => {
    if (!(name in params)) params[name] = value;
  };
  for (const [name, value] of new URLSearchParams(one.target.split('?')[1] ?? '')) add(name, value);
  const type = headersOf(one, 'content-type')[0] ?? '';
  const text = one.body.toString('utf8');
  if (type.includes('urlencoded')) for (const [name, value] of new URLSearchParams(text)) add(name, value);
  if (type.includes('json') && text) {
    for (const [name, value] of Object.entries(JSON.parse(text) as Record<string, unknown>))
      add(name, String(value));
  }
  return params;
}
