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
  const raw = Buffer.from(spaced, 'utf8');
  // In place: what is decoded is never longer.
  let to = 0;
  for (let from = 0; from < raw.length; from++, to++) {
    const high = raw[from] === 0x25 ? hexDigit(raw[from + 1]) : -1;
    const low = high < 0 ? -1 : hexDigit(raw[from + 2]);
    if (low < 0) raw[to] = raw[from]!;
    else {
      raw[to] = high * 16 + low;
      from += 2;
    }
  }
  return raw.toString('utf8', 0, to);
}

function hexDigit(byte: number | undefined): number {
  if (byte === undefined) return -1;
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
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
