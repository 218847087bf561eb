/**
 * How the supervisor's few calls get to the Bot API: one kept-alive connection of Node's own client, which costs an idle
 * supervisor 1 to 4 MB where undici costs 20 to 28 (`npm run bench -- client`). Node's client knows no proxies; where one is
 * set for this root, undici's does it, loaded then only.
 */
import type { Agent, IncomingMessage, RequestOptions } from 'node:http';
import { proxyOf } from './proxy.ts';

export interface Answer {
  readonly status: number;
  readonly text: string;
  /** The header Retry-After, as it came. */
  readonly retryAfter: string | null;
  /** Status line and headers on the wire; null where they went through a proxy's client. */
  readonly headerBytes: number | null;
}

export interface Transport {
  /** POSTs. Rejects with the system's error, or the signal's reason. */
  post(path: string, body: string, signal: AbortSignal): Promise<Answer>;
  close(): void;
}

const BODY_BYTES_MAX = 4 * 1024 * 1024;
const HEADERS = { 'content-type': 'application/json', 'user-agent': 'singlepoll' };

/** Opens nothing yet. `headers`: in place of those for JSON, or beside them. */
export async function openTransport(
  root: URL,
  env: Readonly<Record<string, string | undefined>>,
  more: Readonly<Record<string, string>> = {},
): Promise<Transport> {
  const headers = { ...HEADERS, ...more };
  if (proxyOf(root, env)) {
    const { openProxyTransport } = await import('./proxy-transport.ts');
    return openProxyTransport(root, headers, BODY_BYTES_MAX);
  }
  const { request, Agent: HttpAgent } = root.protocol === 'https:' ? await secure() : await clear();
  const agent: Agent = new HttpAgent({ keepAlive: true, maxSockets: 4, timeout: 30_000 });
  return {
    post: (path, body, signal) =>
      new Promise((resolve, reject) => {
        const options: RequestOptions = {
          method: 'POST',
          headers: { ...headers, 'content-length': Buffer.byteLength(body) },
          agent,
          path,
          signal,
        };
        const asked = request(root, options, (response) => {
          readAll(response).then(
            (text) =>
              resolve({
                ...{ status: response.statusCode ?? 0, text },
                retryAfter: response.headers['retry-after'] ?? null,
                headerBytes: headerBytesOf(response),
              }),
            (error: unknown) => reject(signal.aborted ? signal.reason : error),
          );
        });
        asked.on('error', (error) => reject(signal.aborted ? signal.reason : error));
        asked.end(body);
      }),
    close: () => agent.destroy(),
  };
}

/** `HTTP/1.1 200 OK`, then `name: value` each with its line's end, then an empty line. */
function headerBytesOf({ statusMessage, rawHeaders }: IncomingMessage): number {
  const status = 'HTTP/1.1 200 '.length + (statusMessage ?? '').length + 2;
  return rawHeaders.reduce((sum, text) => sum + Buffer.byteLength(text, 'latin1') + 2, status) + 2;
}

// Each is loaded only for its own protocol: TLS alone is 1 MB.
const secure = () => import('node:https');
const clear = () => import('node:http');

async function readAll(response: IncomingMessage): Promise<string> {
  let text = '';
  response.setEncoding('utf8');
  for await (const chunk of response) {
    text += chunk as string;
    if (text.length > BODY_BYTES_MAX) throw new Error('an answer of more than 4 MiB');
  }
  return text;
}
