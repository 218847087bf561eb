/** Why a call did not get through, for people. */
import { proxyOf } from './proxy.ts';

/** Names hosts and nothing else of URLs, which may hold secrets. */
export function explain(
  error: unknown,
  url: URL,
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const proxy = proxyHost(url, env);
  const at = proxy === null ? url.host : `the proxy ${proxy}`;
  const name = proxy === null ? url.hostname : proxy.replace(/:\d+$/, '');
  const { code, name: kind, message } = error as NodeJS.ErrnoException;
  if (kind === 'TimeoutError') return `${at} did not answer in time`;
  // undici tells the status only there.
  const refusal = proxy === null ? null : /Proxy response \((\d+)\)/.exec(message)?.[1];
  if (refusal === '407')
    return `${at} wants other credentials, or some (407): HTTPS_PROXY=http://USER:PASSWORD@${proxy}`;
  if (refusal) return `${at} does not let us through to ${url.host} (${refusal})`;
  const causes: Record<string, string> = {
    ECONNREFUSED: `nothing listens at ${at} (ECONNREFUSED)`,
    ENOTFOUND: `no such host: ${name} (ENOTFOUND)`,
    EAI_AGAIN: `the name ${name} could not be looked up (EAI_AGAIN)`,
    ECONNRESET: `${at} closed the connection (ECONNRESET)`,
    UND_ERR_SOCKET: `${at} closed the connection`,
    UND_ERR_CONNECT_TIMEOUT: `${at} could not be reached in time`,
  };
  return (code && causes[code]) || `${at}: ${code ?? message}`;
}

function proxyHost(url: URL, env: Readonly<Record<string, string | undefined>>): string | null {
  const proxy = proxyOf(url, env);
  if (proxy === null) return null;
  return URL.canParse(proxy) ? new URL(proxy).host : '?';
}
