/**
 * One supervisor per bot on this machine, held by the kernel: a listening socket with an abstract name (Linux), which
 * vanishes at the instant its process dies, however it dies. No pid file, no staleness to guess, nothing to clean up.
 * The name comes from the bot's token, so it is the same for every user, HOME, folder and terminal, and nobody who
 * doesn't know the token can take it first. It spans one network namespace.
 *
 * The name is padded with zero bytes to all 108 bytes of `sun_path`: older libuv (Node 20) always binds 108 bytes, newer
 * ones the length given, and two of them must still exclude each other (test/e2e/lock.test.ts).
 * Elsewhere (macOS) a loopback port computed from the same key stands in.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import net from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

/** Who holds the lock, as far as it says so itself, or the kernel tells of it. */
export interface Holder {
  readonly pid: number;
  readonly uid: number | null;
  /** ISO 8601, null where only the kernel answered. */
  readonly startedAt: string | null;
  readonly cwd: string | null;
  readonly version: string | null;
  /** Path of its control socket. */
  readonly control: string | null;
  /** It answered by itself; a stopped (SIGSTOP) or hung one doesn't. */
  readonly answers: boolean;
}

export interface Lock {
  /** Lets go at once; the next taker may have it from now on. */
  release(): void;
}

export type Claim =
  | { readonly held: true; readonly lock: Lock }
  | { readonly held: false; readonly holder: Holder | null };

export interface LockKey {
  readonly botId: string;
  readonly name: string;
}

/** The lock's name for a token: the bot id for people, a hash so that strangers can't guess it. */
export function lockKey(botId: string, token: string): LockKey {
  const hash = createHash('sha256').update(`singlepoll lock ${token}`).digest('hex').slice(0, 32);
  return { botId, name: `singlepoll/${botId}/${hash}` };
}

const ANSWER_TIMEOUT_MS = 2_000;
const ANSWER_BYTES_MAX = 8192;

/** Tries once to take the lock; never waits for a holder to leave. Not held: says who holds it. */
export async function claimLock(key: LockKey, identity: Omit<Holder, 'answers'>): Promise<Claim> {
  for (let attempt = 0; ; attempt++) {
    const lock = await bind(key, identity);
    if (lock) return { held: true, lock };
    const holder = await lockHolder(key);
    // Nobody there any more: it was released between the two looks, or its taker is between bind(2) and listen(2).
    if (holder || attempt === 20) return { held: false, holder };
    await pause(Math.min(50, 2 * attempt));
  }
}

/** Who holds the lock now; null when nobody does. Waits at most 2 s for a holder that doesn't answer. */
export async function lockHolder(key: LockKey): Promise<Holder | null> {
  for (let attempt = 0; ; attempt++) {
    const answer = await askHolder(key);
    // A holder that is leaving closes the connections that it has not looked at: it is not hung.
    if (answer !== 'closed') return answer;
    if (attempt === 10) return kernelHolder(key);
    await pause(10 * (attempt + 1));
  }
}

function askHolder(key: LockKey): Promise<Holder | null | 'closed'> {
  return new Promise((resolve) => {
    let text = '';
    let settled = false;
    const socket = net.connect(address(key));
    const settle = (holder: () => Holder | null | 'closed') => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      socket.destroy();
      resolve(holder());
    };
    const byKernel = () => kernelHolder(key);
    const timer = setTimeout(() => settle(byKernel), ANSWER_TIMEOUT_MS);
    socket.on('data', (chunk) => {
      text += chunk;
      const end = text.indexOf('\n');
      if (end < 0 && text.length < ANSWER_BYTES_MAX) return;
      settle(() => parseHolder(text.slice(0, Math.max(0, end))) ?? byKernel());
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const gone = error.code === 'ECONNREFUSED' || error.code === 'ENOENT';
      const left = error.code === 'ECONNRESET' || error.code === 'EPIPE';
      settle(gone ? () => null : left ? () => 'closed' : byKernel);
    });
    socket.on('close', () => settle(() => 'closed'));
  });
}

/** Resolves as soon as the present holder is gone (its open connection ends), or when `signal` aborts. */
export async function lockReleased(key: LockKey, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const socket = net.connect(address(key));
    const done = () => {
      clearTimeout(timer);
      socket.destroy();
      signal.removeEventListener('abort', done);
      resolve();
    };
    // Only a net behind the event: a holder whose queue of connections is full can't be watched.
    const timer = setTimeout(done, 5_000);
    signal.addEventListener('abort', done, { once: true });
    socket.on('data', () => {});
    socket.on('error', done);
    socket.on('close', done);
  });
}

function bind(key: LockKey, identity: Omit<Holder, 'answers'>): Promise<Lock | null> {
  return new Promise((resolve, reject) => {
    const line = `${JSON.stringify({ ...identity, name: key.name })}\n`;
    const open = new Set<net.Socket>();
    // The connection stays open: its end is how those who wait learn that the holder is gone.
    const server = net.createServer((socket) => {
      open.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => open.delete(socket));
      socket.on('data', () => socket.destroy());
      socket.write(line);
    });
    server.maxConnections = 512;
    server.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(null);
      else reject(error);
    });
    server.listen({ ...address(key), exclusive: true }, () => {
      resolve({
        release() {
          server.close();
          for (const socket of open) socket.destroy();
        },
      });
    });
  });
}

function address(key: LockKey): { path: string } | { host: string; port: number } {
  if (process.platform === 'linux') {
    const name = `\0${key.name}`;
    return { path: name + '\0'.repeat(108 - name.length) };
  }
  const hash = createHash('sha256').update(key.name).digest();
  return { host: '127.0.0.1', port: 20_000 + (hash.readUInt32BE(0) % 12_000) };
}

function parseHolder(line: string): Holder | null {
  try {
    const raw = JSON.parse(line) as Record<string, unknown>;
    if (typeof raw.pid !== 'number') return null;
    const text = (value: unknown) => (typeof value === 'string' ? value : null);
    return {
      pid: raw.pid,
      uid: typeof raw.uid === 'number' ? raw.uid : null,
      startedAt: text(raw.startedAt),
      cwd: text(raw.cwd),
      version: text(raw.version),
      control: text(raw.control),
      answers: true,
    };
  } catch {
    return null;
  }
}

/** The kernel's word on who holds it: the socket's inode in /proc/net/unix, then the process with that descriptor. */
function kernelHolder(key: LockKey): Holder | null {
  if (process.platform !== 'linux') return null;
  const inode = socketInode(key.name);
  if (inode === null) return null;
  const wanted = `socket:[${inode}]`;
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      for (const fd of readdirSync(`/proc/${pid}/fd`)) {
        if (readlinkSync(`/proc/${pid}/fd/${fd}`) === wanted) {
          return {
            pid,
            uid: null,
            startedAt: null,
            cwd: readlinkSync(`/proc/${pid}/cwd`),
            version: null,
            control: null,
            answers: false,
          };
        }
      }
    } catch {
      // Gone meanwhile, or another user's: not to be looked into.
    }
  }
  return null;
}

function socketInode(name: string): string | null {
  const listening = /^\S+ \S+ \S+ 00010000 \S+ \S+ +(\d+) @(.*)$/;
  for (const line of readFileSync('/proc/net/unix', 'utf8').split('\n')) {
    const match = listening.exec(line);
    if (match?.[2] && match[2].replace(/[@\0]+$/, '') === name) return match[1] ?? null;
  }
  return null;
}
