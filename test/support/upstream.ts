// A Bot API of the test's own: records every request to the byte and answers what the test wants. By itself it is one
// bot without webhook whose long polls wait and end empty; every other method gives `true`.
import { createHash } from 'node:crypto';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { TestContext } from 'node:test';
import { listen } from './place.ts';

const KEPT_BYTES = 4 << 20;

interface Seen {
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
  /** The whole request was read. */
  isRead: boolean;
  isAnswered: boolean;
  /** The connection ended before the answer was given. */
  isGone: boolean;
}

export const headersOf = (seen: Pick<Seen, 'headers'>, name: string): string[] =>
  seen.headers.filter(([key]) => key.toLowerCase() === name.toLowerCase()).map(([, value]) => value);

type Handler = (response: ServerResponse, seen: Seen) => void;

const ok = (response: ServerResponse, result: unknown) => {
  response.writeHead(200, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify({ ok: true, result }));
};

/** Starts the server for one test. `path` is a prefix such as `/some/path`. */
export async function openUpstream(t: TestContext, botId: number, path = '') {
  const seen: Seen[] = [];
  const unreadable: string[] = [];
  const unread = new Set<string>();
  let openPolls = 0;
  let mostPolls = 0;

  const getUpdates: Handler = (response, { target, body }) => {
    const [, timeout = '0'] = /\btimeout"?[=:]"?(\d+)/.exec(target + body.toString()) ?? [];
    mostPolls = Math.max(mostPolls, ++openPolls);
    const timer = setTimeout(() => ok(response, []), Number(timeout) * 1000);
    response.once('close', () => {
      clearTimeout(timer);
      openPolls--;
    });
  };
  const me = { id: botId, is_bot: true, first_name: 'Upstream', username: `up_${botId}_bot` };
  const webhook = { url: '', has_custom_certificate: false, pending_update_count: 0 };
  const handlers = new Map<string, Handler>([
    ['getme', (response) => ok(response, me)],
    ['getwebhookinfo', (response) => ok(response, webhook)],
    ['getupdates', getUpdates],
  ]);

  const server = http.createServer({ maxHeaderSize: 1 << 20 }, (request, response) => {
    const one = record(request);
    seen.push(one);
    response.on('finish', () => {
      one.isAnswered = true;
    });
    response.on('close', () => {
      one.isGone ||= !response.writableFinished;
    });
    if (unread.has(one.method)) return;
    read(request, one, () => {
      const handler = handlers.get(one.method);
      if (handler) handler(response, one);
      else ok(response, true);
    });
  });
  Object.assign(server, { requestTimeout: 0, headersTimeout: 0, keepAliveTimeout: 500_000 });
  server.on('clientError', (error, socket) => {
    const { rawPacket } = error as { rawPacket?: Buffer };
    // Without bytes it is a request that was broken off.
    if (rawPacket) unreadable.push(`${error.message}: ${rawPacket.toString('latin1')}`);
    socket.destroy();
  });

  const port = await listen(t, server);
  return {
    port,
    /** With the path prefix, if there is one. */
    root: `http://127.0.0.1:${port}${path}`,
    seen,
    /** Requests of this method, in order of arrival. */
    of: (method: string) => seen.filter((one) => one.method === method.toLowerCase()),
    /** Requests that could not be read as HTTP. */
    unreadable,
    /** Answers this method from now on, once its body was read. */
    on: (method: string, handler: Handler) => void handlers.set(method.toLowerCase(), handler),
    /** From now on its body is not read, and nothing answered. */
    ignore: (method: string) => void unread.add(method.toLowerCase()),
    /** The most getUpdates that were open at once. */
    mostPolls: () => mostPolls,
  };
}

function record(request: IncomingMessage): Seen {
  const { url: target = '', method: verb = '', rawHeaders: raw } = request;
  const last = target.split('?')[0]!.split('/').at(-1) ?? '';
  return {
    ...{ verb, target, method: decoded(last).toLowerCase() },
    headers: raw.flatMap((name, i) => (i % 2 === 0 ? [[name, raw[i + 1]!] as const] : [])),
    ...{ body: Buffer.alloc(0), bytes: 0, sha256: '' },
    ...{ isRead: false, isAnswered: false, isGone: false },
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
function read(request: IncomingMessage, one: Seen, done: () => void): void {
  const hash = createHash('sha256');
  const kept: Buffer[] = [];
  request.on('data', (chunk: Buffer) => {
    if (one.bytes < KEPT_BYTES) kept.push(chunk);
    one.bytes += chunk.length;
    hash.update(chunk);
  });
  request.on('end', () => {
    Object.assign(one, { body: Buffer.concat(kept), sha256: hash.digest('hex'), isRead: true });
    done();
  });
  request.on('error', () => {});
  request.on('close', () => {
    one.isGone ||= !request.complete;
  });
}
