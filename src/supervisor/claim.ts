/**
 * Step 4 of `start`: take the lock, or yield (75) and say who holds it, or wait for it (`--wait`), or ask for it (`--takeover`).
 * With the lock in hand the control socket of the bot's folder is looked at as well: a supervisor that was started with another
 * token of this bot holds a lock of other names.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { EXIT, SinglepollError } from '../errors.ts';
import {
  claimLock,
  type Holder,
  type Lock,
  type LockKey,
  lockReleased,
  type Squatter,
  type Taker,
} from '../lock/lock.ts';
import { askControl, NoAnswer, NoSupervisor, WentAway } from './control.ts';
import { cannotAsk, cure, describe, held, squatted } from './holder-words.ts';
import { supervisorAt } from './present.ts';

/** A holder opens its control socket within milliseconds of taking the lock; on a busy machine later. */
const NO_CONTROL_MS = 5_000;
const STANDBY_LOOK_MS = 250;

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
  taker: Taker & { readonly control: string },
  options: ClaimOptions,
): Promise<Lock> {
  const { signal, say } = options;
  const { control } = taker;
  let silentSinceMs: number | null = null;
  let asked: number | null | undefined;
  let waitingFor: number | null | undefined;
  for (;;) {
    const claimed = await claimBoth(key, taker);
    if (claimed.lock) return claimed.lock;
    signal.throwIfAborted();
    const { squatters } = claimed;
    const holder = await knownBetter(claimed.holder, control);
    if (!holder && squatters.length > 0) throw squatted(key.botId, squatters);
    if (options.takeover) {
      const pid = holder?.pid ?? null;
      if (pid !== asked) {
        silentSinceMs = null;
        if (holder?.answers) say(`asking to hand over: ${describe(holder)}`);
      }
      asked = pid;
      if (await askToHandOver(key, holder, control, options)) continue;
      // Holds the lock, and nobody listens at its control socket: it has only just begun, or somebody removed the socket.
      silentSinceMs ??= performance.now();
      if (performance.now() - silentSinceMs > NO_CONTROL_MS) throw cannotAsk(holder, control);
      await pause(100, undefined, { signal }).catch(() => {});
    } else if (options.wait) {
      const pid = holder?.pid ?? null;
      if (pid !== waitingFor) say(`standing by: ${describe(holder)}`);
      if (waitingFor === undefined) options.onWait?.();
      waitingFor = pid;
      // Its lock has names that are not known here: only its control socket can be watched.
      if (claimed.byControl) await pause(STANDBY_LOOK_MS, undefined, { signal }).catch(() => {});
      else await lockReleased(key, signal);
      signal.throwIfAborted();
      await pause(10);
    } else {
      throw held(holder, control);
    }
  }
}

interface Claimed {
  readonly lock: Lock | null;
  readonly holder: Holder | null;
  readonly squatters: readonly Squatter[];
  /** The lock was free, and a supervisor was found all the same. */
  readonly byControl: boolean;
}

async function claimBoth(key: LockKey, taker: Taker & { readonly control: string }): Promise<Claimed> {
  const claimed = await claimLock(key, taker);
  if (!claimed.held) return { lock: null, byControl: false, ...claimed };
  let holder: Holder | null = null;
  try {
    holder = await supervisorAt(taker.control);
  } catch (error) {
    claimed.lock.release();
    throw error;
  }
  if (holder) claimed.lock.release();
  return { lock: holder ? null : claimed.lock, holder, squatters: [], byControl: true };
}

/** An older release tells nothing of itself with its lock, but does at its control socket, where it is in our folder. */
async function knownBetter(holder: Holder | null, socketPath: string): Promise<Holder | null> {
  if (holder?.kind !== 'old') return holder;
  const here = await supervisorAt(socketPath).catch(() => null);
  if (!here?.answers || here.pid !== holder.pid) return holder;
  const { startedAt, cwd, version, control } = here;
  return { ...holder, startedAt, cwd, version, control };
}

/** False: nobody listens at its control socket yet. Throws what can't be changed by asking again. */
async function askToHandOver(
  key: LockKey,
  holder: Holder | null,
  control: string,
  options: ClaimOptions,
): Promise<boolean> {
  const { signal, say } = options;
  // Orders go to the own folder only, wherever the holder says that it listens.
  const isOurs = holder?.answers && (holder.control === control || holder.kind === 'old');
  if (!isOurs || holder.elsewhere) throw cannotAsk(holder, control);
  // The holder ends its worker first; the end of its lock is the answer that counts.
  const enough = new AbortController();
  const released = lockReleased(key, AbortSignal.any([signal, enough.signal]));
  const stopped = new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  stopped.catch(() => {});
  try {
    const timeoutMs = options.stopTimeoutMs + 60_000;
    const asked = askControl(control, { cmd: 'handover', to: process.pid }, { timeoutMs, say });
    const answer = await Promise.race([asked, stopped]);
    if (!answer.ok)
      throw new SinglepollError(EXIT.otherPoller, `the holder does not hand over: ${answer.error}`);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof NoSupervisor) {
      enough.abort();
      return false;
    }
    if (![NoAnswer, WentAway].some((kind) => error instanceof kind)) throw refused(error, holder, control);
  }
  await Promise.race([released, timeout(options.stopTimeoutMs + 10_000, holder, control)]);
  signal.throwIfAborted();
  return true;
}

function refused(error: unknown, holder: Holder, control: string): Error {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== 'EACCES' && code !== 'EPERM') return error as Error;
  return new SinglepollError(
    EXIT.refused,
    `the holder may not be asked: ${describe(holder)}`,
    cure(holder, control),
  );
}

function timeout(ms: number, holder: Holder, control: string): Promise<never> {
  return new Promise((_resolve, reject) => {
    setTimeout(() => reject(held(holder, control)), ms).unref();
  });
}
