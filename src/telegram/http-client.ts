/**
 * The supervisor's one HTTP client: Node's own, with kept-alive connections, a time limit for connecting, and the proxy that
 * HTTPS_PROXY, HTTP_PROXY and NO_PROXY name. A request that is given up resets its TCP connection: after an ordinary close over
 * a broken network the kernel tries to deliver for minutes (net.ipv4.tcp_orphan_retries). A poll that was given up with the lease
 * would then reach Telegram once the network works again, and end the poll of the machine that has taken over.
 */
import { once } from 'node:events';
import type { Agent, ClientRequest, IncomingMessage } from 'node:http';
import { connect, type Socket, type TcpNetConnectOpts } from 'node:net';
import type { Duplex } from 'node:stream';

type Env = Readonly<Record<string, string | undefined>>;

interface WholeRequest {
  readonly method?: 'GET' | 'POST';
  readonly path: string;
  /** Flat: name, value, name, value … */
  readonly headers: readonly string[];
  readonly body?: string;
  readonly answerBytesMax: number;
  readonly signal: AbortSignal;
  /** Asked once connected, which may be long after the request was begun (if the machine slept). */
  readonly mayGo?: () => boolean;
  readonly onSent?: () => void;
}

export type WholeAnswer = Awaited<ReturnType<typeof readWhole>>;

export type HttpClient = ReturnType<typeof openHttpClient>;

const CONNECT_TIMEOUT_MS = 10_000;
/** Longer than most pauses between two polls, shorter than servers keep an idle connection open. */
const KEEP_ALIVE_MS = 30_000;

/** The first request connects. `connections`: how many requests can be under way at once; further ones wait. */
export function openHttpClient(
  root: URL,
  connections: number,
  env: Env = process.env,
  connectTimeoutMs = CONNECT_TIMEOUT_MS,
) {
  const secure = root.protocol === 'https:';
  const proxy = proxyOf(root, env);
  // TLS takes 1 MB, so it is loaded only for https.
  const { request, Agent: HttpAgent } = secure
    ? process.getBuiltinModule('node:https')
    : process.getBuiltinModule('node:http');
  // The agent's timeout ends idle connections only, as nothing listens to a request's `timeout` event.
  const agent: Agent = new HttpAgent({ keepAlive: true, maxSockets: connections, timeout: KEEP_ALIVE_MS });
  const connecting = agent as unknown as Connecting;
  const { createConnection } = connecting;
  const { host, port } = placeOf(root);
  /** The TCP socket below a TLS one, which can't be reset itself. */
  const below = new WeakMap<Duplex, Socket>();

  function secured(options: TcpNetConnectOpts, tcp: Socket): Duplex {
    const socket = createConnection.call(connecting, { ...options, socket: tcp }, () => {}) as Duplex;
    below.set(socket, tcp);
    tcp.on('error', (error) => socket.destroy(error));
    return limited(socket, 'secureConnect', connectTimeoutMs, late());
  }

  // Returns the connection at once if possible: the agent does not count one that comes later.
  connecting.createConnection = (options, done) => {
    if (proxy === null) {
      const tcp = connect(options);
      return secure ? secured(options, tcp) : limited(tcp, 'connect', connectTimeoutMs, late());
    }
    openTunnel(new URL(proxy), `${root.hostname}:${port}`, AbortSignal.timeout(connectTimeoutMs)).then(
      (tcp) => done(null, secure ? secured(options, tcp) : tcp),
      done,
    );
    return undefined;
  };

  /** Begins a request; the caller ends it or pipes a body into it. */
  function begin(method: string, path: string, headers: readonly string[]): ClientRequest {
    return request({
      agent,
      method,
      path,
      ...{ host, port },
      headers: ['host', root.host, ...headers],
      setHost: false,
    });
  }

  function giveUp(call: ClientRequest, reason: Error): void {
    soon(() => {
      const { socket } = call;
      const tcp = socket && !call.destroyed ? (below.get(socket) ?? socket) : null;
      // Before it is connected nothing was sent. A proxy's TLS hides the TCP connection that would have to be reset.
      if (tcp && !tcp.connecting && !tcp.destroyed && !('encrypted' in tcp)) tcp.resetAndDestroy();
      call.destroy(reason);
    });
  }

  /** Runs `todo` outside of TLS callbacks: Node 20 dies of SIGSEGV when a connection is reset within one. */
  function soon(todo: () => void): void {
    if (secure) setImmediate(todo);
    else todo();
  }

  /** Sends a request and reads the whole answer. Rejects with the system's error, or with the signal's reason. */
  async function ask(wanted: WholeRequest): Promise<WholeAnswer> {
    const { method = 'POST', path, headers, body, signal, answerBytesMax, mayGo, onSent } = wanted;
    signal.throwIfAborted();
    const length = body === undefined ? [] : ['content-length', String(Buffer.byteLength(body))];
    const call = begin(method, path, [...headers, ...length]);
    let abort = () => {};
    try {
      return await new Promise<WholeAnswer>((resolve, reject) => {
        abort = () => {
          giveUp(call, signal.reason as Error);
          soon(() => reject(signal.reason));
        };
        signal.addEventListener('abort', abort);
        // Once the answer has begun, its own events tell how it ends.
        call.once('response', (answer) => resolve(readWhole(answer, answerBytesMax)));
        call.on('error', reject);
        call.once('close', () => reject(failure('the connection was closed', 'ECONNRESET')));
        whenConnected(call, secure, () => {
          if (mayGo && !mayGo()) call.destroy(new Error('given up'));
          if (call.destroyed || signal.aborted) return;
          onSent?.();
          call.end(body);
        });
      });
    } catch (error) {
      throw signal.aborted ? signal.reason : error;
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  return { proxied: proxy !== null, begin, giveUp, ask, close: () => soon(() => agent.destroy()) };
}

/** Destroys a connection on which this event has not come in time. */
export function limited<T extends Duplex>(socket: T, event: string, timeoutMs: number, error?: Error): T {
  const timer = setTimeout(() => socket.destroy(error), timeoutMs).unref();
  const stop = () => clearTimeout(timer);
  socket.once(event, stop).once('close', stop);
  return socket;
}

interface Connecting {
  createConnection(
    options: TcpNetConnectOpts & { socket?: Duplex },
    done: (error: Error | null, socket?: Duplex) => void,
  ): Duplex | undefined;
}

export async function openTunnel(proxy: URL, authority: string, limit: AbortSignal): Promise<Socket> {
  const { request } = process.getBuiltinModule(proxy.protocol === 'https:' ? 'node:https' : 'node:http');
  const headers: Record<string, string> = { host: authority };
  if (proxy.username !== '') headers['proxy-authorization'] = basicAuth(proxy);
  const call = request({
    method: 'CONNECT',
    ...placeOf(proxy),
    path: authority,
    headers,
    agent: false,
    signal: limit,
  });
  call.end();
  const connected = await once(call, 'connect').catch((error) => {
    throw limit.aborted ? late() : error;
  });
  const [{ statusCode }, tcp] = connected as [IncomingMessage, Socket];
  if (statusCode === 200) return tcp;
  tcp.destroy();
  throw Object.assign(new Error('the proxy refuses'), { proxyStatus: statusCode });
}

/** Tells host and port of a URL; an IPv6 address comes without its brackets, as Node wants it. */
export function placeOf({ protocol, hostname, port }: URL) {
  const host = hostname.replace(/^\[|\]$/g, '');
  return { host, port: Number(port || (protocol === 'https:' ? 443 : 80)) };
}

export function basicAuth({ username, password }: URL): string {
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return `Basic ${Buffer.from(pair).toString('base64')}`;
}

function whenConnected(call: ClientRequest, secure: boolean, go: () => void): void {
  call.once('socket', (socket) => {
    const isConnecting = socket.connecting || ('secureConnecting' in socket && socket.secureConnecting);
    if (!isConnecting) go();
    else socket.once(secure ? 'secureConnect' : 'connect', go);
  });
}

async function readWhole(answer: IncomingMessage, bytesMax: number) {
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

const failure = (message: string, code: string): Error => Object.assign(new Error(message), { code });
const late = (): Error => failure('no connection in time', 'ETIMEDOUT');

/** The proxy for a root, according to the usual variables; null: none. Loopback never goes through a proxy. */
export function proxyOf(root: URL, env: Env): string | null {
  const host = root.hostname;
  if (host === 'localhost' || host === '[::1]' || /^127\./.test(host)) return null;
  const secure = root.protocol === 'https:';
  const proxy = (secure && (env.https_proxy ?? env.HTTPS_PROXY)) || (env.http_proxy ?? env.HTTP_PROXY);
  if (!proxy) return null;
  const exempt = env.no_proxy ?? env.NO_PROXY ?? '';
  const port = String(placeOf(root).port);
  const isDirect =
    exempt.trim() === '*' || exempt.split(/[,\s]/).some((entry) => isExempt(entry, host, port));
  if (isDirect) return null;
  // curl takes an address without a scheme for that of an HTTP proxy, and so do we.
  return proxy.includes('://') ? proxy : `http://${proxy}`;
}

function isExempt(entry: string, host: string, port: string): boolean {
  const [, name = '', onlyPort = port] = /^(.+?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? [];
  const domain = name.replace(/^\*?\./, '');
  return domain !== '' && onlyPort === port && (host === domain || host.endsWith(`.${domain}`));
}

type Failure = NodeJS.ErrnoException & { readonly proxyStatus?: number };

/** Tells people why a request failed. Of URLs, which may hold secrets, it names only the hosts. */
export function explain(error: unknown, url: URL, env: Env = process.env): string {
  const proxy = proxyOf(url, env);
  const proxyHost = proxy !== null && URL.canParse(proxy) ? new URL(proxy).host : proxy && '?';
  const at = proxyHost === null ? url.host : `the proxy ${proxyHost}`;
  const name = (proxyHost ?? url.host).replace(/:\d+$/, '');
  const { code = '', name: kind, message, proxyStatus } = error as Failure;
  if (/^socks/i.test(proxy ?? ''))
    return `${at} speaks SOCKS, and only an HTTP proxy is used: HTTPS_PROXY=http://HOST:PORT`;
  if (proxyStatus === 407)
    return `${at} wants other credentials, or some (407): HTTPS_PROXY=http://USER:PASSWORD@${proxyHost}`;
  if (proxyStatus !== undefined) return `${at} does not let us through to ${url.host} (${proxyStatus})`;
  if (kind === 'TimeoutError') return `${at} did not answer in time`;
  const known: Readonly<Record<string, string>> = {
    ECONNREFUSED: `nothing listens at ${at} (ECONNREFUSED)`,
    ENOTFOUND: `no such host: ${name} (ENOTFOUND)`,
    EAI_AGAIN: `the name ${name} could not be looked up (EAI_AGAIN)`,
    ECONNRESET: `${at} closed the connection (ECONNRESET)`,
    ETIMEDOUT: `${at} could not be reached in time`,
  };
  return known[code] ?? `${at}: ${code || message}`;
}
