/**
 * What the server thinks of a webhook url. Pure; resolves no names and connects to nothing.
 * Source: tdlib/td HttpUrl.cpp parse_url; telegram-bot-api Client::do_set_webhook, WebhookActor::start_up, check_ip_address.
 */

const PORTS = new Set([80, 88, 443, 8443]);
const RESERVED = /^(0|10|127|169\.254|172\.(1[6-9]|2\d|3[01])|192\.168)\./;
const IPV4 = /^(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}$/;

function parse(text: string): { secure: boolean; host: string; port: number } | null {
  const match = /^(?:([^:/?#@[\]]*):\/\/)?([^/?#]*)/s.exec(text);
  const protocol = (match?.[1] ?? 'https').toLowerCase();
  if (!match || (protocol !== 'http' && protocol !== 'https')) return null;
  const parts = /^(?:(.*)@)?([^@]*?)(?::([^:\]]*))?$/s.exec(match[2] ?? '');
  const host = (parts?.[2] ?? '').toLowerCase();
  const port = parts?.[3] === undefined ? 0 : /^\d+$/.test(parts[3]) ? Number(parts[3]) || -1 : -1;
  if (port < 0 || port > 65_535 || host === '' || host === '.') return null;
  const wellFormed = host.startsWith('[')
    ? /^\[[0-9a-f:.]+\]$/.test(host)
    : /^(?:[a-z0-9._!$,~*'();&+=\u0080-\uffff-]|%[0-9a-f]{2})+$/.test(host);
  if (!wellFormed) return null;
  return { secure: protocol === 'https', host, port: port || (protocol === 'https' ? 443 : 80) };
}

function badAddress(address: string): string | null {
  if (!IPV4.test(address)) return address.includes(':') ? 'IPv6-only addresses are not allowed' : null;
  return RESERVED.test(address) ? `IP address ${address} is reserved` : null;
}

/**
 * Judges a setWebhook. `refused`: 400 before anything is set up; `failed`: the url is taken, then fails its check
 * (`bad webhook: …`), which leaves the bot without a webhook. Both null: fine.
 */
export function judgeWebhook(
  url: string,
  ipAddress: string,
  secretToken: string,
): { refused: string | null; failed: string | null } {
  const parsed = parse(url);
  if (!parsed) return { refused: 'Bad Request: invalid webhook URL specified', failed: null };
  if (Buffer.byteLength(secretToken) > 256)
    return { refused: 'Bad Request: secret token is too long', failed: null };
  if (!/^[A-Za-z0-9_-]*$/.test(secretToken))
    return { refused: 'Bad Request: secret token contains unallowed characters', failed: null };
  return { refused: null, failed: reason(parsed, ipAddress) };
}

function reason(url: { secure: boolean; host: string; port: number }, ipAddress: string): string | null {
  if (!url.secure) return 'Bad Request: bad webhook: An HTTPS URL must be provided for webhook';
  if (!PORTS.has(url.port))
    return 'Bad Request: bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443';
  if (ipAddress !== '' && !IPV4.test(ipAddress) && !ipAddress.includes(':'))
    return 'Bad Request: bad webhook: Invalid IP address specified';
  const host = url.host === 'localhost' ? '127.0.0.1' : url.host.replace(/^\[|\]$/g, '');
  const bad = badAddress(ipAddress === '' ? host : ipAddress);
  return bad === null ? null : `Bad Request: bad webhook: ${bad}`;
}
