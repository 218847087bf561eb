/**
 * Step 4 of `start`: take the lock, or yield (75) and say who holds it, or wait for it (`--wait`), or ask for it (`--takeover`).
 * With the lock in hand the control socket of the bot's folder is looked at as well: a supervisor that was started with another
 * token of this bot holds a lock of other names.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Config } from '../config/load.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { claimLock, type Holder, type LockKey, lockKey, lockReleased, type Taker } from '../lock/lock.ts';
import { askControl, NoAnswer, NoSupervisor, WentAway } from './control.ts';
import { cannotAsk, describe, held, hostOfHolder, inTheWay, squatted, supervisorAt } from './holder.ts';

/** A holder opens its control socket within milliseconds of taking the lock; on a busy machine later. */
const NO_CONTROL_MS = 5_000;
const STANDBY_LOOK_MS = 250;

interface Following {
  readonly signal: AbortSignal;
  readonly say: (text: string) => void;
  /** Finds out what would fail after the holder has stopped its worker. Throws SinglepollError. */
  readonly reaches: (holder: Holder) => Promise<void>;
  readonly onWait: () => void;
}

export type OwnTaker = Taker & { readonly control: string };

/**
 * `standbys`: those that have handed over, and stand by until a worker polls. Throws SinglepollError 75 when the lock stays another's;
 * rejects when `signal` aborts.
 */
export async function claim(config: Config, taker: OwnTaker, { signal, say, reaches, onWait }: Following) {
  const key = lockKey(String(config.botId), config.token as string);
  const { control } = taker;
  /** Whom the person was told of; undefined: nobody yet. */
  let told: number | null | undefined;
  let silentSinceMs: number | null = null;
  const standbys: Holder[] = [];
  for (;;) {
    const { lock, holder, squatters, byControl } = await claimBoth(key, taker, control);
    if (lock) return { lock, standbys };
    signal.throwIfAborted();
    if (!holder && squatters.length > 0) throw squatted(key.botId, squatters);
    if (!config.takeover && !config.wait) throw held(holder, control);
    const pid = holder?.pid ?? null;
    const isNew = pid !== told;
    if (config.takeover) {
      // Orders go to the own folder only, wherever the holder says that it listens.
      if (!holder?.answers || holder.control !== control || holder.elsewhere)
        throw cannotAsk(holder, control);
      if (isNew) {
        silentSinceMs = null;
        await reaches(holder);
        const stop = hostOfHolder(holder)?.stopCommand;
        say(`asking to hand over: ${describe(holder)}${stop ? `; what ends it: ${stop}` : ''}`);
      }
      told = pid;
      const timeoutMs = config.stopTimeoutMs + 60_000;
      const handed = await askToHandOver(holder, control, { signal, say, timeoutMs });
      if (handed === 'left') await lockReleased(key, signal);
      signal.throwIfAborted();
      if (handed === 'stands by') standbys.push(holder);
      if (handed) continue;
      // Holds the lock, and nobody listens at its control socket: it has only just begun, or somebody removed the socket.
      silentSinceMs ??= performance.now();
      if (performance.now() - silentSinceMs > NO_CONTROL_MS) throw cannotAsk(holder, control);
      await pause(100, undefined, { signal }).catch(() => {});
      continue;
    }
    if (isNew) say(`standing by: ${describe(holder)}`);
    if (told === undefined) onWait();
    told = pid;
    // Its lock has names that are not known here: only its control socket can be watched.
    if (byControl) await pause(STANDBY_LOOK_MS, undefined, { signal }).catch(() => {});
    else await lockReleased(key, signal);
    signal.throwIfAborted();
    await pause(10);
  }
}

/** Takes the lock where neither it nor the control socket shows a supervisor. `byControl`: it was free, and one was found all the same. */
export async function claimBoth(key: LockKey, taker: Taker, control: string | null) {
  const claimed = await claimLock(key, taker);
  const { lock } = claimed;
  if (!lock) return { ...claimed, byControl: false };
  let isFree = false;
  try {
    const holder = control === null ? null : await supervisorAt(control);
    isFree = holder === null;
    return { lock: isFree ? lock : null, holder, squatters: [], byControl: true };
  } finally {
    if (!isFree) lock.release();
  }
}

/** Null: nobody listens at its control socket yet. `left`: it has ended instead, or will. Throws what can't be changed by asking again. */
async function askToHandOver(
  holder: Holder,
  control: string,
  options: { readonly signal: AbortSignal; readonly say: (text: string) => void; readonly timeoutMs: number },
): Promise<'stands by' | 'left' | null> {
  try {
    const answer = await askControl(control, { cmd: 'handover', to: process.pid }, options);
    if (!answer.ok)
      throw new SinglepollError(EXIT.otherPoller, `the holder does not hand over: ${answer.error}`);
    return answer.standsBy ? 'stands by' : 'left';
  } catch (error) {
    options.signal.throwIfAborted();
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM')
      throw inTheWay('the holder may not be asked', holder, control, EXIT.refused);
    if (error instanceof NoSupervisor) return null;
    if (error instanceof NoAnswer || error instanceof WentAway) return 'left';
    throw error;
  }
}
