/**
 * One supervisor per bot on this machine, held by the kernel: a listening socket with an abstract name (Linux), which vanishes at
 * the instant its process dies, however it dies. There is no pid file to clean up. The lock spans one network namespace.
 * A supervisor that has bound a name proves itself to all that ask, and looks at the other three names before it holds the
 * lock (election.ts decides, proof.ts proves, look.ts looks).
 */
import net from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { pidNamespace, statOf } from '../machine/procfs.ts';
import { listenAt } from '../machine/sockets.ts';
import { type Candidate, decide, elect } from './election.ts';
import { type Holder, lookAt, type Verdict } from './look.ts';
import { addressOf, answerTo, type Identity, type LockKey, QUESTION_MAX } from './proof.ts';

export type { Holder, Squatter } from './look.ts';
export { type LockKey, lockKey } from './proof.ts';

export interface Lock {
  /** Frees the lock at once for the next taker. */
  release(): void;
}

/** What a taker tells of itself; the rest of its identity is found out here. */
export type Taker = Pick<Identity, 'startedAt' | 'cwd' | 'version' | 'control'>;

/** Contenders settle within milliseconds; a stopped one counts as silent after 2 s. */
const PATIENCE_MS = 6_000;
const CONNECTIONS_MAX = 512;

/**
 * Tries to take the lock, without waiting for its holder to leave. If that fails, tells who holds it; without a holder other programs
 * block all names, or it did not become clear who holds the lock.
 */
export async function claimLock(key: LockKey, taker: Taker) {
  const giveUpAtMs = performance.now() + PATIENCE_MS;
  const { held, seen, to } = await elect({
    bind: (name) => bind(key, name, taker),
    look: (mine) => lookAt(key, mine),
    pause: (round) => pause(Math.min(50, 2 + 2 * round)),
    late: () => performance.now() > giveUpAtMs,
  });
  const lock: Lock | null = held;
  const squatters = seen.map(({ squatter }) => squatter).filter((it) => it !== undefined);
  return { lock, holder: lock ? null : holderIn(seen, to), squatters };
}

/** The supervisor that holds the lock now; null: there is none. Waits a few seconds at most for one that doesn't answer. */
export async function lockHolder(key: LockKey): Promise<Holder | null> {
  const seen = await lookAt(key, null);
  const decision = decide(null, seen);
  return holderIn(seen, decision.kind === 'yield' ? decision.to : null);
}

function holderIn(seen: readonly Verdict[], to: number | null): Holder | null {
  const named = to === null ? seen.find(({ holder }) => holder) : seen[to];
  return named?.holder ?? null;
}

/**
 * Resolves when one of the bound names is freed, at the latest after 5 s, or when `signal` aborts. It learns this from its
 * connection to the holder, which ends with the holder.
 */
export async function lockReleased(key: LockKey, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const sockets: net.Socket[] = [];
    let open = key.names.length;
    const done = () => {
      clearTimeout(timer);
      for (const socket of sockets) socket.destroy();
      signal.removeEventListener('abort', done);
      resolve();
    };
    // A holder whose queue of connections is full can't be watched.
    const timer = setTimeout(done, 5_000);
    signal.addEventListener('abort', done, { once: true });
    for (const name of key.names) {
      const socket = net.connect(addressOf(name)).resume();
      sockets.push(socket);
      socket.on('error', () => {});
      socket.on('close', (isFailed) => {
        open -= 1;
        if (!isFailed || open === 0) done();
      });
    }
  });
}

async function bind(key: LockKey, index: number, taker: Taker): Promise<Candidate | null> {
  const name = key.names[index]!;
  const identity = {
    pid: process.pid,
    startId: statOf(process.pid)?.startId ?? '',
    pidNamespace: pidNamespace() ?? '',
    uid: process.getuid?.() ?? null,
    ...taker,
  };
  let holds = false;
  const server = net.createServer((socket) =>
    onQuestion(socket, (question) => answerTo(question, key, name, { ...identity, holds })),
  );
  // The oldest connection is ended at the limit, so that one program can't keep others from an answer.
  const bound = await listenAt(server, addressOf(name), CONNECTIONS_MAX).catch((error) => {
    if (error.code !== 'EADDRINUSE') throw error;
  });
  if (!bound) return null;
  return {
    name: index,
    hold() {
      holds = true;
    },
    release: bound.close,
  };
}

/** The connection stays open after the answer: its end tells waiting processes that the holder is gone. */
function onQuestion(socket: net.Socket, answer: (question: string) => string | null): void {
  let question = '';
  let asked = false;
  socket.setEncoding('latin1');
  socket.on('error', () => {});
  socket.on('data', (chunk: string) => {
    question += chunk;
    if (asked || question.length > QUESTION_MAX) return void socket.destroy();
    if (!question.endsWith('\n')) return;
    asked = true;
    const line = answer(question);
    if (line === null) socket.destroy();
    else socket.write(line);
  });
}
