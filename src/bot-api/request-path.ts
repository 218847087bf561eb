/**
 * From a request target to token and method, as the server splits it. Pure.
 * Source: tdlib/telegram-bot-api HttpConnection::handle; tdlib/td HttpReader::parse_url, urldecode.
 */

export type Route =
  | { readonly kind: 'api'; readonly token: string; readonly test: boolean; readonly method: string }
  | { readonly kind: 'file'; readonly token: string; readonly test: boolean; readonly path: string }
  | { readonly kind: 'control'; readonly path: string }
  | { readonly kind: 'none'; readonly description: string };

/** Percent-decodes bytes; a broken escape stays as it is. */
export function percentDecode(text: string, plusIsSpace: boolean): string {
  const spaced = plusIsSpace ? text.replaceAll('+', ' ') : text;
  if (!spaced.includes('%')) return spaced;
  const bytes: number[] = [];
  const raw = Buffer.from(spaced, 'utf8');
  for (let i = 0; i < raw.length; i++) {
    const hex = raw[i] === 0x25 ? raw.toString('latin1', i + 1, i + 3) : '';
    if (/^[0-9a-f]{2}$/i.test(hex)) {
      bytes.push(Number.parseInt(hex, 16));
      i += 2;
    } else bytes.push(raw[i] ?? 0);
  }
  return Buffer.from(bytes).toString('utf8');
}

/** Splits a request target into its path (decoded) and its query (not decoded); a fragment ends the path only. */
export function splitTarget(target: string): { path: string; query: string } {
  const end = target.search(/[?#]/);
  if (end === -1) return { path: percentDecode(target, false), query: '' };
  return {
    path: percentDecode(target.slice(0, end), false),
    query: target[end] === '?' ? target.slice(end + 1) : '',
  };
}

const NOT_FOUND = { kind: 'none', description: 'Not Found' } as const;

/** Says what a decoded path asks for. */
export function routeOf(path: string): Route {
  if (!path.startsWith('/'))
    return { kind: 'none', description: 'Not Found: absolute URI is specified in the Request-Line' };
  if (path === '/sandbox' || path.startsWith('/sandbox/')) return { kind: 'control', path: path.slice(8) };
  const match = /^\/(file\/)?bot([^/]*)(\/test)?\/(.*)$/s.exec(path);
  if (!match) return NOT_FOUND;
  const [, file, token = '', test, rest = ''] = match;
  // `/test` directly before something other than a slash is refused, not taken for a method.
  if (test === undefined && rest.startsWith('test')) return NOT_FOUND;
  return file
    ? { kind: 'file', token, test: test !== undefined, path: rest }
    : { kind: 'api', token, test: test !== undefined, method: rest };
}
