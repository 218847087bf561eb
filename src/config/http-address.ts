/** `--http`: where the health endpoint listens. A port alone means loopback: being seen from outside has to be asked for. */
import { isIP } from 'node:net';
import { type Parsed, parsed, unparsed } from './parsed.ts';

export interface HttpAddress {
  /** An IP address, without brackets. */
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
}

export const HTTP_ACCEPTED =
  'a port, or IP:PORT, such as 8080, 127.0.0.1:8080, 0.0.0.0:8080 (every network of this machine) or [::1]:8080';

const PORT_MAX = 65_535;

export function parseHttpAddress(text: string): Parsed<HttpAddress | null> {
  const trimmed = text.trim();
  if (/^https?:\/\//i.test(trimmed)) return unparsed('it is a URL, not an address to listen at');
  const [, host = '', digits] = /^(?:(.*):)?(\d+)$/.exec(trimmed) ?? [];
  if (digits === undefined) return unparsed('it does not end in a port');
  const port = Number(digits);
  if (port > PORT_MAX) return unparsed('there is no such port');
  if (host === '' || host.toLowerCase() === 'localhost') return parsed({ host: '127.0.0.1', port });
  const inBrackets = /^\[(.*)\]$/.exec(host)?.[1];
  if (inBrackets !== undefined)
    return isIP(inBrackets) === 6
      ? parsed({ host: inBrackets, port })
      : unparsed('in the brackets stands no IPv6 address');
  if (isIP(host) === 4) return parsed({ host, port });
  if (host.includes(':')) return unparsed('an IPv6 address stands in brackets');
  return unparsed('in front of the port stands no IP address');
}

/** Only processes of this machine reach it. */
export function isLoopback({ host }: HttpAddress): boolean {
  return host.startsWith('127.') || host === '::1' || /^::ffff:127\./i.test(host);
}

/** `127.0.0.1:8080`, `[::1]:8080`. */
export function showHttpAddress({ host, port }: HttpAddress): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}
