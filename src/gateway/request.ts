/**
 * What a request to the gateway asks for, and whether it may; and getUpdates, read as the server reads it, with what its answer
 * means for the door. Only the worker's own token opens anything, only in the forms that the Bot API server knows, and only from
 * programs (a web page that has found the port names itself by Host or Origin). Paths are decoded first, as the server does, and
 * written anew for upstream, so that no spelling passes unseen.
 * Sources: tdlib/telegram-bot-api Client.cpp (process_get_updates_query, fail_query_conflict), Query.cpp (arg, retry_after).
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { classify, isWebhookConflict, LONG_POLL_MAX_S } from '../telegram/bot-api.ts';
import type { PollResult } from './door.ts';
import { type Args, addBody, addFormParams, createArgs, integerArg, routeOf, splitTarget } from './params.ts';

export type Target =
  | {
      readonly kind: 'call';
      /** Lower case; empty: the parameter `method` names it. */
      readonly method: string;
      /** `/test` or nothing, behind the token. */
      readonly environment: string;
      /** Behind token and environment, with its slash; without the query. */
      readonly rest: string;
      /** With its question mark, as it came; or nothing. */
      readonly query: string;
    }
  | { readonly kind: 'file'; readonly environment: string; readonly rest: string; readonly query: string }
  | {
      readonly kind: 'refused';
      readonly status: number;
      readonly description: string;
      /** The wrong token that was named. */
      readonly token?: string;
    };

export type Head = Pick<IncomingMessage, 'method' | 'url' | 'headers' | 'rawHeaders'>;

const refused = (status: number, description: string): Target => ({ kind: 'refused', status, description });

/** `token`: the worker's. `port`: the gateway's own. */
export function targetOf({ method, url, headers, rawHeaders }: Head, token: string, port: number): Target {
  if (method !== 'GET' && method !== 'POST') return refused(501, '');
  if (rawHeaders.filter((it, i) => i % 2 === 0 && it.toLowerCase() === 'host').length > 1)
    return refused(400, 'Bad Request: more than one Host');
  if (!isLoopbackHost(headers.host, port))
    return refused(421, 'Misdirected Request: this is the gateway of singlepoll');
  if (headers.origin !== undefined)
    return refused(403, 'Forbidden: the gateway of singlepoll does not serve web pages');
  const { path, query } = splitTarget(url ?? '');
  const route = routeOf(path);
  if (route.kind === 'none' || route.kind === 'control') return refused(404, 'Not Found');
  if (route.token !== token)
    return { kind: 'refused', status: 401, description: 'Unauthorized', token: route.token };
  const rest = { environment: route.test ? '/test' : '', query: query === '' ? '' : `?${query}` };
  if (route.kind === 'file') {
    if (route.path.split('/').some((part) => part === '..' || part === '.')) return refused(404, 'Not Found');
    return { kind: 'file', rest: `/${route.path.split('/').map(encodeURIComponent).join('/')}`, ...rest };
  }
  if (!/^\w*$/.test(route.method)) return refused(404, 'Not Found: method not found');
  return { kind: 'call', method: route.method.toLowerCase(), rest: `/${route.method}`, ...rest };
}

/** Absent only in HTTP/1.0 (Node turns a later request without one away). */
function isLoopbackHost(host: string | undefined, port: number): boolean {
  if (host === undefined) return true;
  const match = /^(.*?)(?::(\d+))?$/.exec(host.trim().toLowerCase());
  const name = match?.[1] ?? '';
  if (match?.[2] !== undefined && Number(match[2]) !== port) return false;
  return name === 'localhost' || name === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(name);
}

/** A getUpdates needs some hundred bytes; a setWebhook may bring a certificate. */
export const READ_BYTES_MAX = 1024 * 1024;
const READ_MS_MAX = 30_000;

export class TooLarge extends Error {}

/** The whole body. Throws TooLarge; rejects where the client leaves, or dawdles for 30 s. */
export async function readSmallBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const timer = setTimeout(() => request.destroy(new Error('the body did not come in time')), READ_MS_MAX);
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > READ_BYTES_MAX) throw new TooLarge(`more than ${READ_BYTES_MAX} bytes`);
      chunks.push(chunk);
    }
  } finally {
    clearTimeout(timer);
  }
  return Buffer.concat(chunks);
}

/** Throws UnreadableRequest where the server could not read it either. */
export function readArgs(query: string, body: Buffer, headers: IncomingMessage['headers']): Args {
  const args = createArgs();
  addFormParams(query.replace(/^\?/, ''), args);
  addBody(body, headers, args, READ_BYTES_MAX);
  return args;
}

export interface PollParams {
  /** As it was asked with; null where there is none. */
  readonly offset: number | null;
  readonly limit: number;
  readonly timeoutMs: number;
}

export function readPoll(args: Args): PollParams {
  return {
    offset: args.get('offset') === '' ? null : integerArg(args, 'offset', 0),
    limit: integerArg(args, 'limit', 100, 1, 100),
    timeoutMs: integerArg(args, 'timeout', 0, 0, LONG_POLL_MAX_S) * 1_000,
  };
}

/** The body of the getUpdates that goes upstream, form-encoded. `timeoutMs` null: the worker's own. */
export function pollBody(args: Args, timeoutMs: number | null): string {
  const pairs: string[] = [];
  for (const [name, value] of args.entries()) {
    if (name === 'method' || (name === 'timeout' && timeoutMs !== null)) continue;
    pairs.push(`${encodeURIComponent(name)}=${encodeURIComponent(value)}`);
  }
  if (timeoutMs !== null) pairs.push(`timeout=${Math.floor(timeoutMs / 1_000)}`);
  return pairs.join('&');
}

export interface PollAnswer {
  readonly result: PollResult;
  /** Ids of the updates that a 200 brings; null: it is none. */
  readonly updates: readonly number[] | null;
  /** For a person, where something went wrong; may hold what came from outside. */
  readonly problem: string | null;
  /** The token is refused. */
  readonly refused: boolean;
}

export function readPollAnswer(status: number, body: Buffer): PollAnswer {
  const reply = classify<unknown>(status, body.toString('utf8'), 0);
  switch (reply.kind) {
    case 'ok':
      return Array.isArray(reply.result)
        ? { ...poll({ kind: 'updates', count: reply.result.length }), updates: idsOf(reply.result) }
        : poll({ kind: 'outage' }, 'an answer that is none to getUpdates');
    case 'refused':
      return { ...poll({ kind: 'verdict' }, reply.description), refused: status === 401 };
    case 'flood':
      return poll({ kind: 'flood', retryAfterMs: reply.retryAfterMs }, reply.description);
    case 'outage':
      return poll({ kind: 'outage' }, reply.description);
    case 'error':
      if (status !== 409) return poll({ kind: 'verdict' }, reply.description);
      return poll({ kind: isWebhookConflict(reply.description) ? 'webhook' : 'conflict' }, reply.description);
  }
}

function poll(result: PollResult, problem: string | null = null): PollAnswer {
  return { result, updates: null, problem, refused: false };
}

function idsOf(updates: readonly unknown[]): number[] {
  return updates.map((it) => Number((it as { update_id?: unknown } | null)?.update_id));
}

// What the gateway answers itself, in the Bot API's own shape (Query.cpp: ok, error_code, description), and what passes of headers.

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
  const named = new Set<string>();
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase();
    if (!without.has(name)) kept.push(raw[i]!, raw[i + 1]!);
    else if (name === 'connection')
      for (const it of raw[i + 1]!.toLowerCase().split(/\s*,\s*/)) named.add(it);
  }
  return kept.filter((_, i) => !named.has(kept[i - (i % 2)]!.toLowerCase()));
}

const JSON_TYPE = 'application/json';

export const NO_UPDATES = '{"ok":true,"result":[]}';

export function answerJson(response: ServerResponse, status: number, body: string): void {
  if (response.headersSent || response.destroyed) return;
  writeJsonHead(response, status, body);
  response.end(body);
}

/** An empty description: no body at all, as the server answers what it does not read. */
export function answerError(response: ServerResponse, status: number, description: string): void {
  if (response.headersSent || response.destroyed) return;
  // The rest of the request is not read, so the connection can't be used again.
  if (!response.req.complete || description === '') response.setHeader('connection', 'close');
  if (description !== '') return void answerJson(response, status, errorBody(status, description));
  response.writeHead(status, { 'content-length': 0 });
  response.end();
}

export function writeJsonHead(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'content-type': JSON_TYPE, 'content-length': Buffer.byteLength(body) });
}

export function errorBody(status: number, description: string): string {
  return JSON.stringify({ ok: false, error_code: status, description });
}
