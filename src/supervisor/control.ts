/**
 * The local control channel: `stop`, `restart`, `status` and their kin talk to the supervisor over a Unix socket in its
 * state folder (0700, socket 0600), so only its user and root can. One JSON object per line: a request, then answers:
 * any number of `{"say": "…"}` for the person who waits or `{"live": …}` for one that follows, last `{"ok": true, "protocol": 1, …}` or `{"ok": false, "error": "…"}`.
 * Everything is bounded (line length, connections, time), since anything may come in. Only the holder of the lock may
 * replace the socket, and only where nobody listens at it.
 * The folder is what makes the socket trustworthy: nobody but its user and root can have put it there. So orders go to the
 * socket of the own state folder only, never to a path that somebody else has given.
 */
import { once } from 'node:events';
import { chmodSync, closeSync, constants, openSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseObject } from '../config/files.ts';
import { removeQuietly } from '../files.ts';
import { completeStatus, type StatusDocument } from './status.ts';

export interface Request {
  readonly cmd: string;
  readonly [key: string]: unknown;
}
export type Answer = { readonly ok: boolean; readonly error?: string; readonly [key: string]: unknown };

/** Who has asked, until it has its answer. */
export interface Asker {
  tell(part: { readonly say: string } | { readonly live: object }): void;
  /** It has not read yet what was told before. */
  isSlow(): boolean;
  isGone(): boolean;
}

export type Handler = (request: Request, asker: Asker) => Promise<Answer>;

/** Rises when an answer would be misunderstood by older commands; what is only added or left out does not matter. */
const PROTOCOL = 1;
const REQUEST_BYTES_MAX = 16 * 1024;
const ANSWER_BYTES_MAX = 8 * 1024 * 1024;
const CONNECTIONS_MAX = 256;
/** How long a connection to a socket whose queue is full is tried again. */
const CONNECT_MS = 2_000;
const REQUEST_TIMEOUT_MS = 3_000;
/** An answer that is there sooner is the only thing sent. */
const AWAKE_MS = 20;
/** sun_path holds 108 bytes with its end; longer paths go through the folder's descriptor. */
const PATH_BYTES_MAX = 100;

/** Listens on `socketPath`, replacing what a dead supervisor left. Rejects with the system's error. */
export async function serveControl(socketPath: string, handle: Handler) {
  removeQuietly(socketPath);
  const open = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    // Many connections must not keep the next one from being heard; one that is ended for it asks again.
    if (open.size > CONNECTIONS_MAX) [...open][0]?.destroy();
    serveOne(socket, handle);
  });
  const short = shortPath(socketPath);
  try {
    await once(server.listen(short.path), 'listening');
  } catch (error) {
    short.done();
    throw error;
  }
  chmodSync(socketPath, 0o600);
  server.on('error', () => {});
  // The folder of a long path stays open as long as we listen: it shows whose socket this is (holder.ts).
  server.on('close', short.done);
  return {
    /** Takes no more requests and removes the socket; answers that are under way still go out. */
    close(): void {
      server.close();
      removeQuietly(socketPath);
    },
    /** Resolves when the last answer has gone out, at most after `ms`. */
    async drained(ms: number): Promise<void> {
      if (open.size > 0) await once(server, 'close', { signal: AbortSignal.timeout(ms) }).catch(() => {});
    },
  };
}

function serveOne(socket: net.Socket, handle: Handler): void {
  let text = '';
  const timer = setTimeout(() => socket.destroy(), REQUEST_TIMEOUT_MS);
  const write = (value: object) => {
    if (!socket.destroyed) socket.write(`${JSON.stringify(value)}\n`);
  };
  socket.on('error', () => {});
  socket.on('close', () => clearTimeout(timer));
  socket.setEncoding('latin1').on('data', function take(chunk: string) {
    text += chunk;
    if (text.length > REQUEST_BYTES_MAX) return void socket.destroy();
    const end = text.indexOf('\n');
    if (end < 0) return;
    // One request per connection: what comes after it is not read.
    socket.off('data', take).resume();
    clearTimeout(timer);
    void answer(parseRequest(Buffer.from(text.slice(0, end), 'latin1').toString()));
  });

  async function answer(request: Request | null): Promise<void> {
    // Tells soon that somebody is awake here; the work itself may take as long as a worker needs to stop.
    const awake = setTimeout(() => write({ say: '' }), AWAKE_MS);
    const failed = (error: unknown) => ({
      ok: false,
      error: error instanceof Error ? error.message : String(error),
    });
    const asker = { tell: write, isSlow: () => socket.writableNeedDrain, isGone: () => socket.destroyed };
    const told = request ? await handle(request, asker).catch(failed) : { ok: false, error: 'not a request' };
    clearTimeout(awake);
    write({ ...told, protocol: PROTOCOL });
    socket.end();
  }
}

function parseRequest(line: string): Request | null {
  const value = parseObject<Request>(line);
  return typeof value?.cmd === 'string' ? value : null;
}

export class NoSupervisor extends Error {}
/** Somebody listens but doesn't answer within the time: hung or stopped. */
export class NoAnswer extends Error {}
/** It ended the connection without an answer: it has ended itself. */
export class WentAway extends Error {}

interface AskOptions {
  /** Of silence; a supervisor that is awake says so. */
  readonly timeoutMs: number;
  readonly say?: (line: string) => void;
  readonly onLive?: (live: object) => void;
  readonly signal?: AbortSignal;
}

const RETRY_MS = 20;
const NOBODY = ['ENOENT', 'ENOTDIR', 'ECONNREFUSED'];

/** Sends one request and waits for its last answer. Throws NoSupervisor, NoAnswer or WentAway. */
export async function askControl(socketPath: string, request: Request, options: AskOptions): Promise<Answer> {
  const giveUpAfterMs = Math.min(options.timeoutMs, CONNECT_MS);
  // The pauses are counted: Node takes a fiftieth of a `status` to load its clock for durations.
  for (let waitedMs = 0; ; waitedMs += RETRY_MS) {
    try {
      return await askOnce(socketPath, request, options);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (NOBODY.includes(code ?? '')) throw new NoSupervisor('no supervisor runs');
      // Its queue of connections is full: it is busy with others, or stopped.
      if (code !== 'EAGAIN') throw error;
      if (waitedMs >= giveUpAfterMs) throw new NoAnswer('the supervisor does not answer');
      await pause(RETRY_MS);
    }
  }
}

async function askOnce(
  socketPath: string,
  request: Request,
  { timeoutMs, say, onLive, signal }: AskOptions,
): Promise<Answer> {
  const short = shortPath(socketPath);
  const socket = net.connect(short.path);
  const leave = (error?: Error) => void socket.destroy(error);
  const isSilent = () => leave(new NoAnswer('the supervisor does not answer'));
  let timer = setTimeout(isSilent, Math.min(timeoutMs, CONNECT_MS));
  const onAbort = () => leave();
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    return await new Promise<Answer>((resolve, reject) => {
      let text = '';
      const take = (line: string) => {
        const value = parseObject<Partial<Answer>>(line);
        if (value === null) reject(new NoAnswer('what listens there does not answer as a supervisor does'));
        else if (value.ok !== undefined) resolve(value as Answer);
        else if (value.live) onLive?.(value.live);
        else if (typeof value.say === 'string' && value.say !== '') say?.(value.say);
      };
      socket.setEncoding('utf8');
      socket.on('connect', () => socket.write(`${JSON.stringify(request)}\n`));
      socket.on('data', (chunk: string) => {
        clearTimeout(timer);
        timer = setTimeout(isSilent, timeoutMs);
        text += chunk;
        if (text.length > ANSWER_BYTES_MAX) reject(new NoAnswer('what it answers has no end'));
        const lines = text.split('\n');
        text = lines.pop() ?? '';
        for (const line of lines) take(line);
      });
      socket.on('error', (error: NodeJS.ErrnoException) => {
        const { code = '' } = error;
        if (['ECONNRESET', 'EPIPE'].includes(code)) reject(new WentAway('the supervisor went away'));
        else if (NOBODY.includes(code)) reject(new NoSupervisor('no supervisor runs'));
        else reject(error);
      });
      socket.on('close', () => reject(new WentAway('the supervisor went away')));
    });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
    socket.destroy();
    short.done();
  }
}

/** The status of the supervisor that listens there; null: nobody does. Throws NoAnswer where it hangs, or the system's error. */
export async function statusAt(socketPath: string, timeoutMs: number): Promise<StatusDocument | null> {
  try {
    const answer = await askControl(socketPath, { cmd: 'status' }, { timeoutMs });
    return answer.ok ? completeStatus(answer.status) : null;
  } catch (error) {
    if (error instanceof NoSupervisor || error instanceof WentAway) return null;
    throw error;
  }
}

/** Linux reaches a long path through the folder's descriptor. It names our pid, so that the row in /proc/net/unix does, too. */
function shortPath(socketPath: string): { readonly path: string; done(): void } {
  if (Buffer.byteLength(socketPath) <= PATH_BYTES_MAX || process.platform !== 'linux')
    return { path: socketPath, done() {} };
  const folder = openSync(path.dirname(socketPath), constants.O_RDONLY | constants.O_DIRECTORY);
  let open = true;
  return {
    path: `/proc/${process.pid}/fd/${folder}/${path.basename(socketPath)}`,
    done() {
      if (open) closeSync(folder);
      open = false;
    },
  };
}

export const CONTROL_SOCKET = 'control.sock';
export const deploySocket = (pid: number): string => `deploy-${pid}.sock`;
export const isDeploySocket = (name: string): boolean => /^deploy-\d+\.sock$/.test(name);
