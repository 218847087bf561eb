/** JSON over HTTP to an engine, on kept-alive connections. Nothing is tried twice; an abort destroys the connection. */
import * as http from 'node:http';
import * as https from 'node:https';
import { text } from 'node:stream/consumers';
import { parseObject } from '../config/files.ts';
import { PROBE_AFTER_MS } from './store.ts';
import type { LeaseTls } from './url.ts';

interface HttpCall {
  readonly method: 'GET' | 'POST' | 'PUT';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: object | undefined;
}

export type Http = ReturnType<typeof openHttp>;

/** `tls` is asked at each call; renewed certificates make new connections. */
export function openHttp(origin: string, tls: () => LeaseTls) {
  const { Agent, request } = origin.startsWith('https:') ? https : http;
  const agent = new Agent({ keepAlive: true, keepAliveInitialDelay: PROBE_AFTER_MS });

  function send(call: HttpCall, signal: AbortSignal): Promise<http.IncomingMessage> {
    const { method, path, body } = call;
    const headers = { accept: 'application/json', 'content-type': 'application/json', ...call.headers };
    return new Promise((resolve, reject) => {
      request(origin + path, { method, agent, signal, headers, ...tls() }, resolve)
        .on('error', reject)
        .end(body && JSON.stringify(body));
    });
  }

  return {
    /** Resolves with any status. `json` is null where the answer is no JSON object. */
    async call<T extends object>(call: HttpCall, signal: AbortSignal) {
      const response = await send(call, signal);
      return { status: response.statusCode ?? 0, json: parseObject<T>(await text(response)) };
    },
    /** Reads an endless answer line by line. Rejects if its status is not 200. */
    async stream(call: HttpCall, signal: AbortSignal): Promise<AsyncIterable<string>> {
      const response = await send(call, signal);
      if (response.statusCode === 200) return linesOf(response.setEncoding('utf8'));
      response.destroy();
      throw new Error(`HTTP ${response.statusCode}`);
    },
    close: () => agent.destroy(),
  };
}

async function* linesOf(chunks: AsyncIterable<string>): AsyncIterable<string> {
  let rest = '';
  for await (const chunk of chunks) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
}
