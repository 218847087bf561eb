/**
 * `--http`: opens the port before anything else, since platforms check for one, and shows the supervisor's own data. Clients may be slow,
 * numerous or hostile: heads are limited in size and time, a connection carries one request, and too many push out the oldest, so that
 * health checks still get through.
 */
import { createServer } from 'node:http';
import { isIP } from 'node:net';
import type { Config } from '../config/load.ts';
import { type HttpAddress, isLoopback, showHttpAddress } from '../config/values.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { listenAt, portHolder } from '../machine/sockets.ts';
import { maskText } from '../output/mask.ts';
import { pidWords } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import type { Summary } from '../supervisor/history.ts';
import type { Tally } from '../supervisor/record.ts';
import type { StatusDocument } from '../supervisor/status.ts';
import { METRICS_TYPE, metricsText, type Readiness, readiness } from './metrics.ts';
import { discreet, discreetDay, PAGE_POLICY, statusPage } from './page.ts';

interface HttpSource {
  readonly status: () => StatusDocument;
  /** The last day; null: unknown. */
  readonly day: () => Summary | null;
}

/** Opens the port if it is free. Throws SinglepollError 78 if it can never be opened. */
export async function openHttpService(
  config: Config,
  address: HttpAddress,
  report: Report,
  brief: { readonly record: { readonly tally: Tally }; document(): StatusDocument },
) {
  const { token } = config;
  const tokens = token === null ? [] : [token];
  const isLocal = isLoopback(address);
  /** Before the run nothing but the brief status is to be seen. */
  let source: HttpSource = { status: () => brief.document(), day: () => null };
  let listening: Listening | null = null;
  const site = {
    loopback: isLocal,
    readiness: () => readiness(brief.document(), config.readyInStandby),
    // Masks any token that got in.
    metrics: () => maskText(metricsText(source.status(), brief.record.tally), tokens),
    page(refreshes: boolean): string {
      const [doc, day] = [source.status(), source.day()];
      const shown = isLocal ? ([doc, day] as const) : ([discreet(doc), day && discreetDay(day)] as const);
      return maskText(statusPage(...shown, Date.now(), refreshes), tokens);
    },
  };

  /** False: the port is taken. */
  async function open(): Promise<boolean> {
    try {
      listening = await listenHttp(address, (asked) => respond(asked, site));
      return true;
    } catch (error) {
      const { code = '', message } = error as NodeJS.ErrnoException;
      if (code === 'EADDRINUSE') return false;
      const known: Readonly<Record<string, string>> = {
        EACCES: 'this user may not open it (ports below 1024 are root’s)',
        EADDRNOTAVAIL: 'this machine has no such address',
      };
      throw new SinglepollError(
        EXIT.config,
        `the health endpoint can't be opened at ${showHttpAddress(address)} (--http): ${known[code] ?? (code || message)}`,
        'singlepoll start --http 8080 …    # on this machine only; 0.0.0.0:8080 on all of its networks',
      );
    }
  }

  /** Tells where it is open, after the first line of `start`, which names the bot. */
  function announce(): void {
    if (!listening) return;
    const place = `http://${showHttpAddress(listening.address)}: /, /healthz, /readyz, /metrics`;
    const seenBy = isLocal ? '' : '; whoever reaches this port can read the status, without a password';
    const { port } = listening.address;
    report.line('http', `open at ${place}${seenBy}`, isLocal ? 'good' : 'warn', { port });
  }

  await open();

  return {
    announce,
    isOpen: () => listening !== null,
    shows(it: HttpSource): void {
      source = it;
    },
    /**
     * Opens the port once this is the only supervisor of the bot: one that was replaced has closed it. Throws SinglepollError 78 if
     * another program has it.
     */
    async insists(): Promise<void> {
      if (listening) return;
      if (!(await open()))
        throw new SinglepollError(
          EXIT.config,
          `the health endpoint can't be opened: port ${address.port} (--http ${showHttpAddress(address)}) is taken by ${await holderWords(address.port)}`,
          'singlepoll start --http PORT …    # another port, or stop what has this one',
        );
      announce();
    },
    close(): void {
      listening?.close();
      listening = null;
    },
  };
}

/** `pid 4711 (nginx)`. */
async function holderWords(port: number): Promise<string> {
  const pid = await portHolder(port);
  return typeof pid === 'number' ? pidWords(pid) : 'another program';
}

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

type Listening = Awaited<ReturnType<typeof listenHttp>>;

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
  const { close, ...actual } = await listenAt(server, { host, port }, CROWD);
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
