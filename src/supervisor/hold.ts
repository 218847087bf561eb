/**
 * The lock in the hands of a run, and what nobody but its holder may have open: control channel, gateway port, health endpoint.
 * `start --takeover` gets the lock from a run that then stands by, and takes it back where the newcomer does not come to poll.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Config } from '../config/load.ts';
import { claimLock, type Holder, type Lock, type LockKey, lockKey } from '../lock/lock.ts';
import { isAlive, type ProcessId, statOf } from '../machine/procfs.ts';
import type { Report } from '../output/report.ts';
import { claimBoth, type OwnTaker, seizeLock } from './claim.ts';
import { NoAnswer, statusAt } from './control.ts';
import { held as heldError } from './holder.ts';
import type { StatusDocument } from './status.ts';

/** What only the holder of the lock may have open. */
export interface Held {
  open?(): unknown;
  close?(): void;
}

type Hold = ReturnType<typeof createHold>;

/** `standbys`: those that have handed the lock over, and take it back if no worker polls here. */
export interface Taken {
  readonly hold: Hold;
  readonly standbys: readonly Holder[];
}

/** A newcomer that was told of the free lock takes it within milliseconds; then it is looked at this often. */
const NEWCOMER_MS = 1_000;
const LOOK_MS = 200;
const ANSWER_MS = 2_000;
/** A newcomer gives up by itself after --start-timeout; one that does not, and does not answer either, is ended. */
const HUNG_MS = 10_000;

/** `first`: the lock, taken already; null: none is needed (deploy mode). */
export function createHold(first: Lock | null, config: Config, taker: OwnTaker, report: Report) {
  const isNeeded = first !== null;
  /** One for each token: the bot may get another while the run goes on. */
  let locks = first ? [first] : [];
  const held: Held[] = [];
  /** Newcomers that wait for the lock, with what is called when it is free. */
  const asked = new Map<number, () => void>();
  /** Those that were given the lock. One with another token takes a lock of other names, so only its end tells that it has left. */
  let newcomers: readonly ProcessId[] = [];

  function release(): void {
    for (const it of held.toReversed()) it.close?.();
    for (const it of locks) it.release();
    locks = [];
  }

  async function retake(signal: AbortSignal): Promise<StatusDocument | null> {
    const key: LockKey = lockKey(config.token as string);
    let hungAtMs = performance.now() + config.startTimeoutMs + config.stopTimeoutMs + HUNG_MS;
    const isLate = () => performance.now() > hungAtMs;
    const isGone = () => isLate() || !newcomers.some(isAlive);
    await pause(NEWCOMER_MS, undefined, { signal });
    for (;;) {
      const seen = await statusAt(taker.control, ANSWER_MS).catch((error: Error) => error);
      let isStuck = seen instanceof NoAnswer;
      if (seen && 'state' in seen) {
        if (isServed(seen)) return seen;
      } else if (seen === null && isGone()) {
        const claimed = await claimBoth(key, taker, taker.control);
        if (signal.aborted) claimed.lock?.release();
        signal.throwIfAborted();
        if (claimed.lock) {
          locks = [claimed.lock];
          return null;
        }
        // It took the lock and has not come to open its control socket.
        isStuck = newcomers.some(({ pid }) => pid === claimed.holder?.pid);
      }
      if (isStuck && isLate()) {
        // Where it can't be ended, that is not said all the time.
        hungAtMs = performance.now() + HUNG_MS;
        report.line('lock', 'the newcomer does not answer, and has not polled: it is ended', 'warn');
        const seized = await seizeLock(config, report, true).catch((error: Error) => error);
        if (seized instanceof Error) report.line('lock', seized.message, 'warn');
        else seized.release();
      }
      await pause(LOOK_MS, undefined, { signal });
    }
  }

  return {
    /** From now on it is closed with the release, and opened again with the lock. */
    add: (it: Held): void => void held.push(it),
    release,
    /** Holds the lock of another token, too. Throws SinglepollError 75 where another supervisor has it. */
    async adopt(token: string): Promise<void> {
      const claimed = await claimLock(lockKey(token), taker);
      if (!claimed.lock) throw heldError(claimed.holder, taker.control);
      locks.push(claimed.lock);
    },
    /** Resolves when the newcomer may take the lock. */
    ask: (pid: number): Promise<void> => new Promise((resolve) => asked.set(pid, resolve)),
    /** Nothing of the worker is left: a newcomer that has asked may have the lock. */
    handOver(): void {
      if (asked.size === 0 || locks.length === 0) return;
      release();
      newcomers = [...asked.keys()].map((pid) => ({ pid, startId: statOf(pid)?.startId ?? '' }));
      const pids = newcomers.map(({ pid }) => pid).join(', ');
      report.line('lock', `handed to pid ${pids}; standing by, to go on here if no worker polls there`);
      for (const free of asked.values()) free();
      asked.clear();
    },
    /** Null: it is ours. Resolves to null when it is ours again; else what the newcomer says of itself, whose bot is served. */
    async takeBack(signal: AbortSignal): Promise<StatusDocument | null> {
      if (locks.length > 0 || !isNeeded) return null;
      const doc = await retake(signal);
      if (doc) return doc;
      report.line('lock', 'taken back: the newcomer has ended before its worker polled', 'warn');
      for (const it of held) await it.open?.();
      return null;
    },
    isHeld: (): boolean => locks.length > 0 || !isNeeded,
  };
}

/** Its worker polls, or a machine does that has the lease. */
function isServed({ state, lease }: StatusDocument): boolean {
  return (
    state === 'polling' || (state === 'standby' && lease !== null && !lease.mine && lease.holder !== null)
  );
}
