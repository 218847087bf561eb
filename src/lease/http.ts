/**
 * JSON over HTTP to an engine: kept-alive connections, a time limit that destroys them, and answers that go on line by line.
 * Nothing is tried twice.
 */
import { type ClientRequest, Agent as HttpAgent, type IncomingMessage, request as overHttp } from 'node:http';
import { Agent as HttpsAgent, request as overHttps } from 'node:https';
import { createInterface } from 'node:readline';
import type { Trouble, WatchListener } from './store.ts';
import type { LeaseTls } from './url.ts';

export interface HttpCall {
  readonly method: 'GET' | 'POST' | 'PUT';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: object;
}

export interface HttpAnswer<T> {
  readonly status: number;
  /** Null where the answer is no JSON object. */
  readonly json: T | null;
}

export type Http = ReturnType<typeof openHttp>;

export interface StreamListener extends Pick<WatchListener, 'ended'> {
  /** The answer is 200, and its lines follow. Any other answer ends the stream. */
  opened?(): void;
  line(text: string): void;
}

/** A record has less than 1 KiB; an answer that tells of it, a few. */
const ANSWER_BYTES_MAX = 1024 * 1024;
/** A watch may be silent for long; this finds out that the other side is gone. */
const PROBE_AFTER_MS = 10_000;

/** `tls` is asked for each call: other certificates make other connections. */
export function openHttp(origin: string, tls: () => LeaseTls, trouble: Trouble) {
  const secure = origin.startsWith('https:');
  const agent = secure ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true });
  const open = new Set<ClientRequest>();
  let closed = false;

  function send({ method, path, headers, body }: HttpCall, onSent: () => void): ClientRequest {
    const options = {
      ...{ method, agent },
      headers: { accept: 'application/json', 'content-type': 'application/json', ...headers },
    };
    const request = secure
      ? overHttps(origin + path, { ...options, ...tls() })
      : overHttp(origin + path, options);
    open.add(request);
    request.on('close', () => open.delete(request));
    request.on('socket', (socket) => {
      socket.setKeepAlive(true, PROBE_AFTER_MS);
      if (request.reusedSocket || !socket.connecting) onSent();
      else socket.once(secure ? 'secureConnect' : 'connect', onSent);
    });
    request.end(body && JSON.stringify(body));
    return request;
  }

  return {
    /** Rejects with LeaseIoError or LeaseConfigError; any status is an answer. */
    call<T>(call: HttpCall, ms: number): Promise<HttpAnswer<T>> {
      return new Promise((resolve, reject) => {
        if (closed) throw trouble.closed();
        let sent = false;
        let late = false;
        const request = send(call, () => {
          sent = true;
        });
        const timer = setTimeout(() => {
          late = true;
          request.destroy(new Error('late'));
        }, ms);
        request.on('error', (error) => {
          reject(closed ? trouble.closed() : late ? trouble.late(ms, sent) : trouble.socket(error, sent));
        });
        request.on('close', () => clearTimeout(timer));
        request.on('response', (response: IncomingMessage) => {
          let text = '';
          response.setEncoding('utf8');
          response.on('data', (chunk: string) => {
            text += chunk;
            if (text.length > ANSWER_BYTES_MAX) request.destroy(new Error('an answer of more than 1 MiB'));
          });
          response.on('error', (error) => request.emit('error', error));
          response.on('end', () => resolve({ status: response.statusCode ?? 0, json: parseObject(text) }));
        });
      });
    },
    /** Returns what ends it, after which nothing is told. */
    stream(call: HttpCall, on: StreamListener): () => void {
      let over = false;
      let request: ClientRequest | null = null;
      const stop = () => {
        over = true;
        request?.destroy();
      };
      const end = () => {
        if (!over) on.ended();
        stop();
      };
      try {
        if (closed) throw trouble.closed();
        request = send(call, () => {});
        request.on('error', end);
        request.on('response', (response: IncomingMessage) => {
          if (response.statusCode !== 200) return end();
          if (!over) on.opened?.();
          const lines = createInterface({ input: response });
          response.on('close', end);
          lines.on('error', end);
          lines.on('line', (text) => over || text === '' || on.line(text));
        });
      } catch {
        // A call tells what is wrong.
        setImmediate(end);
      }
      return stop;
    },
    close() {
      closed = true;
      for (const request of open) request.destroy(new Error('closed'));
      agent.destroy();
    },
  };
}

export function parseObject<T>(text: string): T | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' ? (value as T | null) : null;
  } catch {
    return null;
  }
}
