/**
 * The lease of a run: carries out the keeper's decisions with an engine, a clock and one timer, and tells the supervisor's loop
 * when the right to poll is won and lost. Who may poll and until when is decided in keeper.ts alone.
 */
import { createHash, randomUUID } from 'node:crypto';
import { hostname, uptime } from 'node:os';
import type { LeaseConfig } from '../config/checks.ts';
import { configFailure } from '../config/messages.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { readLink, readText } from '../machine/procfs.ts';
import type { Report } from '../output/report.ts';
import { duration, type Level } from '../output/words.ts';
import type { LeaseEntry, Problem } from '../supervisor/status.ts';
import type { Ending } from '../supervisor/table.ts';
import { inOrder } from '../turns.ts';
import { holderOf, leaseEntry, openStore } from './glance.ts';
import {
  holds,
  type Keeper,
  type KeeperEffect,
  type KeeperEvent,
  type KeeperPolicy,
  newKeeper,
  type Outcome,
  stepKeeper,
  stopAtMs,
} from './keeper.ts';
import { LeaseConfigError, LeaseIoError, type LeaseRecord, type LeaseStore } from './store.ts';
import {
  type ClockLook,
  type ClockSources,
  createLeaseClock,
  type LeaseClock,
  type LeaseTiming,
  timingOf,
} from './timing.ts';
import { leaseMistakes } from './url.ts';

export type LeaseEvent =
  /** The lease was won from another machine, which released it or did not renew it. */
  | { readonly kind: 'taken'; readonly from: string }
  /** The worker has to stop. `lost`: no poll may pass from now on; otherwise another machine asks for a hand-over. */
  | { readonly kind: 'unleased'; readonly reason: string; readonly lost: boolean }
  | { readonly kind: 'kill-due' }
  | { readonly kind: 'blocked'; readonly ending: Ending };

export type Lease = ReturnType<typeof createLease>;

interface LeaseOptions {
  readonly timing: LeaseTiming;
  readonly takeover: boolean;
  /** Do not stand by, but end if another machine holds it. */
  readonly noWait: boolean;
  readonly report: Report;
  readonly onEvent: (event: LeaseEvent) => void;
  /** Name of the kernel lock that only this process can hold; null: this system has no such proof. */
  readonly lock: string | null;
  readonly clock?: LeaseClock;
  readonly id?: string;
}

/** How often the clock is read: timers stand still while the machine is suspended, the clock does not. */
const LOOK_MS = 1_000;
/** How long --no-wait tries to reach the engine. */
const PATIENCE_MS = 30_000;

/**
 * On Linux Node measures with CLOCK_MONOTONIC, which stands still in suspend; os.uptime() is CLOCK_BOOTTIME, which does not.
 * On macOS the monotonic clock includes sleep, and os.uptime() comes from the wall clock.
 */
export const systemSources: ClockSources = {
  monotonicMs: () => performance.now(),
  boottimeMs: () => (process.platform === 'linux' ? uptime() * 1_000 : null),
  unixMs: () => Date.now(),
};

type Untimed<E> = E extends unknown ? Omit<E, 'atMs' | 'unixMs' | 'random'> : never;

/** Throws SinglepollError 78 for what is wrong with the URL or the files it names. Connects to nothing yet. */
export async function openLease(
  asked: LeaseConfig,
  botId: number,
  lockName: string,
  options: Omit<LeaseOptions, 'lock' | 'timing'>,
): Promise<Lease> {
  const timing = timingOf(asked);
  if (typeof timing === 'string') throw configFailure(leaseMistakes(asked));
  const store = await openStore(asked.url, botId).catch((error: Error) => {
    throw error instanceof LeaseConfigError ? new SinglepollError(EXIT.config, error.message) : error;
  });
  return createLease(store, { ...options, timing, lock: kernelLockId(lockName) });
}

export function createLease(store: LeaseStore, options: LeaseOptions) {
  const { timing, lock, noWait } = options;
  const engine = store.kind;
  const clock = options.clock ?? createLeaseClock(systemSources);
  const id = options.id ?? randomUUID();
  const policy: KeeperPolicy = { timing, lock, host: hostname(), pid: process.pid, id };
  let keeper: Keeper = { ...newKeeper, wish: options.takeover };
  let unwatch: (() => void) | null = null;
  let timer: NodeJS.Timeout | undefined;
  let won: (() => void) | null = null;
  /** Whether, since we seek the lease, another machine held it (its name), or the record was missing. */
  let metHolder: string | null = null;
  let metNobody = false;
  let wasFree = false;
  let over = false;
  let ended: Promise<void> | null = null;
  const waiting = new Set<() => void>();

  /** The only reader of the clock, because a leap is shown to one reader only. */
  function look(): ClockLook {
    const seen = clock();
    if (seen.leaped) enqueue({ kind: 'doubt' }, seen);
    return seen;
  }

  function send(event: Untimed<KeeperEvent>): void {
    enqueue(event, look());
  }

  function enqueue(event: Untimed<KeeperEvent>, { nowMs, unixMs }: ClockLook): void {
    handle({ ...event, atMs: nowMs, unixMs, random: Math.random() } as KeeperEvent);
  }

  const handle = inOrder((event: KeeperEvent) => {
    const [state, effects] = stepKeeper(keeper, event, policy);
    keeper = state;
    for (const effect of effects) perform(effect, event.atMs);
    losePatience(event.atMs);
    for (const check of waiting) check();
  });

  function perform(effect: KeeperEffect, atMs: number): void {
    switch (effect.do) {
      case 'read':
      case 'cas':
        void ask(effect);
        break;
      case 'won':
        begin(effect.epoch);
        break;
      case 'lost': {
        const reason =
          effect.why === 'taken'
            ? "the lease is another's now"
            : `the lease ran out: ${engine} has not taken a renewal in time`;
        line(`lost: ${reason}; the gateway is shut, the worker goes before anybody else may start`, 'error');
        tell({ kind: 'unleased', reason, lost: true });
        break;
      }
      case 'kill':
        tell({ kind: 'kill-due' });
        break;
      case 'asked':
        tell({ kind: 'unleased', reason: 'another machine asks to take over the lease', lost: false });
        break;
      case 'released':
        if (won) seek();
        break;
      case 'refused':
        block(EXIT.config, effect.why);
        break;
      case 'sees':
        sees(effect.rec);
        break;
      case 'unreachable': {
        const then =
          keeper.role === 'leader'
            ? `polling goes on for ${duration(leftMs())} at most, then no poller rather than two`
            : `standing by, as nobody may poll without it; trying ${noWait ? `for ${duration(PATIENCE_MS)}` : 'again and again'}`;
        line(`${engine} is out of reach: ${effect.why}; ${then}`, 'warn');
        break;
      }
      case 'reachable':
        line(`${engine} answers again`, 'good');
        break;
      case 'vanished':
        line(`the record is gone from ${engine}; it is still our term, so it is written again`, 'warn');
        break;
      case 'rolled-back':
        line(
          `${engine} has forgotten writes that it had acknowledged (a fail-over, a restored backup?); polling pauses until it has taken a new one`,
          'warn',
        );
        break;
      case 'wake': {
        clearTimeout(timer);
        if (effect.atMs === null) break;
        // Timers take whole milliseconds and must not fire early.
        const ms = Math.min(LOOK_MS, Math.ceil(Math.max(0, effect.atMs - atMs)));
        timer = setTimeout(() => send({ kind: 'due' }), ms);
        break;
      }
    }
  }

  async function ask(effect: Extract<KeeperEffect, { do: 'read' | 'cas' }>): Promise<void> {
    let outcome: Outcome;
    try {
      if (effect.do === 'read') outcome = { kind: 'seen', seen: await store.read(effect.ms) };
      else {
        const done = await store.cas(effect.prev, effect.next, effect.ms);
        outcome = done.ok ? { kind: 'written', rev: done.rev } : { kind: 'conflict', current: done.current };
      }
    } catch (error) {
      const lasting = error instanceof LeaseConfigError;
      const settled = lasting || (error instanceof LeaseIoError && !error.maybeApplied);
      outcome = { kind: 'failed', why: (error as Error).message, settled, lasting };
    }
    send({ kind: 'answer', request: effect.request, outcome });
  }

  function tell(event: LeaseEvent): void {
    if (!over) options.onEvent(event);
  }

  function block(code: number, reason: string, hint?: string): void {
    tell({ kind: 'blocked', ending: { code, reason, ...(hint ? { hint } : {}) } });
  }

  function line(text: string, level: Level = 'info'): void {
    options.report.line('lease', text, level);
  }

  function seek(): void {
    metHolder = null;
    metNobody = false;
    unwatch ??= store.watch(2 * timing.pollMs, () => send({ kind: 'hint' }));
    send({ kind: 'seek' });
  }

  function begin(epoch: number): void {
    wasFree = metHolder === null && !metNobody;
    line(
      `ours (epoch ${epoch}), in ${engine}: this machine may poll; renewed every ${duration(timing.renewMs)}, another may take over ${duration(timing.ttlMs)} after the last renewal`,
      'good',
    );
    if (metHolder !== null) tell({ kind: 'taken', from: metHolder });
    const callBack = won;
    won = null;
    if (!over) callBack?.();
  }

  function losePatience(atMs: number): void {
    const { role, reach } = keeper;
    if (!noWait || role !== 'standby' || reach?.ok !== false || atMs < reach.sinceMs + PATIENCE_MS) return;
    block(EXIT.unreachable, `the lease engine is out of reach: ${reach.why}`);
    send({ kind: 'quit' });
  }

  function sees(rec: LeaseRecord | null): void {
    if (rec === null || rec.vacant !== undefined) {
      if (!metNobody)
        line(
          `no record of this bot in ${engine} (its first start, or the record was lost): waiting ${duration(timing.ttlMs)}, in case somebody still polls by a lost one`,
        );
      metNobody = true;
      return;
    }
    const { holder, since } = holderOf(rec);
    if (holder === null || (rec.lock !== undefined && rec.lock === lock)) return;
    metHolder = holder;
    if (noWait) {
      block(
        EXIT.otherPoller,
        `another machine holds the lease: ${holder}${since ? `, since ${since}` : ''}`,
        'singlepoll start --takeover …    # asks it to hand over; without --no-wait this one stands by',
      );
      return;
    }
    line(
      `standing by: ${holder} may poll (epoch ${rec.epoch})${keeper.wish ? '; asking it to hand over' : ''}; takes over when it lets go, or has not renewed it for ${duration(Math.max(rec.ttl, timing.ttlMs))}`,
    );
  }

  /** Time until polling ends unless the lease is renewed. */
  function leftMs(): number {
    return Math.max(0, stopAtMs(keeper, policy) - look().nowMs);
  }

  function valid(): boolean {
    const seen = look();
    return !seen.leaped && holds(keeper, seen.nowMs, policy);
  }

  /** Resolves after the first step after which `isSo` returns true. */
  function until(isSo: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = () => {
        if (isSo() && waiting.delete(check)) resolve();
      };
      waiting.add(check);
      check();
    });
  }

  async function end(clean: boolean): Promise<void> {
    over = true;
    won = null;
    if (clean) send({ kind: 'release' });
    send({ kind: 'quit' });
    // A write under way may still win the lease; the keeper then gives it back.
    await until(() => keeper.role !== 'releasing' && (keeper.role !== 'idle' || keeper.request === null));
    unwatch?.();
    // If the worker may still live, the record is left to expire.
    keeper = newKeeper;
    clearTimeout(timer);
    await store.close().catch(() => {});
  }

  return {
    /** Stands by; calls back when this machine may poll. */
    seek(callBack: () => void): void {
      if (over) return;
      won = callBack;
      if (keeper.role === 'idle') seek();
    },
    /** Call it when nothing of the worker is left: lets other machines poll, and ends the search for the lease. */
    release(): void {
      won = null;
      send({ kind: 'release' });
      send({ kind: 'quit' });
    },
    /** Asked before every poll that is sent and every answer that is passed on. */
    valid,
    /** Resolves when it is valid or the term is over; null: there is nothing to wait for. */
    settled(): Promise<void> | null {
      // The lease is not lost, but time may have passed unnoticed.
      const inDoubt = () => keeper.role === 'leader' && !valid() && leftMs() > 0;
      return inDoubt() ? until(() => !keeper.doubted || keeper.role !== 'leader') : null;
    },
    /** The fencing number; null: no term. */
    epoch: (): number | null =>
      keeper.role === 'leader' || keeper.role === 'closing' ? (keeper.term?.epoch ?? null) : null,
    /** The present term was won without a wait, so no other machine can have polled just before. */
    wasFree: () => wasFree,
    status: (): LeaseEntry => leaseEntry(engine, keeper, look(), policy),
    problem(): Problem | null {
      const { nowMs } = look();
      if (keeper.reach?.ok !== false) return null;
      const { why, sinceMs } = keeper.reach;
      const then =
        keeper.role === 'leader'
          ? `polling ends in ${duration(leftMs())} unless it answers`
          : 'nobody polls from here until it answers';
      return {
        code: 'lease-unreachable',
        message: `${engine} is out of reach for ${duration(nowMs - sinceMs)} (${why}): ${then}`,
      };
    },
    /** `clean`: nothing of the worker is left. Gives back a lease that a last write may have won. Never rejects. */
    end: (clean: boolean): Promise<void> => (ended ??= end(clean)),
  };
}

/**
 * Identifies a kernel lock among all machines: its holder knows that any earlier holder of the same lock is dead. The lock
 * lives in one network namespace of one boot, so the id covers both. Null: the system tells neither.
 */
function kernelLockId(lockName: string): string | null {
  const boot = readText('/proc/sys/kernel/random/boot_id')?.trim();
  const namespace = readLink('/proc/self/ns/net');
  if (boot === undefined || namespace === null) return null;
  return createHash('sha256').update(`${boot} ${namespace} ${lockName}`).digest('hex').slice(0, 32);
}
