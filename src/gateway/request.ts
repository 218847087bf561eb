/**
 * What a request to the gateway asks for, and whether that is allowed: only with the worker's own token, in the forms that the Bot API server
 * knows, and for programs (Host or Origin give away a web page that has found the port).
 * Sources: tdlib/telegram-bot-api Client.cpp (process_get_updates_query), Query.cpp (error shapes).
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { LONG_POLL_MAX_S } from '../telegram/bot-api.ts';
import type { PollWay, Way } from './front.ts';
import { type Args, integerArg, routeOf, splitTarget } from './params.ts';

export type Target =
  | {
      readonly kind: 'call' | 'file';
      /** In lower case; empty for a file. */
      readonly method: string;
      /** What follows the token: `/test` or nothing. */
      readonly environment: string;
      /** Everything after the token, to be sent upstream. */
      readonly rest: string;
      readonly query: string;
    }
  | {
      readonly kind: 'refused';
      readonly status: number;
      readonly description: string;
      /** The token in the path, where it is not the worker's; empty where there is none. Undefined: the refusal has another reason. */
      readonly token: string | undefined;
    };

/** How a request came, and its path, or its whole URL for `other-host`. */
interface Asked {
  readonly by: PollWay | 'other-host';
  readonly url: string;
}

/**
 * A program that uses the gateway as its proxy writes whole URLs, some instead of CONNECT (axios before 1.16), or names the other
 * host only in its Host header (PHP). `led`: the host whose calls are led here, and whether Host counts; null: none are led here.
 */
export function askedOf(
  { url = '', headers, socket }: Pick<IncomingMessage, 'url' | 'headers' | 'socket'>,
  way: Way,
  led: { readonly host: string; readonly byHost: boolean } | null,
): Asked {
  if (led === null) return { by: way, url };
  if (/^https?:/i.test(url) && URL.canParse(url)) {
    const { hostname, protocol, port, pathname, search } = new URL(url);
    const isHost = hostname === led.host && protocol === 'https:' && port === '';
    return isHost ? { by: 'absolute', url: `${pathname}${search}` } : { by: 'other-host', url };
  }
  const named = headers.host?.toLowerCase() ?? '';
  // Another service of this machine has another port.
  const isHere = LOOPBACK.test(named) && named.endsWith(`:${socket.localPort}`);
  if (!led.byHost || way !== 'plain' || named === '' || isHere) return { by: way, url };
  return { by: 'other-host', url: `http://${named}${url}` };
}

const refused = (status: number, description: string, token?: string): Target => ({
  kind: 'refused',
  ...{ status, description, token },
});
const LOOPBACK = /^(?:localhost|\[::1\]|127(?:\.\d{1,3}){3})(?::\d+)?$/i;

/** `token` is the worker's. */
export function targetOf(
  { method, headers }: Pick<IncomingMessage, 'method' | 'headers'>,
  { by, url }: Asked,
  token: string,
): Target {
  // A request that a hook or a proxy variable leads here does not come from a web page.
  const isPlain = by === 'plain';
  if (isPlain && headers.host !== undefined && !LOOPBACK.test(headers.host))
    return refused(421, 'Misdirected Request: this is the gateway of singlepoll');
  if (isPlain && headers.origin !== undefined)
    return refused(403, 'Forbidden: the gateway of singlepoll does not serve web pages');
  const { path, query } = splitTarget(url);
  const route = routeOf(path);
  if (route.kind === 'none' || route.kind === 'control') return refused(404, 'Not Found', '');
  if (route.token !== token) return refused(401, 'Unauthorized', route.token);
  if (method !== 'GET' && method !== 'POST') return refused(501, 'Not Implemented');
  const environment = route.test ? '/test' : '';
  const asked = query === '' ? '' : `?${query}`;
  if (route.kind === 'file') {
    const parts = route.path.split('/');
    if (parts.some((part) => part === '..' || part === '.')) return refused(404, 'Not Found');
    const rest = `${environment}/${parts.map(encodeURIComponent).join('/')}${asked}`;
    return { kind: 'file', method: '', environment, rest, query };
  }
  if (!/^\w+$/.test(route.method)) return refused(404, 'Not Found: method not found');
  const rest = `${environment}/${route.method}${asked}`;
  return { kind: 'call', method: route.method.toLowerCase(), environment, rest, query };
}

/** `offset`: null if the request has none. */
export function readPoll(args: Args) {
  return {
    offset: args.get('offset') === '' ? null : integerArg(args, 'offset', 0),
    limit: integerArg(args, 'limit', 100, 1, 100),
    timeoutMs: integerArg(args, 'timeout', 0, 0, LONG_POLL_MAX_S) * 1_000,
  };
}

/** The body of the getUpdates that goes upstream, form-encoded. */
export function pollBody(args: Args, timeoutMs: number): string {
  const body = new URLSearchParams([...args.entries()]);
  body.set('timeout', String(Math.floor(timeoutMs / 1_000)));
  return body.toString();
}

export const NO_UPDATES = '{"ok":true,"result":[]}';

export function answerJson(response: ServerResponse, status: number, body: string | Buffer): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  });
  response.end(body);
}

/** Answers in the Bot API's own form (Query.cpp: ok, error_code, description). */
export function answerError(response: ServerResponse, status: number, description: string): void {
  if (response.headersSent || response.destroyed) return;
  // The rest of the request is not read, so the connection can't be used again.
  if (!response.req.complete) response.setHeader('connection', 'close');
  answerJson(response, status, errorBody(status, description));
}

export function errorBody(status: number, description: string): string {
  return JSON.stringify({ ok: false, error_code: status, description });
}
