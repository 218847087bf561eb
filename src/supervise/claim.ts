/**
 * Step 4 of `start`: take the lock, or yield (75) and say who holds it, or wait for it (`--wait`), or ask for it
 * (`--takeover`). Waiting costs nothing: an open connection to the holder ends when the holder does.
 */
import { userInfo } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { EXIT, SinglepollError } from '../errors.ts';
import { askControl, NoAnswer, NoSupervisor, WentAway } from '../machine/control.ts';
import { claimLock, type Holder, type Lock, type LockKey, lockReleased } from '../machine/lock.ts';
import { plain } from '../output/plain.ts';
import { duration } from '../output/words.ts';

/** A holder opens its control socket within milliseconds of taking the lock; on a busy machine later. */
const NO_CONTROL_MS = 5_000;

export interface ClaimOptions {
  readonly wait: boolean;
  readonly takeover: boolean;
  readonly stopTimeoutMs: number;
  readonly signal: AbortSignal;
  readonly say: (text: string) => void;
  /** Told when it begins to stand by. */
  readonly onWait?: () => void;
}

/** Returns the lock. Throws SinglepollError 75 when it stays another's; rejects when `signal` aborts. */
export async function claim(
  key: LockKey,
  identity: Omit<Holder, 'answers'>,
  options: ClaimOptions,
): Promise<Lock> {
  const { signal, say } = options;
  let silentSinceMs: number | null = null;
  let askedPid: number | null = null;
  const stopped = new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  stopped.catch(() => {});
  let waitingFor: number | null | undefined;
  for (;;) {
    const claimed = await claimLock(key, identity);
    if (claimed.held) return claimed.lock;
    signal.throwIfAborted();
    const { holder } = claimed;
    if (options.takeover) {
      if (holder?.pid !== askedPid) {
        silentSinceMs = null;
        if (holder?.answers) say(`asking to hand over: ${describe(holder)}`);
      }
      askedPid = holder?.pid ?? null;
      if (await askToHandOver(key, holder, stopped, options)) continue;
      // Holds the lock, and nobody listens at its control socket: it has only just begun, or somebody removed the socket.
      silentSinceMs ??= performance.now();
      if (performance.now() - silentSinceMs > NO_CONTROL_MS) throw cannotAsk(holder);
      await pause(100, undefined, { signal }).catch(() => {});
    } else if (options.wait) {
      if (holder?.pid !== waitingFor) say(`standing by: ${describe(holder)}`);
      if (waitingFor === undefined) options.onWait?.();
      waitingFor = holder?.pid;
      await lockReleased(key, signal);
      signal.throwIfAborted();
    } else {
      throw held(holder);
    }
  }
}

function cannotAsk(holder: Holder | null): SinglepollError {
  return new SinglepollError(
    EXIT.otherPoller,
    `the holder can't be asked to hand over: ${describe(holder)}`,
    'singlepoll reset    # stops it, if need be with SIGKILL, and starts again',
  );
}

/** False: nobody listens where the holder said that it does. Throws what can't be changed by asking again. */
async function askToHandOver(
  key: LockKey,
  holder: Holder | null,
  stopped: Promise<never>,
  options: ClaimOptions,
): Promise<boolean> {
  const { signal, say } = options;
  if (!holder?.control || !holder.answers) throw cannotAsk(holder);
  // The holder ends its worker first; the end of its lock is the answer that counts.
  const enough = new AbortController();
  const released = lockReleased(key, AbortSignal.any([signal, enough.signal]));
  try {
    const asked = askControl(
      holder.control,
      { cmd: 'handover', to: process.pid },
      { timeoutMs: options.stopTimeoutMs + 60_000, say },
    );
    const answer = await Promise.race([asked, stopped]);
    if (!answer.ok)
      throw new SinglepollError(EXIT.otherPoller, `the holder does not hand over: ${answer.error}`);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof NoSupervisor) {
      enough.abort();
      return false;
    }
    if (![NoAnswer, WentAway].some((kind) => error instanceof kind)) throw refused(error, holder);
  }
  await Promise.race([released, timeout(options.stopTimeoutMs + 10_000, holder)]);
  signal.throwIfAborted();
  return true;
}

function refused(error: unknown, holder: Holder): Error {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== 'EACCES' && code !== 'EPERM') return error as Error;
  return new SinglepollError(
    EXIT.refused,
    `the holder belongs to another user: ${describe(holder)}`,
    `sudo kill ${holder.pid}    # or stop it as ${userName(holder.uid)}`,
  );
}

function timeout(ms: number, holder: Holder): Promise<never> {
  return new Promise((_resolve, reject) => {
    setTimeout(() => reject(held(holder)), ms).unref();
  });
}

function held(holder: Holder | null): SinglepollError {
  return new SinglepollError(
    EXIT.otherPoller,
    `this bot has a supervisor already: ${describe(holder)}`,
    'singlepoll start --takeover …    # ask it to hand over, then take its place\n' +
      'singlepoll stop                  # or end it\n' +
      'singlepoll start --wait …        # or stand by until it leaves',
  );
}

/** `pid 4711 (alice) since 2026-11-21 09:12:31 (2 h), from /srv/bot`. */
export function describe(holder: Holder | null): string {
  if (!holder) return 'a process that the kernel does not show (another user or container)';
  const parts = [`pid ${holder.pid}`];
  if (holder.uid !== null && holder.uid !== process.getuid?.()) parts.push(`(${userName(holder.uid)})`);
  if (holder.startedAt) {
    const age = Date.now() - Date.parse(holder.startedAt);
    parts.push(
      `since ${holder.startedAt.slice(0, 19).replace('T', ' ')} UTC (${duration(Math.max(0, age))}),`,
    );
  }
  if (holder.cwd) parts.push(`from ${plain(holder.cwd)}`);
  if (!holder.answers) parts.push('(does not answer: hung or stopped)');
  return parts.join(' ');
}

function userName(uid: number | null): string {
  if (uid === null) return 'another user';
  if (uid === process.getuid?.()) return userInfo().username;
  return uid === 0 ? 'root' : `user ${uid}`;
}
