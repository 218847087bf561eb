/** Which answer a request gets. Pure: no socket, no clock. */
import { isIP } from 'node:net';
import { METRICS_TYPE } from './metrics.ts';
import { PAGE_POLICY } from './page.ts';
import type { Readiness } from './ready.ts';

export interface Asked {
  readonly method: string;
  /** As it stands in the request line. */
  readonly target: string;
  readonly host: string | undefined;
}

export interface Answered {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface Site {
  /** Only this machine reaches it. */
  readonly loopback: boolean;
  readonly readiness: () => Readiness;
  readonly metrics: () => string;
  readonly page: (refreshes: boolean) => string;
}

const TEXT_TYPE = 'text/plain; charset=utf-8';

/** Not to be kept, framed, guessed at or fetched by pages from elsewhere. */
const COMMON = {
  'Cache-Control': 'no-store',
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  'X-Robots-Tag': 'noindex',
};

/** The body of a HEAD is the caller's to leave out. */
export function respond({ method, target, host }: Asked, site: Site): Answered {
  if (method !== 'GET' && method !== 'HEAD')
    return text(405, 'read-only: GET and HEAD', { Allow: 'GET, HEAD' });
  const [path, query = ''] = target.split('?', 2);
  switch (path) {
    case '/healthz':
      return text(200, 'ok');
    case '/readyz': {
      const { ready, why } = site.readiness();
      return text(ready ? 200 : 503, `${ready ? 'ready' : 'not ready'}: ${why}`);
    }
    case '/metrics':
      if (site.loopback && !isLocalName(host)) return misdirected();
      return { status: 200, headers: { ...COMMON, 'Content-Type': METRICS_TYPE }, body: site.metrics() };
    case '/': {
      if (site.loopback && !isLocalName(host)) return misdirected();
      const refreshes = new URLSearchParams(query).get('refresh') !== 'off';
      return {
        status: 200,
        headers: {
          ...COMMON,
          'Content-Security-Policy': PAGE_POLICY,
          'Content-Type': 'text/html; charset=utf-8',
        },
        body: site.page(refreshes),
      };
    }
    default:
      return text(404, 'not found; there are /, /healthz, /readyz and /metrics');
  }
}

function text(status: number, body: string, more: Readonly<Record<string, string>> = {}): Answered {
  return { status, headers: { ...COMMON, 'Content-Type': TEXT_TYPE, ...more }, body: `${body}\n` };
}

/**
 * DNS rebinding: a page from elsewhere gives its own name our address, and its visitor's browser reads us for it. The browser
 * still says the name.
 */
function misdirected(): Answered {
  return text(421, 'open it by address or as localhost: this endpoint is for this machine only');
}

/** No name at all: no browser. */
function isLocalName(host: string | undefined): boolean {
  if (host === undefined) return true;
  const name = host.trim().toLowerCase().replace(/:\d*$/, '').replace(/\.$/, '');
  if (name === 'localhost' || name.endsWith('.localhost')) return true;
  return isIP(/^\[(.*)\]$/.exec(name)?.[1] ?? name) !== 0;
}
