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
    if (without.has(name)) {
      // A connection may name further headers of its own.
      if (name === 'connection') named = [...(named ?? []), ...raw[i + 1]!.toLowerCase().split(/\s*,\s*/)];
      continue;
    }
    kept.push(raw[i]!, raw[i + 1]!);
  }
  const own = named?.filter((name) => name !== 'close' && name !== 'keep-alive');
  if (!own || own.length === 0) return kept;
  return kept.filter((_, i) => !own.includes(kept[i - (i % 2)]!.toLowerCase()));
}
