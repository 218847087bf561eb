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
import { cannotAsk, describe, held, inTheWay, squatted, supervisorAt } from './holder.ts';

/** A holder opens its control socket within milliseconds of taking the lock; on a busy machine later. */
const NO_CONTROL_MS = 5_000;
const STANDBY_LOOK_MS = 250;

export interface ClaimOptions {
  readonly wait: boolean;
  readonly takeover: boolean;
  readonly stopTimeoutMs: number;
  readonly signal: AbortSignal;
  readonly say: (text: string) => void;
  /** Finds out what would fail after the holder has stopped its worker. Throws SinglepollError. */
  readonly reaches: (holder: Holder) => Promise<void>;
  /** Told when it begins to stand by. */
  readonly onWait?: () => void;
}

export type OwnTaker = Taker & { readonly control: string };

export interface ClaimedLock {
  readonly lock: Lock;
  /** Those that have handed over, and stand by until a worker polls. */
  readonly standbys: readonly Holder[];
}

/** Throws SinglepollError 75 when it stays another's; rejects when `signal` aborts. */
export async function claim(key: LockKey, taker: OwnTaker, options: ClaimOptions): Promise<ClaimedLock> {
  const { signal, say } = options;
  const { control } = taker;
  /** Whom the person was told of; undefined: nobody yet. */
  let told: number | null | undefined;
  let silentSinceMs: number | null = null;
  const standbys: Holder[] = [];
  for (;;) {
    const { lock, holder, squatters, byControl } = await claimBoth(key, taker);
    if (lock) return { lock, standbys };
    signal.throwIfAborted();
    if (!holder && squatters.length > 0) throw squatted(key.botId, squatters);
    if (!options.takeover && !options.wait) throw held(holder, control);
    const pid = holder?.pid ?? null;
    const isNew = pid !== told;
    if (options.takeover) {
      if (isNew) silentSinceMs = null;
      if (isNew && holder?.answers) {
        await options.reaches(holder);
        say(`asking to hand over: ${describe(holder)}`);
      }
      told = pid;
      const handed = await askToHandOver(key, holder, control, options);
      if (handed === 'stands by') standbys.push(holder!);
      if (handed) continue;
      // Holds the lock, and nobody listens at its control socket: it has only just begun, or somebody removed the socket.
      silentSinceMs ??= performance.now();
      if (performance.now() - silentSinceMs > NO_CONTROL_MS) throw cannotAsk(holder, control);
      await pause(100, undefined, { signal }).catch(() => {});
      continue;
    }
    if (isNew) say(`standing by: ${describe(holder)}`);
    if (told === undefined) options.onWait?.();
    told = pid;
    // Its lock has names that are not known here: only its control socket can be watched.
    if (byControl) await pause(STANDBY_LOOK_MS, undefined, { signal }).catch(() => {});
    else await lockReleased(key, signal);
    signal.throwIfAborted();
    await pause(10);
  }
}

interface Claimed {
  readonly lock: Lock | null;
  readonly holder: Holder | null;
  readonly squatters: readonly Squatter[];
  /** The lock was free, and a supervisor was found all the same. */
  readonly byControl: boolean;
}

export async function claimBoth(key: LockKey, taker: OwnTaker): Promise<Claimed> {
  const claimed = await claimLock(key, taker);
  if (!claimed.held) return { lock: null, byControl: false, ...claimed };
  let isFree = false;
  try {
    const holder = await supervisorAt(taker.control);
    isFree = holder === null;
    return { lock: isFree ? claimed.lock : null, holder, squatters: [], byControl: true };
  } finally {
    if (!isFree) claimed.lock.release();
  }
}

/** Null: nobody listens at its control socket yet. Throws what can't be changed by asking again. */
async function askToHandOver(
  key: LockKey,
  holder: Holder | null,
  control: string,
  { signal, say, stopTimeoutMs }: ClaimOptions,
): Promise<'stands by' | 'left' | null> {
  // Orders go to the own folder only, wherever the holder says that it listens.
  if (!holder?.answers || holder.control !== control || holder.elsewhere) throw cannotAsk(holder, control);
  try {
    const request = { cmd: 'handover', to: process.pid };
    const answer = await askControl(control, request, { timeoutMs: stopTimeoutMs + 60_000, say, signal });
    if (!answer.ok)
      throw new SinglepollError(EXIT.otherPoller, `the holder does not hand over: ${answer.error}`);
    if (answer.standsBy) return 'stands by';
  } catch (error) {
    signal.throwIfAborted();
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM')
      throw inTheWay('the holder may not be asked', holder, control, EXIT.refused);
    if (error instanceof NoSupervisor) return null;
    if (!(error instanceof NoAnswer || error instanceof WentAway)) throw error;
  }
  // It has ended instead: the end of its lock counts.
  await lockReleased(key, signal);
  signal.throwIfAborted();
  return 'left';
}
