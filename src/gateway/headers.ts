/** Which headers go through a proxy, and which belong to one connection only (RFC 9110, section 7.6.1). Pure. */

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
/** Node has answered it already. */
const NOT_UPSTREAM = new Set([...OF_ONE_CONNECTION, 'host', 'expect']);

/** Of a request, as [name, value, name, value …]. */
export function upstreamHeaders(raw: readonly string[]): string[] {
  return filtered(raw, NOT_UPSTREAM);
}

/** Of an answer. */
export function downstreamHeaders(raw: readonly (string | Buffer)[]): string[] {
  return filtered(
    raw.map((it) => (typeof it === 'string' ? it : it.toString('latin1'))),
    OF_ONE_CONNECTION,
  );
}

function filtered(raw: readonly string[], without: ReadonlySet<string>): string[] {
  const kept: string[] = [];
  let named: string[] | null = null;
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase();
    if (!without.has(name)) kept.push(raw[i]!, raw[i + 1]!);
    else if (name === 'connection' && !/^(keep-alive|close)$/i.test(raw[i + 1]!)) {
      // It may name further headers of this connection only.
      named = [...(named ?? []), ...raw[i + 1]!.toLowerCase().split(/\s*,\s*/)];
    }
  }
  if (named === null) return kept;
  const own = new Set(named);
  return kept.filter((_, i) => !own.has(kept[i - (i % 2)]!.toLowerCase()));
}
