/**
 * Node's own HTTP client behind the interface of undici's `dispatch`, for a gateway that has little to carry: it is there already
 * (the supervisor's own calls, the gateway's server), where undici takes 4 MB more (`npm run bench -- idle`). For bodies that are
 * in memory; each call takes two to three times what it takes undici.
 */
import type { Agent, ClientRequest, IncomingMessage, RequestOptions } from 'node:http';
import { connect, type Socket, type TcpNetConnectOpts } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import { forget } from './forget.ts';

export interface QuietClientOptions {
  readonly root: URL;
  /** Calls that can be under way at once; more wait their turn. */
  readonly connections: number;
  readonly connectMs: number;
  /** An idle connection is closed after this, or when the server's own limit nears. */
  readonly keepAliveMs: number;
}

export interface QuietClient extends Pick<Dispatcher, 'dispatch'> {
  /** What is under way goes on; no connection is kept for later. */
  retire(): void;
  close(): void;
}

type Handler = Dispatcher.DispatchHandler;

/** Opens nothing yet. Headers of a call are flat, [name, value, name …]; its body is a Buffer, a string, or null. */
export async function openQuietClient(options: QuietClientOptions): Promise<QuietClient> {
  const { root, connections, connectMs, keepAliveMs } = options;
  const secure = root.protocol === 'https:';
  const { request, Agent: HttpAgent } = secure ? await import('node:https') : await import('node:http');
  // Its time-out ends idle connections only: nobody listens to that of a call.
  const agent: Agent = new HttpAgent({ keepAlive: true, maxSockets: connections, timeout: keepAliveMs });
  if (secure) keepBelow(agent as unknown as Connecting, connectMs);

  return {
    dispatch({ method, path, headers, body }, handler) {
      const asked = request({
        agent,
        method,
        path,
        host: root.hostname.replace(/^\[|\]$/g, ''),
        port: root.port || (secure ? 443 : 80),
        headers: withLength(headers as readonly string[], root.host, body as Buffer | string | null),
        setHost: false,
      } as unknown as RequestOptions);
      const controller = carry(asked, handler);
      whenConnected(asked, connectMs, () => {
        // The last moment to think better of it: until then not a byte has left.
        handler.onRequestStart?.(controller, {});
        if (!asked.destroyed) asked.end(body ?? undefined);
      });
      return true;
    },
    retire() {
      agent.maxFreeSockets = 0;
      for (const socket of Object.values(agent.freeSockets).flat()) socket?.destroy();
    },
    close: () => agent.destroy(),
  };
}

/** By TLS connection, which hides it: Node can reset only a TCP connection. */
const below = new WeakMap<Duplex, Socket>();

interface Connecting {
  createConnection(
    options: TcpNetConnectOpts & { socket?: Socket },
    done: (error: Error | null, socket?: Duplex) => void,
  ): Duplex | undefined;
}

/** A call is given its connection when that is secure. */
function keepBelow(agent: Connecting, ms: number): void {
  const { createConnection } = agent;
  agent.createConnection = (options, done) => {
    const socket = connect(options);
    const timer = setTimeout(() => socket.destroy(late()), ms).unref();
    const end = (error: Error | null, secured?: Duplex) => {
      clearTimeout(timer);
      done(error, secured);
    };
    socket.once('error', end).once('connect', () => {
      socket.off('error', end);
      const secured = createConnection.call(agent, { ...options, socket }, () => {}) as Duplex;
      below.set(secured, socket);
      secured.once('error', end).once('secureConnect', () => {
        secured.off('error', end);
        end(null, secured);
      });
    });
    return undefined;
  };
}

const belowOf = (socket: Socket): Socket => below.get(socket) ?? socket;

function withLength(headers: readonly string[], host: string, body: Buffer | string | null): string[] {
  const all = ['host', host, ...headers];
  const named = headers.some((it, i) => i % 2 === 0 && it.toLowerCase() === 'content-length');
  if (body !== null && !named) all.push('content-length', String(Buffer.byteLength(body)));
  return all;
}

const late = (): Error => Object.assign(new Error('no connection in time'), { code: 'ETIMEDOUT' });

function whenConnected(asked: ClientRequest, ms: number, go: () => void): void {
  asked.once('socket', (socket) => {
    if (!socket.connecting) return go();
    const timer = setTimeout(() => asked.destroy(late()), ms).unref();
    socket.once('connect', () => {
      clearTimeout(timer);
      go();
    });
    socket.once('close', () => clearTimeout(timer));
  });
}

/** Tells the handler of an answer, and of its end or failure once. */
function carry(asked: ClientRequest, handler: Handler): Dispatcher.DispatchController {
  let answer: IncomingMessage | null = null;
  let over = false;
  let givenUp: Error | null = null;
  const controller = {
    abort(reason: Error) {
      // Its connection may be another call's by now.
      if (over) return;
      givenUp ??= reason;
      if (asked.socket) forget(belowOf(asked.socket));
      asked.destroy(reason);
    },
    pause: () => void answer?.pause(),
    resume: () => void answer?.resume(),
    get rawHeaders() {
      return answer?.rawHeaders ?? null;
    },
  } as unknown as Dispatcher.DispatchController;
  const fail = (error: Error) => {
    if (over) return;
    over = true;
    handler.onResponseError?.(controller, givenUp ?? error);
  };
  asked.on('error', fail);
  // Nothing is left to hope for: also where an answer that changes the protocol (101), or an end of ours, is no error to Node.
  asked.on('close', () => fail(cutOff()));
  asked.on('upgrade', (_response, socket) => void socket.destroy());
  asked.on('response', (response) => {
    answer = response;
    response.on('error', fail);
    response.on('close', () => fail(cutOff()));
    handler.onResponseStart?.(controller, response.statusCode ?? 0, response.headers, response.statusMessage);
    response.on('data', (chunk: Buffer) => {
      if (!over) handler.onResponseData?.(controller, chunk);
    });
    response.on('end', () => {
      if (over) return;
      over = true;
      handler.onResponseEnd?.(controller, {});
    });
  });
  return controller;
}

function cutOff(): Error {
  return Object.assign(new Error('the connection was closed'), { code: 'ECONNRESET' });
}
