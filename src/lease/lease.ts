/**
 * The lease of a run: performs what the keeper decides on an engine, with a clock and timers, and tells the supervisor's loop what
 * becomes of the right to poll. Who may poll and until when is decided in keeper.ts, and nowhere here.
 */
import { createHash, randomUUID } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname, uptime } from 'node:os';
import { EXIT, SinglepollError } from '../errors.ts';
import type { Report } from '../output/report.ts';
import { duration, holderText, type Level } from '../output/words.ts';
import type { LeaseEntry, Problem } from '../supervisor/status.ts';
import type { Ending } from '../supervisor/table.ts';
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
  takeFromMs,
} from './keeper.ts';
import type { LeaseRecord } from './record.ts';
import { LeaseConfigError, LeaseIoError, type LeaseStore } from './store.ts';
import {
  type ClockLook,
  type ClockSources,
  createLeaseClock,
  type LeaseClock,
  type LeaseTiming,
  livesMs,
  stopAfterMs,
} from './timing.ts';
import { parseLeaseUrl } from './url.ts';
import { keepWatching, type Watcher } from './watch.ts';

export type LeaseEvent =
  /** Won from another machine, which let go or was not heard of. */
  | { readonly kind: 'taken'; readonly from: string }
  /** The worker has to go. `lost`: no poll may pass as of now; otherwise somebody asks for it. */
  | { readonly kind: 'unleased'; readonly reason: string; readonly lost: boolean }
  /** Whatever is left of the worker has to be killed now. */
  | { readonly kind: 'kill-due' }
  | { readonly kind: 'blocked'; readonly ending: Ending };

export interface Lease {
  /** Stands by; calls back when this machine may poll. */
  seek(won: () => void): void;
  /** Nothing of the worker is left: others may poll. */
  release(): void;
  /** Asked before every poll that goes out and every answer that is handed on. */
  valid(): boolean;
  /** Resolves when it is valid, or when the term is over; null where there is nothing to wait for. */
  settled(): Promise<void> | null;
  /** The fencing number; null between two terms. */
  epoch(): number | null;
  /** The present term was won without a wait: nobody else can have polled before it. */
  wasFree(): boolean;
  status(): LeaseEntry;
  problem(): Problem | null;
  /** `clean`: nothing of the worker is left. Gives back what a last write may have won. Never rejects. */
  end(clean: boolean): Promise<void>;
}

export interface LeaseOptions {
  readonly timing: LeaseTiming;
  /** Ask the present holder to hand over. */
  readonly takeover: boolean;
  /** Do not stand by: end where another machine holds it. */
  readonly noWait: boolean;
  readonly report: Report;
  readonly onEvent: (event: LeaseEvent) => void;
  /** Names the kernel lock that only this process can hold; null: there is none that proves that much. */
  readonly lock: string | null;
  readonly clock?: LeaseClock;
  readonly id?: string;
}

/** A store keeps its time limit itself; this one only keeps a broken store from holding the keeper up for ever. */
const OVERTIME_MS = 500;
const TIMER_MAX_MS = 2 ** 31 - 1;
const KILL_LOOK_MS = 250;
/** How long --no-wait tries to reach the engine. */
const PATIENCE_MS = 30_000;
/** A lease that is won sooner was free. */
const FREE_WITHIN_MS = 1_000;
/** How long `status` and `who` wait for an engine. */
const GLANCE_MS = 2_000;

/**
 * Linux: what Node measures with is CLOCK_MONOTONIC, which stands still in suspend; os.uptime() is CLOCK_BOOTTIME, which does not.
 * On macOS the monotonic clock includes sleep, and os.uptime() comes from the wall clock.
 */
export const systemSources: ClockSources = {
  monotonicMs: () => performance.now(),
  boottimeMs: () => (process.platform === 'linux' ? uptime() * 1_000 : null),
  unixMs: () => Date.now(),
};

type Untimed<E> = E extends unknown ? Omit<E, 'atMs' | 'unixMs' | 'random'> : never;

/** `url` with its credentials. Throws SinglepollError 78 for what is wrong with it or the files it names. Connects to nothing yet. */
export async function openLease(
  url: string,
  botId: number,
  lockName: string,
  options: Omit<LeaseOptions, 'lock'>,
): Promise<Lease> {
  const store = await openStore(url, botId).catch((error: Error) => {
    throw error instanceof LeaseConfigError ? new SinglepollError(EXIT.config, error.message) : error;
  });
  return createLease(store, { ...options, lock: kernelLockId(lockName) });
}

export function createLease(store: LeaseStore, options: LeaseOptions): Lease {
  const { timing, lock, report } = options;
  const engine = store.kind;
  const clock = options.clock ?? createLeaseClock(systemSources);
  const id = options.id ?? randomUUID();
  const policy: KeeperPolicy = { timing, host: hostname(), pid: process.pid, lock, id };
  const queue: KeeperEvent[] = [];
  let keeper: Keeper = newKeeper;
  let busy = false;
  let watcher: Watcher | null = null;
  let dueTimer: NodeJS.Timeout | undefined;
  let killTimer: NodeJS.Timeout | undefined;
  let patience: NodeJS.Timeout | undefined;
  /** Waits for the lease, or for the end of a release first. */
  let won: (() => void) | null = null;
  let soughtAtMs = 0;
  let { takeover } = options;
  let wasFree = false;
  /** Another machine that was seen to hold it since it is sought. */
  let metHolder: string | null = null;
  let toldAbsent = false;
  /** Nothing is told any more. */
  let over = false;
  /** Nothing is sent any more either. */
  let closed = false;
  let ended: Promise<void> | null = null;
  /** Called after each step of the keeper. */
  const waiting = new Set<() => void>();

  /** Every look goes through here: a leap that only one of them sees must not go by. */
  function look(): ClockLook {
    const seen = clock.look();
    if (seen.leaped) enqueue({ kind: 'doubt' }, seen);
    return seen;
  }

  function send(event: Untimed<KeeperEvent>): void {
    enqueue(event, look());
  }

  function enqueue(event: Untimed<KeeperEvent>, { nowMs, unixMs }: ClockLook): void {
    queue.push({ ...event, atMs: nowMs, unixMs, random: Math.random() } as KeeperEvent);
    if (busy) return;
    busy = true;
    try {
      for (let next = queue.shift(); next; next = queue.shift()) {
        const [before, [state, effects]] = [keeper, stepKeeper(keeper, next, policy)];
        keeper = state;
        const hasChanged = before.sight !== null && state.sight?.sinceMs !== before.sight.sinceMs;
        if (hasChanged && !state.watched) watcher?.missed();
        for (const effect of effects) perform(effect, next.atMs);
      }
    } finally {
      busy = false;
    }
    for (const check of waiting) check();
  }

  function perform(effect: KeeperEffect, atMs: number): void {
    switch (effect.do) {
      case 'read':
        ask(
          effect,
          store.read(effect.ms).then((seen) => ({ kind: 'seen', seen })),
        );
        break;
      case 'cas': {
        const written = store.cas(effect.prev, effect.next, effect.ms);
        ask(
          effect,
          written.then((it) =>
            it.ok ? { kind: 'written', rev: it.rev } : { kind: 'conflict', current: it.current },
          ),
        );
        break;
      }
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
        killAt(effect.killByMs);
        break;
      }
      case 'asked':
        tell({ kind: 'unleased', reason: 'another machine asks to take over the lease', lost: false });
        break;
      case 'released':
        if (won) seek();
        break;
      case 'refused':
        tell({ kind: 'blocked', ending: { code: EXIT.config, reason: effect.why } });
        break;
      case 'say':
        say(effect.saying);
        break;
      case 'wake':
        clearTimeout(dueTimer);
        if (effect.atMs === null || closed) break;
        // Whole milliseconds, and never early.
        dueTimer = setTimeout(
          () => send({ kind: 'due' }),
          Math.min(TIMER_MAX_MS, Math.ceil(Math.max(0, effect.atMs - atMs))),
        );
        break;
    }
  }

  function ask({ request, ms }: { request: number; ms: number }, answer: Promise<Outcome>): void {
    const end = (outcome: Outcome) => {
      clearTimeout(limit);
      // The keeper drops the answer to a request that is over.
      send({ kind: 'answer', request, outcome });
    };
    const limit = setTimeout(() => end(failure(new LeaseIoError('no answer', true))), ms + OVERTIME_MS);
    answer.then(end, (error: unknown) => end(failure(error)));
  }

  function tell(event: LeaseEvent): void {
    if (!over) options.onEvent(event);
  }

  function line(text: string, level: Level = 'info'): void {
    report.line('lease', text, level);
  }

  function seek(): void {
    soughtAtMs = performance.now();
    metHolder = null;
    watcher ??= keepWatching(
      (listener) => store.watch((keeper.sight ?? keeper.term)?.seen?.rev ?? null, listener),
      2 * timing.pollMs,
      () => send({ kind: 'hint' }),
    );
    send({ kind: 'seek', takeover });
  }

  function begin(epoch: number): void {
    takeover = false;
    toldAbsent = false;
    clearTimeout(patience);
    // A holder may let go within the first moments too.
    wasFree = metHolder === null && performance.now() - soughtAtMs < FREE_WITHIN_MS;
    line(
      `ours (epoch ${epoch}), in ${engine}: this machine may poll; renewed every ${duration(timing.renewMs)}, another may take over ${duration(timing.ttlMs)} after the last renewal`,
      'good',
    );
    if (metHolder !== null) tell({ kind: 'taken', from: metHolder });
    const callBack = won;
    won = null;
    if (!over) callBack?.();
  }

  /** Looked at again and again: timers stand still while the machine is suspended, this clock does not. */
  function killAt(byMs: number): void {
    const leftMs = byMs - look().nowMs;
    if (over) return;
    if (leftMs <= 0) tell({ kind: 'kill-due' });
    else killTimer = setTimeout(killAt, Math.min(leftMs, KILL_LOOK_MS), byMs);
  }

  function say(saying: KeeperSaying): void {
    switch (saying.what) {
      case 'sees':
        sees(saying.rec);
        break;
      case 'unreachable':
        unreachable(saying.why);
        break;
      case 'reachable':
        clearTimeout(patience);
        patience = undefined;
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
    }
  }

  function sees(rec: LeaseRecord | null): void {
    const isAbsent = rec === null || rec.vacant !== undefined;
    if (isAbsent && !toldAbsent)
      line(
        `no record of this bot in ${engine} (its first start, or the record was lost): waiting ${duration(timing.ttlMs)}, in case somebody still polls by a lost one`,
      );
    toldAbsent = isAbsent;
    if (isAbsent || rec.holder === '' || (rec.lock !== undefined && rec.lock === lock)) return;
    const who = holderText({ host: rec.host ?? null, pid: rec.pid ?? null });
    metHolder = who;
    if (options.noWait) {
      const since = rec.since ? `, since ${rec.since}` : '';
      const reason = `another machine holds the lease: ${who}${since}. Leave out --no-wait to stand by, or give --takeover to ask it to hand over`;
      tell({ kind: 'blocked', ending: { code: EXIT.otherPoller, reason } });
      return;
    }
    line(
      `standing by: ${who} may poll (epoch ${rec.epoch})${takeover ? '; asking it to hand over' : ''}; takes over when it lets go, or is not heard of for ${duration(Math.max(rec.ttl, timing.ttlMs))}`,
    );
  }

  function unreachable(why: string): void {
    if (keeper.role === 'leader') {
      const leftMs = Math.max(0, stopAtMs(keeper, policy) - look().nowMs);
      line(
        `${engine} is out of reach: ${why}; polling goes on for ${duration(leftMs)} at most, then no poller rather than two`,
        'warn',
      );
      return;
    }
    const trying = options.noWait ? `trying for ${duration(PATIENCE_MS)}` : 'trying again and again';
    line(`${engine} is out of reach: ${why}; standing by, as nobody may poll without it; ${trying}`, 'warn');
    if (!options.noWait || patience) return;
    const ending = { code: EXIT.unreachable, reason: `the lease engine is out of reach: ${why}` };
    patience = setTimeout(tell, PATIENCE_MS, { kind: 'blocked', ending });
  }

  function valid(): boolean {
    const seen = look();
    return !seen.leaped && holds(keeper, seen.nowMs, policy);
  }

  /** Resolves after the step after which `isSo`. */
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
    clearTimeout(patience);
    clearTimeout(killTimer);
    if (clean) send({ kind: 'release' });
    send({ kind: 'quit' });
    // A write under way may still win; the keeper then gives it back.
    await until(() => keeper.role !== 'releasing' && (keeper.role !== 'idle' || keeper.request === null));
    closed = true;
    clearTimeout(dueTimer);
    watcher?.close();
    await store.close().catch(() => {});
  }

  return {
    seek(callBack) {
      if (over) return;
      won = callBack;
      if (keeper.role === 'idle') seek();
    },
    release() {
      clearTimeout(killTimer);
      send({ kind: 'release' });
    },
    valid,
    settled() {
      // Not lost, and not valid either: time may have passed unseen.
      const inDoubt = () => keeper.role === 'leader' && !valid() && look().nowMs < stopAtMs(keeper, policy);
      return inDoubt() ? until(() => !keeper.doubted || keeper.role !== 'leader') : null;
    },
    epoch: () =>
      keeper.role === 'leader' || keeper.role === 'closing' ? (keeper.term?.epoch ?? null) : null,
    wasFree: () => wasFree,
    status: () => leaseEntry(engine, keeper, look(), policy),
    problem() {
      const { nowMs } = look();
      if (keeper.reach?.ok !== false) return null;
      const { why, sinceMs } = keeper.reach;
      const end =
        keeper.role === 'leader'
          ? `polling ends in ${duration(Math.max(0, stopAtMs(keeper, policy) - nowMs))} unless it answers`
          : 'nobody polls from here until it answers';
      return {
        code: 'lease-unreachable',
        message: `${engine} is out of reach for ${duration(nowMs - sinceMs)} (${why}): ${end}`,
      };
    },
    end: (clean) => (ended ??= end(clean)),
  };
}

function failure(error: unknown): Outcome {
  const why = error instanceof Error ? error.message : String(error);
  const settled = error instanceof LeaseConfigError || (error instanceof LeaseIoError && !error.maybeApplied);
  return { kind: 'failed', why, settled, lasting: error instanceof LeaseConfigError };
}

const NOBODY = { holder: null, mine: false, epoch: null, expiresAt: null, since: null, decision: null };

/** What a keeper knows, for `status`. */
export function leaseEntry(
  engine: string,
  keeper: Keeper,
  { nowMs, unixMs }: Pick<ClockLook, 'nowMs' | 'unixMs'>,
  policy: KeeperPolicy,
): LeaseEntry {
  const { role, term, sight, reach, epoch } = keeper;
  const known = (role === 'standby' ? sight : term)?.seen?.rec;
  const rec = known?.vacant === undefined ? known : undefined;
  const mine = role === 'leader';
  const decidesAtMs = mine
    ? stopAtMs(keeper, policy)
    : role === 'standby'
      ? takeFromMs(keeper, policy)
      : Number.POSITIVE_INFINITY;
  const at = (ms: number) => new Date(unixMs + Math.max(0, Math.round(ms - nowMs))).toISOString();
  // A holder's stop point lies before the end of what others grant it.
  const graceMs = mine ? livesMs(policy.timing) - stopAfterMs(policy.timing) : 0;
  const decides = Number.isFinite(decidesAtMs);
  return {
    ...NOBODY,
    engine,
    ...holderOf(rec),
    mine,
    epoch: (rec?.epoch ?? epoch) || null,
    expiresAt: decides ? at(decidesAtMs + graceMs) : null,
    role: mine ? 'holder' : 'standby',
    decision: decides ? { what: mine ? 'stop' : 'take', at: at(decidesAtMs) } : null,
    reachable: reach === null ? null : reach.ok,
    unreachable: reach?.ok === false ? reach.why : null,
  };
}

function holderOf(rec: LeaseRecord | undefined): Pick<LeaseEntry, 'holder' | 'since'> {
  if (!rec?.holder) return { holder: null, since: null };
  return { holder: holderText({ host: rec.host ?? null, pid: rec.pid ?? null }), since: rec.since ?? null };
}

/** One look at the record by whoever does not seek the lease. Never rejects: what is wrong stands in `unreachable`. */
export async function lookAtLease(url: string, botId: number): Promise<LeaseEntry> {
  let store: LeaseStore | null = null;
  const engineOf = () => store?.kind ?? url.slice(0, url.indexOf(':'));
  try {
    store = await openStore(url, botId);
    const rec = (await store.read(GLANCE_MS))?.rec;
    const found = { ...holderOf(rec), epoch: rec?.epoch || null };
    return { ...NOBODY, engine: store.kind, ...found, role: 'none', reachable: true, unreachable: null };
  } catch (error) {
    const { message } = error as Error;
    return { ...NOBODY, engine: engineOf(), role: 'none', reachable: false, unreachable: message };
  } finally {
    await store?.close().catch(() => {});
  }
}

/**
 * The engine that the URL names, which is loaded only now. Connects to nothing yet. Throws LeaseConfigError for what is wrong
 * with the URL or the files it names. `botId`: the digits before the token's colon, never the token.
 */
export async function openStore(text: string, botId: number | string): Promise<LeaseStore> {
  const url = parseLeaseUrl(text);
  const name = `singlepoll/${botId}`;
  switch (url.kind) {
    case 'redis':
      return (await import('./redis.ts')).openRedis(url, name);
    case 'postgres':
      return (await import('./postgres.ts')).openPostgres(url, name);
    case 'etcd':
      return (await import('./etcd.ts')).openEtcd(url, name);
    case 'kubernetes':
      return (await import('./kubernetes.ts')).openKubernetes(url, `singlepoll-${botId}`);
  }
}

/**
 * Names a kernel lock among all machines: whoever holds the lock of this name knows that an earlier holder of the same one is dead.
 * The lock lives in one network namespace of one boot, so both belong to the name. Null where the system tells neither.
 */
function kernelLockId(lockName: string): string | null {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    const namespace = readlinkSync('/proc/self/ns/net');
    return createHash('sha256').update(`${boot} ${namespace} ${lockName}`).digest('hex').slice(0, 32);
  } catch {
    return null;
  }
}
