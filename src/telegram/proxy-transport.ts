/** The same calls through the proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name: undici's work. */
import { type Dispatcher, EnvHttpProxyAgent, request } from 'undici';
import type { Transport } from './transport.ts';

/** For the gateway: no time-outs of its own. */
export function openProxyDispatcher(): Dispatcher {
  return new EnvHttpProxyAgent({ headersTimeout: 0, bodyTimeout: 0 });
}

export function openProxyTransport(
  root: URL,
  headers: Readonly<Record<string, string>>,
  bodyBytesMax: number,
): Transport {
  const dispatcher = new EnvHttpProxyAgent({ keepAliveTimeout: 4_000 });
  return {
    async post(path, body, signal) {
      const answer = await request(new URL(path, root), {
        method: 'POST',
        headers,
        body,
        signal,
        dispatcher,
      });
      let text = '';
      answer.body.setEncoding('utf8');
      for await (const chunk of answer.body) {
        text += chunk as string;
        if (text.length > bodyBytesMax) throw new Error('an answer of more than 4 MiB');
      }
      const retryAfter = answer.headers['retry-after'];
      return {
        ...{ status: answer.statusCode, text },
        retryAfter: typeof retryAfter === 'string' ? retryAfter : null,
      };
    },
    close: () => void dispatcher.destroy(),
  };
}
