/**
 * The gateway's port, for bots that were not told of it. The first byte of a connection tells TLS (from a hook) from HTTP; TLS ends
 * here, and what is in it is served as any other request. CONNECT makes the gateway an HTTPS proxy, for the worker's own processes only:
 * the Bot API's host ends here, too, every other host is tunnelled unread. A program that does not trust the gateway's certificate is
 * known by how its handshake ends, and is tunnelled to the Bot API from then on.
 */
import type { Server as HttpServer, IncomingMessage } from 'node:http';
import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { SecureContext } from 'node:tls';

/** How a connection reached the gateway: led by a hook, by CONNECT, or with the gateway's own address. */
export type Way = 'hook' | 'connect' | 'plain';
/** `absolute`: with the whole URL, as to a proxy. */
export type PollWay = Way | 'absolute';

export interface FrontOptions {
  /** Serves the connections; it does not listen itself. */
  readonly http: HttpServer;
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  /** What ends here. */
  readonly host: string;
  /** For the first byte, and for the handshake of TLS; `http` has a limit of its own for heads. */
  readonly headMs: number;
  /** The program at the other end, by its words; null: it is none of the worker's. */
  readonly programOf: (socket: Socket) => Promise<string | null>;
  /** Connects to another host, through the user's own proxy where there is one. */
  readonly tunnel: (host: string, port: number) => Promise<Duplex>;
  /** A program may talk past the gateway where it does not trust it. */
  readonly mayPass: boolean;
  readonly distrust: Distrust;
  /** A program broke off its handshake, or hung up right after it. */
  readonly onDistrust: (program: string, way: Way) => void;
}

/** Outlives the worker, which may end of its one failed call. */
export interface Distrust {
  /** Programs that do not trust the gateway's certificate. */
  readonly programs: Set<string>;
  /** How often in a row a program has hung up behind its handshake without a byte. */
  readonly silent: Map<string, number>;
}

export interface Front {
  readonly server: Server;
  wayOf(socket: Socket): Way;
}

/** A program that hangs up behind the handshake without a byte so many times in a row does not trust us; once, it may have been ended. */
const SILENT_MAX = 2;
/** A TLS record of the type handshake (RFC 8446, section 5.1). */
const TLS_HANDSHAKE = 0x16;

export function createFront(options: FrontOptions): Front {
  const { http, host, headMs, cert, key, programOf, distrust } = options;
  let secureContext: SecureContext | undefined;
  const ways = new WeakMap<Socket, Way>();
  // So that it watches over the time that the head of a request takes.
  http.emit('listening');
  http.on('connect', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => socket.destroy());
    connect(request.url ?? '', socket as Socket, head).catch((error: Error) =>
      refuse(socket, '502 Bad Gateway', error.message),
    );
  });

  /** Ends what has not come so far in time that `http` watches over it. */
  function limited(socket: Socket): () => void {
    const timer = setTimeout(() => socket.destroy(), headMs).unref();
    const stop = () => clearTimeout(timer);
    socket.once('close', stop);
    return stop;
  }

  function distrusts(program: string, way: Way): void {
    // A hook's connection has no other way to go.
    if (way === 'connect') distrust.programs.add(program);
    options.onDistrust(program, way);
  }

  /** `program`: asked while the connection is there. */
  function decrypt(socket: Socket, way: Way, program: () => Promise<string | null>): void {
    // TLS takes 1 MB, so it is loaded where a program is led here.
    const { createSecureContext, TLSSocket } = process.getBuiltinModule('node:tls');
    secureContext ??= createSecureContext({ cert, key });
    const secure = new TLSSocket(socket, { isServer: true, secureContext, ALPNProtocols: ['http/1.1'] });
    ways.set(secure, way);
    const inTime = limited(socket);
    const failed = (error: NodeJS.ErrnoException) => {
      // An alert of the client's: everything else is a connection that broke off.
      if (error.code?.startsWith('ERR_SSL_')) void program().then((it) => it !== null && distrusts(it, way));
      secure.destroy();
    };
    secure.once('error', failed);
    secure.once('secure', () => {
      inTime();
      secure.off('error', failed);
      if (way === 'connect') void program().then((it) => it !== null && watchSilence(secure, it));
      http.emit('connection', secure);
    });
  }

  /** Some look at the certificate only after the handshake (GnuTLS). */
  function watchSilence(secure: Socket, program: string): void {
    secure.once('close', () => {
      const times = secure.bytesRead > 0 ? 0 : (distrust.silent.get(program) ?? 0) + 1;
      distrust.silent.set(program, times);
      if (times >= SILENT_MAX) distrusts(program, 'connect');
    });
  }

  async function connect(target: string, socket: Socket, head: Buffer): Promise<void> {
    const [, name = '', port = ''] = /^(.+):(\d+)$/.exec(target) ?? [];
    const asked = name.replace(/^\[|\]$/g, '').toLowerCase();
    const program = ways.has(socket) ? null : await programOf(socket);
    if (program === null)
      return refuse(socket, '403 Forbidden', 'only processes of the worker may use the gateway as a proxy');
    if (asked === '') return refuse(socket, '400 Bad Request', 'CONNECT HOST:PORT is expected');
    const isHost = asked === host && port === '443';
    if (isHost && !distrust.programs.has(program)) {
      socket.write(ESTABLISHED);
      if (head.length > 0) socket.unshift(head);
      return decrypt(socket, 'connect', () => Promise.resolve(program));
    }
    if (isHost && !options.mayPass)
      return refuse(socket, '502 Bad Gateway', 'with --sealed or --sandbox nothing passes the gateway');
    const far = await options.tunnel(asked, Number(port));
    socket.write(ESTABLISHED);
    far.write(head);
    far.on('error', () => socket.destroy()).on('close', () => socket.destroy());
    socket.on('close', () => far.destroy());
    socket.pipe(far).pipe(socket);
  }

  const server = createServer({ noDelay: true }, (socket) => {
    socket.once('error', () => socket.destroy());
    const inTime = limited(socket);
    socket.once('data', (first: Buffer) => {
      inTime();
      socket.pause();
      socket.unshift(first);
      if (first[0] === TLS_HANDSHAKE) decrypt(socket, 'hook', () => programOf(socket));
      else http.emit('connection', socket);
      process.nextTick(() => socket.resume());
    });
  });
  return { server, wayOf: (socket) => ways.get(socket) ?? 'plain' };
}

const ESTABLISHED = 'HTTP/1.1 200 Connection established\r\n\r\n';

function refuse(socket: Duplex, status: string, why: string): void {
  const text = `singlepoll: ${why}\n`;
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(text)}\r\nConnection: close\r\n\r\n${text}`,
  );
}
