/**
 * The listening socket of the health endpoint, and the answer to each request. Clients may be slow, numerous or hostile: heads are limited in
 * size and time, a connection carries one request, and too many push out the oldest, so that health checks still get through.
 */
import { createServer } from 'node:http';
import { isIP } from 'node:net';
import type { HttpAddress } from '../config/values.ts';
import { listenAt } from '../machine/sockets.ts';
import { METRICS_TYPE, type Readiness } from './metrics.ts';
import { PAGE_POLICY } from './page.ts';

/** `target`: in the request line, unchanged. */
export type Asked = { readonly method: string; readonly target: string; readonly host: string | undefined };
export type Answered = ReturnType<typeof reply>;

export interface Site {
  /** Only this machine can reach the endpoint. */
  readonly loopback: boolean;
  readonly readiness: () => Readiness;
  readonly metrics: () => string;
  readonly page: (refreshes: boolean) => string;
}

/** `connectionsCheckingInterval`: how often slow heads are looked for. A Host header is required only for some pages. */
const LIMITS = {
  maxHeaderSize: 8 * 1024,
  headersTimeout: 5_000,
  requestTimeout: 5_000,
  connectionsCheckingInterval: 1_000,
  requireHostHeader: false,
};
/** How long a connection may be without a byte in either direction, as with a client that does not read. */
const IDLE_MS_MAX = 5_000;
const CROWD = 64;

export type Listening = Awaited<ReturnType<typeof listenHttp>>;

/** Rejects with the system's error. If `answer` throws, that is a 500. */
export async function listenHttp({ host, port }: HttpAddress, answer: (asked: Asked) => Answered) {
  const server = createServer(LIMITS, ({ method = 'GET', url = '/', headers }, response) => {
    let answered: Answered;
    try {
      answered = answer({ method, target: url, host: headers.host });
    } catch {
      answered = reply(500, 'internal error\n');
    }
    const body = Buffer.from(answered.body);
    response.shouldKeepAlive = false;
    response.writeHead(answered.status, { ...answered.headers, 'Content-Length': body.length });
    response.end(method === 'HEAD' ? undefined : body);
  });
  server.maxRequestsPerSocket = 1;
  server.setTimeout(IDLE_MS_MAX);
  const { sockets, close, ...actual } = await listenAt(server, host, port);
  server.on('connection', () => {
    const [oldest] = sockets;
    if (sockets.size <= CROWD || !oldest) return;
    sockets.delete(oldest);
    oldest.destroy();
  });
  return { address: { host, ...actual }, close };
}

/** The caller leaves out the body for HEAD. */
export function respond({ method, target, host }: Asked, site: Site): Answered {
  if (method !== 'GET' && method !== 'HEAD')
    return reply(405, 'read-only: GET and HEAD\n', { Allow: 'GET, HEAD' });
  const [path, query = ''] = target.split('?', 2);
  // DNS rebinding: a website lets its name resolve to our address, and a visitor's browser reads us, but sends that name as Host.
  if ((path === '/' || path === '/metrics') && site.loopback && !isLocalName(host))
    return reply(421, 'open it by address or as localhost: this endpoint is for this machine only\n');
  if (path === '/healthz') return reply(200, 'ok\n');
  if (path === '/readyz') {
    const { ready, why } = site.readiness();
    return reply(ready ? 200 : 503, `${ready ? 'ready' : 'not ready'}: ${why}\n`);
  }
  if (path === '/metrics') return reply(200, site.metrics(), { 'Content-Type': METRICS_TYPE });
  if (path !== '/') return reply(404, 'not found; there are /, /healthz, /readyz and /metrics\n');
  const refreshes = new URLSearchParams(query).get('refresh') !== 'off';
  const page = { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': PAGE_POLICY };
  return reply(200, site.page(refreshes), page);
}

/** Forbids caching, framing, sniffing and use by other sites. */
function reply(status: number, body: string, more: Readonly<Record<string, string>> = {}) {
  const headers: Readonly<Record<string, string>> = {
    'Content-Type': 'text/plain; charset=utf-8',
    'Cache-Control': 'no-store',
    'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
    'X-Robots-Tag': 'noindex',
    ...more,
  };
  return { status, headers, body };
}

/** Without a Host it is no browser. */
function isLocalName(host: string | undefined): boolean {
  if (host === undefined) return true;
  const name = host.trim().toLowerCase().replace(/:\d*$/, '').replace(/\.$/, '');
  return /(^|\.)localhost$/.test(name) || isIP(/^\[(.*)\]$/.exec(name)?.[1] ?? name) !== 0;
}
