/**
 * The lease at work: performs what the keeper decides on a store, with a clock and timers. `acquire` waits as a standby until this
 * machine may poll; the term that it gives is asked before every poll.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { type ClockLook, createLeaseClock, type LeaseClock } from './clock.ts';
import {
  holds,
  type Keeper,
  type KeeperEffect,
  type KeeperEvent,
  type KeeperPolicy,
  type KeeperSaying,
  newKeeper,
  type Outcome,
  stepKeeper,
  stopAtMs,
} from './keeper.ts';
import { type LeaseStatus, leaseStatus } from './keeper-status.ts';
import { LeaseConfigError, LeaseIoError, type LeaseStore } from './store.ts';
import type { LeaseTiming } from './timing.ts';

export interface LeaseOptions {
  readonly store: LeaseStore;
  readonly timing: LeaseTiming;
  /** For people on other machines. */
  readonly host: string;
  readonly pid: number;
  /** Names the kernel lock that this process holds, and only it can hold; null: there is none that proves that much. */
  readonly lock: string | null;
  /** The first machine ever: does not wait where there is no record yet. */
  readonly first?: boolean;
  onSaying?(saying: KeeperSaying): void;
  readonly clock?: LeaseClock;
  readonly id?: string;
}

export interface Lost {
  /** `stop`: released by ourselves. */
  readonly why: 'deadline' | 'taken' | 'stop';
  /** SIGKILL must be sent by then, ms of `Lease.now()`. */
  readonly killBy: number;
}

export interface Term {
  readonly epoch: number;
  /** Asked before every poll that goes out, every answer that is handed on, and before a worker is spawned. May be false for a moment
   * without the term being lost: time has passed unseen, and the next write shows whether it is still ours. */
  valid(): boolean;
  /** ms to the stop point; moves on with every renewal. */
  remaining(): number;
  readonly lost: Promise<Lost>;
  /** Another supervisor asks to take over: stop the worker gracefully, then release. Stays pending when nobody asks. */
  readonly asked: Promise<string>;
  /** Only when the worker's whole tree is reaped, also after a loss: frees the record if it is ours. One try; never rejects. */
  release(): Promise<void>;
}

export interface Lease {
  /** One at a time. Rejects with the reason of `stop`, or with LeaseConfigError when the engine turns the first look down for good. */
  acquire(stop: AbortSignal, options?: { readonly takeover?: boolean }): Promise<Term>;
  status(): LeaseStatus;
  /** ms, includes suspend. */
  now(): number;
  /** Ends a wait; does not release a term, but gives back what a last write may have won. */
  close(): Promise<void>;
}

/** A store keeps its time limit itself; this one only keeps a broken one from holding the keeper up for ever. */
const OVERTIME_MS = 500;
const TIMER_MAX_MS = 2 ** 31 - 1;

type Untimed<E> = E extends unknown ? Omit<E, 'atMs' | 'unixMs' | 'random'> : never;

interface Promised<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: unknown): void;
}

function promised<T>(): Promised<T> {
  let settle!: Pick<Promised<T>, 'resolve' | 'reject'>;
  const promise = new Promise<T>((resolve, reject) => {
    settle = { resolve, reject };
  });
  return { promise, ...settle };
}

export function createLease(options: LeaseOptions): Lease {
  const { store, timing, host, pid, lock } = options;
  const clock = options.clock ?? createLeaseClock();
  const policy: KeeperPolicy = { timing, host, pid, lock, id: options.id ?? randomUUID() };
  const closing = new AbortController();
  const queue: KeeperEvent[] = [];
  let keeper: Keeper = { ...newKeeper, first: options.first ?? false };
  let busy = false;
  let timer: NodeJS.Timeout | undefined;
  let seeking: Promised<Term> | null = null;
  let term: { lost: Promised<Lost>; asked: Promised<string>; released: Promised<void> } | null = null;
  let answered = promised<void>();
  let watching: Promise<void> | null = null;

  function send(event: Untimed<KeeperEvent>): void {
    const look = clock.look();
    if (look.leaped) enqueue({ kind: 'doubt' }, look);
    enqueue(event, look);
  }

  function enqueue(event: Untimed<KeeperEvent>, { nowMs, unixMs }: ClockLook): void {
    queue.push({ ...event, atMs: nowMs, unixMs, random: Math.random() } as KeeperEvent);
    if (busy) return;
    busy = true;
    try {
      for (let next = queue.shift(); next; next = queue.shift()) {
        const [state, effects] = stepKeeper(keeper, next, policy);
        keeper = state;
        for (const effect of effects) perform(effect, next.atMs);
      }
    } finally {
      busy = false;
    }
  }

  function perform(effect: KeeperEffect, atMs: number): void {
    switch (effect.do) {
      case 'read':
        ask(effect.request, effect.ms, async (ms) => ({ kind: 'seen', seen: await store.read(ms) }));
        break;
      case 'cas': {
        const { prev, next } = effect;
        ask(effect.request, effect.ms, async (ms) => {
          const result = await store.cas(prev, next, ms);
          return result.ok
            ? { kind: 'written', rev: result.rev }
            : { kind: 'conflict', current: result.current };
        });
        break;
      }
      case 'won':
        term = { lost: promised(), asked: promised(), released: promised() };
        seeking?.resolve(makeTerm(effect.epoch, term));
        seeking = null;
        break;
      case 'lost':
        term?.lost.resolve({ why: effect.why, killBy: effect.killByMs });
        break;
      case 'asked':
        term?.asked.resolve(effect.by);
        break;
      case 'released':
        term?.released.resolve();
        term = null;
        break;
      case 'refused':
        seeking?.reject(new LeaseConfigError(effect.why));
        seeking = null;
        break;
      case 'say':
        options.onSaying?.(effect.saying);
        break;
      case 'wake':
        clearTimeout(timer);
        if (effect.atMs === null || closing.signal.aborted) break;
        // Whole milliseconds, and never early.
        timer = setTimeout(
          () => send({ kind: 'due' }),
          Math.min(TIMER_MAX_MS, Math.ceil(Math.max(0, effect.atMs - atMs))),
        );
        break;
    }
  }

  function ask(request: number, ms: number, carryOut: (ms: number) => Promise<Outcome>): void {
    let over = false;
    const end = (outcome: Outcome) => {
      if (over) return;
      over = true;
      clearTimeout(limit);
      send({ kind: 'answer', request, outcome });
      answered.resolve();
      answered = promised();
    };
    const limit = setTimeout(() => end(failure(new LeaseIoError('no answer', true))), ms + OVERTIME_MS);
    carryOut(ms).then(end, (error: unknown) => end(failure(error)));
  }

  function makeTerm(epoch: number, own: NonNullable<typeof term>): Term {
    const present = () => term === own;
    return {
      epoch,
      valid() {
        const look = clock.look();
        if (look.leaped) enqueue({ kind: 'doubt' }, look);
        return !look.leaped && present() && holds(keeper, look.nowMs, policy);
      },
      remaining: () =>
        present() && keeper.role === 'leader'
          ? Math.max(0, stopAtMs(keeper, policy) - clock.look().nowMs)
          : 0,
      lost: own.lost.promise,
      asked: own.asked.promise,
      release() {
        if (present()) {
          own.lost.resolve({ why: 'stop', killBy: clock.look().nowMs });
          send({ kind: 'release' });
        }
        return own.released.promise;
      },
    };
  }

  const presentRev = () =>
    (keeper.role === 'standby' ? keeper.sight?.seen?.rev : keeper.term?.seen?.rev) ?? null;

  /** What the engine says of changes; polling stands behind it. */
  async function watch(): Promise<void> {
    const { signal } = closing;
    const forMs = 10 * timing.pollMs;
    for (let quick = 0; !signal.aborted; ) {
      const sinceMs = performance.now();
      await store.changed(presentRev(), forMs, signal).catch(() => {});
      if (signal.aborted) return;
      const tookMs = performance.now() - sinceMs;
      if (tookMs >= forMs - 50) continue;
      send({ kind: 'hint' });
      // Until we know what has changed the next call would only say the same.
      if (keeper.request !== null) await Promise.race([answered.promise, nap(timing.pollMs)]);
      // One that cannot wait comes back at once, again and again.
      quick = tookMs < 50 ? quick + 1 : 0;
      if (quick > 2) await nap(Math.min(timing.pollMs, 25 * 2 ** quick));
    }
  }

  const nap = (ms: number) => pause(ms, undefined, { signal: closing.signal, ref: false }).catch(() => {});

  return {
    acquire(stop, { takeover = false } = {}) {
      if (stop.aborted) return Promise.reject(stop.reason);
      if (seeking || keeper.role !== 'idle') throw new Error('the lease is sought or held already');
      const mine = promised<Term>();
      seeking = mine;
      const quit = () => {
        if (seeking !== mine) return;
        seeking = null;
        send({ kind: 'quit' });
        mine.reject(stop.reason);
      };
      stop.addEventListener('abort', quit, { once: true });
      const leave = () => stop.removeEventListener('abort', quit);
      mine.promise.then(leave, leave);
      send({ kind: 'seek', takeover });
      watching ??= watch();
      return mine.promise;
    },
    status: () => leaseStatus(keeper, clock.look().nowMs, policy),
    now: () => clock.look().nowMs,
    async close() {
      seeking?.reject(new Error('the lease was closed'));
      seeking = null;
      if (keeper.role === 'standby') send({ kind: 'quit' });
      // A write under way may still win; the keeper then gives it back.
      const untilMs = performance.now() + 2 * (timing.requestMs + OVERTIME_MS);
      while (keeper.role !== 'leader' && keeper.request !== null && performance.now() < untilMs)
        await Promise.race([answered.promise, nap(timing.requestMs)]);
      closing.abort();
      clearTimeout(timer);
      await watching;
      await store.close();
    },
  };
}

function failure(error: unknown): Outcome {
  const why = error instanceof Error ? error.message : String(error);
  const settled = LeaseConfigError.is(error) || (LeaseIoError.is(error) && !error.maybeApplied);
  return { kind: 'failed', why, settled, lasting: LeaseConfigError.is(error) };
}
