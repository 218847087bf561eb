/**
 * The supervisor's one HTTP client: Node's own, with kept-alive connections, a time limit for connecting, and the proxy that
 * HTTPS_PROXY, HTTP_PROXY and NO_PROXY name. A request that is given up resets its TCP connection: after an ordinary close the
 * kernel goes on delivering for minutes where the way is cut (net.ipv4.tcp_orphan_retries), so a poll that was given up with the
 * lease would reach Telegram when the way is mended, and throw out the poller of the machine that has taken over.
 */
import type { Agent, ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { connect, type Socket, type TcpNetConnectOpts } from 'node:net';
import type { Duplex } from 'node:stream';

type Env = Readonly<Record<string, string | undefined>>;

export interface HttpClientOptions {
  readonly root: URL;
  readonly env?: Env;
  /** Requests that can be under way at once; more wait their turn. */
  readonly connections: number;
  readonly connectTimeoutMs?: number;
}

export interface WholeRequest {
  readonly method?: 'GET' | 'POST';
  readonly path: string;
  /** Flat: name, value, name, value … */
  readonly headers: readonly string[];
  readonly body?: string;
  readonly answerBytesMax: number;
  readonly signal: AbortSignal;
  /** Asked when the connection stands, which may be long after the request was begun (a machine that slept). */
  readonly mayGo?: () => boolean;
  /** It goes out now. */
  readonly onSent?: () => void;
}

export interface WholeAnswer {
  readonly status: number;
  readonly statusMessage: string;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
}

export interface HttpClient {
  readonly proxied: boolean;
  /** Begins a request; the caller ends it, or pipes a body into it. */
  begin(method: string, path: string, headers: readonly string[]): ClientRequest;
  giveUp(request: ClientRequest, reason: Error): void;
  /** Sends a request (a POST) and reads the whole answer. Rejects with the system's error, or with the signal's reason once the connection is closed. */
  ask(request: WholeRequest): Promise<WholeAnswer>;
  close(): void;
}

const CONNECT_TIMEOUT_MS = 10_000;
/** Longer than most pauses between two polls, shorter than what servers grant an idle connection. */
const KEEP_ALIVE_MS = 30_000;

/** Opens nothing yet. */
export function openHttpClient(options: HttpClientOptions): HttpClient {
  const { root, env = process.env, connections, connectTimeoutMs = CONNECT_TIMEOUT_MS } = options;
  const secure = root.protocol === 'https:';
  const proxy = proxyOf(root, env);
  // TLS takes 1 MB, so it is loaded for its own protocol only.
  const { request, Agent: HttpAgent } = secure
    ? process.getBuiltinModule('node:https')
    : process.getBuiltinModule('node:http');
  // The agent's timeout ends idle connections only: nobody listens to the timeout of a request.
  const agent: Agent = new HttpAgent({ keepAlive: true, maxSockets: connections, timeout: KEEP_ALIVE_MS });
  const tcpOf = connectWith(agent as unknown as Connecting, { secure, proxy, root, connectTimeoutMs });

  function begin(method: string, path: string, headers: readonly string[]): ClientRequest {
    return request({
      agent,
      method,
      path,
      host: root.hostname.replace(/^\[|\]$/g, ''),
      port: root.port || (secure ? 443 : 80),
      headers: ['host', root.host, ...headers],
      setHost: false,
    });
  }

  function giveUp(call: ClientRequest, reason: Error, done = () => {}): void {
    soon(() => {
      const { socket } = call;
      const tcp = socket && !call.destroyed ? tcpOf(socket) : null;
      // Where it is not connected nothing was sent. TLS of a proxy hides the TCP connection that could be reset.
      if (tcp && !tcp.connecting && !tcp.destroyed && !('encrypted' in tcp)) tcp.resetAndDestroy();
      call.destroy(reason);
      done();
    });
  }

  /** Not in the midst of TLS's own work: Node 20 ends by SIGSEGV where a connection is reset then. */
  function soon(todo: () => void): void {
    if (secure) setImmediate(todo);
    else todo();
  }

  return {
    proxied: proxy !== null,
    begin,
    giveUp,
    ask({ method = 'POST', path, headers, body, signal, answerBytesMax, mayGo, onSent }) {
      return new Promise((resolve, reject) => {
        const length = body === undefined ? [] : ['content-length', String(Buffer.byteLength(body))];
        const call = begin(method, path, [...headers, ...length]);
        let isOver = false;
        let isAnswered = false;
        const isFirst = () => {
          if (isOver) return false;
          signal.removeEventListener('abort', abort);
          isOver = true;
          return true;
        };
        const fail = (error: Error) => {
          if (isFirst()) reject(error);
        };
        const drop = (reason: Error) => {
          if (isFirst()) giveUp(call, reason, () => reject(reason));
        };
        const abort = () => drop(signal.reason as Error);
        // Once the answer has begun, it says itself how it ends.
        call.on('error', (error) => isAnswered || fail(error));
        call.on('close', () => isAnswered || fail(cutOff()));
        call.on('response', (answer) => {
          isAnswered = true;
          readWhole(answer, answerBytesMax).then((whole) => {
            if (isFirst()) resolve(whole);
          }, fail);
        });
        if (signal.aborted) return abort();
        signal.addEventListener('abort', abort);
        whenConnected(call, secure, () => {
          if (isOver) return;
          if (mayGo && !mayGo()) return drop(new Error('given up'));
          // The question may itself have led to giving the request up.
          if (isOver) return;
          onSent?.();
          call.end(body);
        });
      });
    },
    close: () => soon(() => agent.destroy()),
  };
}

interface Connecting {
  createConnection(
    options: TcpNetConnectOpts & { socket?: Duplex },
    done: (error: Error | null, socket?: Duplex) => void,
  ): Duplex | undefined;
}

interface Way {
  readonly secure: boolean;
  readonly proxy: string | null;
  readonly root: URL;
  readonly connectTimeoutMs: number;
}

/** Has the agent connect our way; what it returns finds the TCP connection below one of TLS, which can't be reset itself. */
function connectWith(agent: Connecting, way: Way): (socket: Socket) => Socket {
  const { secure, proxy, root, connectTimeoutMs } = way;
  const { createConnection } = agent;
  const below = new WeakMap<Duplex, Socket>();

  function secured(options: TcpNetConnectOpts, tcp: Socket): Duplex {
    const socket = createConnection.call(agent, { ...options, socket: tcp }, () => {}) as Duplex;
    below.set(socket, tcp);
    tcp.on('error', (error) => socket.destroy(error));
    return limited(socket, 'secureConnect', connectTimeoutMs);
  }

  agent.createConnection = (options, done) => {
    if (proxy === null) {
      const tcp = connect(options);
      return secure ? secured(options, tcp) : limited(tcp, 'connect', connectTimeoutMs);
    }
    const authority = `${root.hostname}:${root.port || (secure ? 443 : 80)}`;
    openTunnel(new URL(proxy), authority, connectTimeoutMs, (error, tcp) => {
      if (error || !tcp) return done(error);
      if (!secure) return done(null, tcp);
      const socket = secured(options, tcp);
      socket.once('error', done);
      socket.once('secureConnect', () => {
        socket.off('error', done);
        done(null, socket);
      });
    });
    return undefined;
  };
  return (socket) => below.get(socket) ?? socket;
}

function openTunnel(
  proxy: URL,
  authority: string,
  timeoutMs: number,
  done: (error: Error | null, tcp?: Socket) => void,
): void {
  const secure = proxy.protocol === 'https:';
  const { request } = process.getBuiltinModule(secure ? 'node:https' : 'node:http');
  const headers: Record<string, string> = { host: authority };
  if (proxy.username !== '') {
    const pair = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
    headers['proxy-authorization'] = `Basic ${Buffer.from(pair).toString('base64')}`;
  }
  const call = request({
    method: 'CONNECT',
    host: proxy.hostname.replace(/^\[|\]$/g, ''),
    port: proxy.port || (secure ? 443 : 80),
    path: authority,
    headers,
    agent: false,
  });
  const timer = setTimeout(() => call.destroy(late()), timeoutMs).unref();
  const end = (error: Error | null, tcp?: Socket) => {
    clearTimeout(timer);
    done(error, tcp);
  };
  call.once('error', end);
  call.once('response', (answer) => {
    answer.resume();
    end(refusedBy(answer));
  });
  call.once('connect', (answer, tcp) => {
    call.off('error', end);
    if (answer.statusCode === 200) return end(null, tcp as Socket);
    tcp.destroy();
    end(refusedBy(answer));
  });
  call.end();
}

function refusedBy({ statusCode }: IncomingMessage): Error {
  return Object.assign(new Error('the proxy refuses'), {
    code: 'ERR_PROXY_REFUSES',
    proxyStatus: statusCode,
  });
}

function limited<T extends Duplex>(socket: T, connected: string, timeoutMs: number): T {
  const timer = setTimeout(() => socket.destroy(late()), timeoutMs).unref();
  const stop = () => clearTimeout(timer);
  socket.once(connected, stop).once('close', stop);
  return socket;
}

function whenConnected(call: ClientRequest, secure: boolean, go: () => void): void {
  call.once('socket', (socket) => {
    const isConnecting = socket.connecting || ('secureConnecting' in socket && socket.secureConnecting);
    if (!isConnecting) go();
    else socket.once(secure ? 'secureConnect' : 'connect', go);
  });
}

async function readWhole(answer: IncomingMessage, bytesMax: number): Promise<WholeAnswer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new Error(`an answer of more than ${bytesMax / 1024 / 1024} MiB`);
    chunks.push(chunk);
  }
  const { statusCode: status = 0, statusMessage = '', headers, rawHeaders } = answer;
  return { status, statusMessage, headers, rawHeaders, body: Buffer.concat(chunks) };
}

const late = (): Error => Object.assign(new Error('no connection in time'), { code: 'ETIMEDOUT' });

const cutOff = (): Error => Object.assign(new Error('the connection was closed'), { code: 'ECONNRESET' });

/** Which proxy stands between us and a root, by the variables that everybody knows; null: none. Loopback never goes through one. */
export function proxyOf(root: URL, env: Env): string | null {
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

/** Why a request did not get through, for people. Names hosts and nothing else of URLs, which may hold secrets. */
export function explain(error: unknown, url: URL, env: Env = process.env): string {
  const proxy = proxyOf(url, env);
  const proxyHost = proxy === null ? null : URL.canParse(proxy) ? new URL(proxy).host : '?';
  const at = proxyHost === null ? url.host : `the proxy ${proxyHost}`;
  const name = proxyHost === null ? url.hostname : proxyHost.replace(/:\d+$/, '');
  const {
    code,
    name: kind,
    message,
    proxyStatus,
  } = error as NodeJS.ErrnoException & { proxyStatus?: number };
  if (kind === 'TimeoutError') return `${at} did not answer in time`;
  if (proxyStatus === 407)
    return `${at} wants other credentials, or some (407): HTTPS_PROXY=http://USER:PASSWORD@${proxyHost}`;
  if (proxyStatus !== undefined) return `${at} does not let us through to ${url.host} (${proxyStatus})`;
  const causes: Record<string, string> = {
    ECONNREFUSED: `nothing listens at ${at} (ECONNREFUSED)`,
    ENOTFOUND: `no such host: ${name} (ENOTFOUND)`,
    EAI_AGAIN: `the name ${name} could not be looked up (EAI_AGAIN)`,
    ECONNRESET: `${at} closed the connection (ECONNRESET)`,
    ETIMEDOUT: `${at} could not be reached in time`,
  };
  return (code && causes[code]) || `${at}: ${code ?? message}`;
}
