/** Which proxy stands between us and a root, by the variables that everybody knows, read as undici reads them. */

/** Null: none. Loopback never goes through one. */
export function proxyOf(root: URL, env: Readonly<Record<string, string | undefined>>): string | null {
  const host = root.hostname;
  if (host === 'localhost' || host === '[::1]' || /^127\./.test(host)) return null;
  const secure = root.protocol === 'https:';
  const proxy = (secure && (env.https_proxy ?? env.HTTPS_PROXY)) || (env.http_proxy ?? env.HTTP_PROXY);
  if (!proxy) return null;
  const exempt = env.no_proxy ?? env.NO_PROXY ?? '';
  const port = root.port || (secure ? '443' : '80');
  const isDirect =
    exempt.trim() === '*' || exempt.split(/[,\s]/).some((entry) => isExempt(entry, host, port));
  return isDirect ? null : proxy;
}

function isExempt(entry: string, host: string, port: string): boolean {
  const [, name = '', onlyPort = port] = /^(.+?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? [];
  const domain = name.replace(/^\*?\./, '');
  return domain !== '' && onlyPort === port && (host === domain || host.endsWith(`.${domain}`));
}
