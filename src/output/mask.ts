/** Interim. */
export function maskText(text: string, tokens: readonly string[]): string {
  let out = text;
  for (const token of tokens) out = out.replaceAll(token, `${token.split(':')[0]}:…`);
  return out.replace(/(\d{5,})(:|%3A)[A-Za-z0-9_-]{20,}/gi, '$1:…');
}
