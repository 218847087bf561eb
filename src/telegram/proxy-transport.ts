/** The same calls through the proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name: undici's work. */
import type { Socket } from 'node:net';
import { buildConnector, type Dispatcher, EnvHttpProxyAgent, Pool, request } from 'undici';
import type { Transport } from './transport.ts';

export interface ProxyOptions {
  /** Calls that can be under way at once; as many as there are, by default. */
  readonly connections?: number;
  /** Hears of every connection to the proxy. */
  readonly onSocket?: (socket: Socket) => void;
}

/** For the gateway: no time-outs of its own. */
export function openProxyDispatcher({ connections, onSocket }: ProxyOptions = {}): Dispatcher {
  const connect = buildConnector({});
  return new EnvHttpProxyAgent({
    ...{ headersTimeout: 0, bodyTimeout: 0, ...(connections && { connections }) },
    clientFactory: (proxy) =>
      new Pool(proxy, {
        connect: (options, done) =>
          connect(options, (...[error, socket]) => {
            if (socket) onSocket?.(socket);
            done(...([error, socket] as Parameters<typeof done>));
          }),
      }),
  });
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
        headerBytes: null,
      };
    },
    close: () => void dispatcher.destroy(),
  };
}
