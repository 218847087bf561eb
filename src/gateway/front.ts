/**
 * The gateway's port, for bots that do not know of it. The first byte of a connection distinguishes TLS (from a hook), which is decrypted
 * here, from HTTP. CONNECT makes the gateway an HTTPS proxy for the worker's own processes: connections to the Bot API's host are decrypted,
 * too, others are tunnelled unread, as is a program whose handshake has shown that it does not trust the gateway's certificate. What Node's
 * parser would refuse is made readable before it.
 */
import type { Server as HttpServer, IncomingMessage } from 'node:http';
import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { SecureContext } from 'node:tls';
import { limited } from '../telegram/http-client.ts';

/** How a connection reached the gateway: through a hook, by CONNECT, or at the gateway's own address. */
export type Way = 'hook' | 'connect' | 'plain';
/** `absolute`: the request had a whole URL, as for a proxy. */
export type PollWay = Way | 'absolute';

export interface FrontOptions {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  /** The host whose connections are decrypted here. */
  readonly host: string;
  /** Time limit for the first byte and for the TLS handshake; HTTP servers have their own limit for heads. */
  readonly headMs: number;
  /** The first words of the program at the other end; null: it does not belong to the worker. */
  readonly programOf: (socket: Socket) => Promise<string | null>;
  /** Connects to another host, through the user's own proxy if there is one. */
  readonly tunnel: (host: string, port: number) => Promise<Duplex>;
  /** A program that does not trust the gateway may bypass it. */
  readonly mayPass: () => boolean;
  /** A program aborted its handshake or hung up right after it. */
  readonly onDistrust: (program: string, way: Way) => void;
}

/** After so many such hang-ups in a row a program does not trust us; after one, it may just have been killed. */
const SILENT_MAX = 2;
/** First byte of a TLS record of the type handshake (RFC 8446, section 5.1). */
const TLS_HANDSHAKE = 0x16;

/** What is known of programs outlives the worker, since one failed call may end that. */
export function createFront(options: FrontOptions) {
  const { host, headMs, cert, key, programOf } = options;
  let secureContext: SecureContext | undefined;
  const ways = new WeakMap<Socket, Way>();
  const distrusting = new Set<string>();
  /** How often in a row a program has hung up after its handshake without sending a byte. */
  const silent = new Map<string, number>();

  function distrusts(program: string, way: Way): void {
    // A hook's connection can't bypass the gateway.
    if (way === 'connect') distrusting.add(program);
    options.onDistrust(program, way);
  }

  /** `program` is called while the connection exists. */
  function decrypt(http: HttpServer, socket: Socket, way: Way, program: () => Promise<string | null>): void {
    // TLS takes 1 MB, so it is loaded only when a program is led here.
    const { createSecureContext, TLSSocket } = process.getBuiltinModule('node:tls');
    secureContext ??= createSecureContext({ cert, key });
    const secure = new TLSSocket(socket, { isServer: true, secureContext, ALPNProtocols: ['http/1.1'] });
    ways.set(secure, way);
    limited(secure, 'secure', headMs);
    const failed = (error: NodeJS.ErrnoException) => {
      // An alert from the client; any other error is a broken connection.
      if (error.code?.startsWith('ERR_SSL_')) void program().then((it) => it !== null && distrusts(it, way));
      secure.destroy();
    };
    secure.once('error', failed);
    secure.once('secure', () => {
      secure.off('error', failed);
      if (way === 'connect') void program().then((it) => it !== null && watchSilence(secure, it));
      http.emit('connection', secure);
    });
  }

  /** Some clients check the certificate only after the handshake (GnuTLS). */
  function watchSilence(secure: Socket, program: string): void {
    secure.once('close', () => {
      const times = secure.bytesRead > 0 ? 0 : (silent.get(program) ?? 0) + 1;
      silent.set(program, times);
      if (times >= SILENT_MAX) distrusts(program, 'connect');
    });
  }

  async function connect(http: HttpServer, target: string, socket: Socket, head: Buffer): Promise<void> {
    const [, name = '', port = ''] = /^(.+):(\d+)$/.exec(target) ?? [];
    const asked = name.replace(/^\[|\]$/g, '').toLowerCase();
    const program = ways.has(socket) ? null : await programOf(socket);
    if (program === null)
      return refuse(socket, '403 Forbidden', 'only processes of the worker may use the gateway as a proxy');
    if (asked === '') return refuse(socket, '400 Bad Request', 'CONNECT HOST:PORT is expected');
    const isHost = asked === host && port === '443';
    if (isHost && !distrusting.has(program)) {
      socket.write(ESTABLISHED);
      if (head.length > 0) socket.unshift(head);
      return decrypt(http, socket, 'connect', () => Promise.resolve(program));
    }
    if (isHost && !options.mayPass())
      return refuse(socket, '502 Bad Gateway', 'with --sealed or --sandbox nothing passes the gateway');
    const far = await options.tunnel(asked, Number(port));
    if (socket.destroyed) return void far.destroy();
    socket.write(ESTABLISHED);
    far.write(head);
    far.on('error', () => socket.destroy()).on('close', () => socket.destroy());
    socket.on('close', () => far.destroy());
    socket.pipe(far).pipe(socket);
  }

  return {
    /** A server that hands its connections to `http`, which does not listen itself. */
    open(http: HttpServer): Server {
      // This starts the time limit of `http` for the heads of requests.
      http.emit('listening');
      http.on('connect', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
        socket.on('error', () => socket.destroy());
        connect(http, request.url ?? '', socket as Socket, head).catch((error: Error) =>
          refuse(socket, '502 Bad Gateway', error.message),
        );
      });
      return createServer({ noDelay: true }, (socket) => {
        socket.once('error', () => socket.destroy());
        limited(socket, 'data', headMs);
        socket.once('data', (first: Buffer) => {
          socket.pause();
          socket.unshift(first);
          if (first[0] === TLS_HANDSHAKE) decrypt(http, socket, 'hook', () => programOf(socket));
          else http.emit('connection', socket);
          process.nextTick(() => socket.resume());
        });
      });
    },
    wayOf: (socket: Socket): Way => ways.get(socket) ?? 'plain',
  };
}

const ESTABLISHED = 'HTTP/1.1 200 Connection established\r\n\r\n';

function refuse(socket: Duplex, status: string, why: string): void {
  const text = `singlepoll: ${why}\n`;
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(text)}\r\nConnection: close\r\n\r\n${text}`,
  );
}

/**
 * Percent-encodes letters beyond ASCII in a request's target: Node's parser refuses them, while the Bot API server reads them, and curl, PHP,
 * Go and Java send them as they were written. A request begins at the first byte of a connection, and at the first one behind an answer; what
 * a client sends before that is left as it is.
 */
export function escapeTargets(http: Server): void {
  /** Connections of which the next byte is of a request's first line. */
  const beginning = new WeakSet<Socket>();
  http.on('connection', (socket) => {
    const emit = socket.emit.bind(socket) as (event: string, ...args: unknown[]) => boolean;
    beginning.add(socket);
    socket.emit = (event: string, ...args: unknown[]) => {
      if (event === 'data' && beginning.has(socket)) {
        const chunk = args[0] as Buffer;
        if (chunk.includes('\n')) beginning.delete(socket);
        args[0] = escaped(chunk);
      }
      return emit(event, ...args);
    };
    // Without a listener Node's parser takes the bytes from the system itself.
    socket.on('data', () => {});
  });
  http.on('request', (request, response) => {
    const { socket } = request;
    response.once('finish', () => request.complete && beginning.add(socket));
  });
}

function escaped(chunk: Buffer): Buffer {
  const [line = ''] = chunk.toString('latin1').split('\n', 1);
  const text = line.replace(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16)}`);
  return text === line ? chunk : Buffer.concat([Buffer.from(text, 'latin1'), chunk.subarray(line.length)]);
}
