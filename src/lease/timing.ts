/**
 * The times of a lease, whether they fit together, and the clock that measures them. Pure: the clock reads the given sources. All
 * deadlines of a holder count from t0, read before its last acknowledged write was sent; a standby's wait counts from when it
 * first saw the record, which is after t0.
 *
 *   t0 ──────────────── S ─────────────── D−K−σ ────────── D │ W
 *      polls             door shut, SIGTERM    SIGKILL   dead │ a standby takes over
 */
/** A greater ttl counts as a mistake, since no standby would wait that long. */
export const LONGEST_TTL_MS = 3_600_000;

export type LeaseTiming = Readonly<ReturnType<typeof timesOf>>;

/** By how much a machine's clock may run fast or slow. A quartz errs by 0.02 % at most, a clock under correction by 0.05 %. */
const CLOCK_RATE = 0.005;
/** A busy machine needs this long to reap, whatever the ttl is. */
const REAP_MIN_MS = 300;
const SLACK_MIN_MS = 200;

function timesOf(ttlMs: number) {
  const part = (share: number) => Math.round(ttlMs * share);
  return {
    /** T: how long a standby waits. */
    ttlMs,
    /** R: how often a holder writes. */
    renewMs: part(1 / 5),
    /** Q: time limit of a request. */
    requestMs: part(2 / 15),
    /** How often a standby looks if nothing wakes it. */
    pollMs: part(1 / 6),
    /** G: from SIGTERM to SIGKILL. */
    graceMs: part(1 / 3),
    /** K: from SIGKILL to reaped. */
    reapMs: Math.max(REAP_MIN_MS, part(1 / 15)),
    /** σ: how late timers and the scheduler may be. */
    slackMs: Math.max(SLACK_MIN_MS, part(1 / 30)),
  };
}

export const LEASE_PROFILES = {
  fast: timesOf(6_000),
  default: timesOf(15_000),
  /** For engines that are billed by the request or sleep when idle. */
  frugal: timesOf(60_000),
} as const;
export type LeaseProfile = keyof typeof LEASE_PROFILES;

/** The configured times. A string tells what is wrong with them: a clause with the arithmetic, without a full stop. */
export function timingOf(asked: { readonly profile: LeaseProfile; readonly ttlMs: number | null }) {
  const ttlMs = asked.ttlMs ?? LEASE_PROFILES[asked.profile].ttlMs;
  if (ttlMs > LONGEST_TTL_MS) return `a ttl of ${ttlMs} ms is more than an hour`;
  const timing = timesOf(ttlMs);
  const { renewMs, graceMs, reapMs, slackMs } = timing;
  const stopMs = stopAfterMs(timing);
  if (stopMs >= 2 * renewMs) return timing;
  return (
    `a ttl of ${ttlMs} ms, less ${ttlMs - livesMs(timing)} ms for the clocks, ${graceMs} ms from SIGTERM to SIGKILL, ` +
    `${reapMs} ms until the worker is gone and ${slackMs} ms for late timers, leaves ${stopMs} ms; ` +
    `two renewals, one each ${renewMs} ms, need ${2 * renewMs} ms`
  );
}

/** D: by t0 + this on the holder's clock the worker must be dead. */
export function livesMs({ ttlMs }: LeaseTiming): number {
  return Math.floor(ttlMs * (1 - CLOCK_RATE));
}

/** S: at t0 + this the door shuts and SIGTERM is sent. */
export function stopAfterMs(timing: LeaseTiming): number {
  return killAfterMs(timing) - timing.graceMs;
}

/** At t0 + this SIGKILL is sent. */
export function killAfterMs(timing: LeaseTiming): number {
  return livesMs(timing) - timing.reapMs - timing.slackMs;
}

/** W: how long a standby waits after it has first seen a record whose writer promised `ttlMs`. */
export function waitMs(timing: LeaseTiming, ttlMs: number): number {
  return Math.ceil(Math.max(timing.ttlMs, ttlMs) * (1 + CLOCK_RATE));
}

export interface ClockSources {
  monotonicMs(): number;
  /** Includes suspend. Null: the system has no such clock, or none that can be trusted. */
  boottimeMs(): number | null;
  unixMs(): number;
}

export interface ClockLook {
  /** Time since the clock was made. Never goes back. */
  readonly nowMs: number;
  readonly unixMs: number;
  /** The wall clock ran ahead of `nowMs` since the last look, so time may have passed unnoticed. */
  readonly leaped: boolean;
}

export type LeaseClock = () => ClockLook;

const BOOTTIME_STEP_MS = 10;
const LEAP_MS = 1_000;

/**
 * The clock of a lease includes suspend and can't be set: it is the greater of the monotonic time, which stands still in suspend,
 * and the boot time, which does not. In a frozen virtual machine neither may move; then the wall clock, once it is corrected,
 * shows the gap: `leaped`.
 */
export function createLeaseClock(sources: ClockSources): LeaseClock {
  const monotonic0 = sources.monotonicMs();
  const boottime0 = sources.boottimeMs();
  let nowMs = 0;
  /** How far the wall clock was ahead of `nowMs` at the last look. */
  let aheadMs = sources.unixMs();
  return () => {
    const boottime = sources.boottimeMs();
    const slept = boottime === null || boottime0 === null ? 0 : boottime - boottime0 - BOOTTIME_STEP_MS;
    nowMs = Math.max(nowMs, sources.monotonicMs() - monotonic0, slept);
    const unixMs = sources.unixMs();
    const before = aheadMs;
    aheadMs = unixMs - nowMs;
    return { nowMs, unixMs, leaped: aheadMs - before > LEAP_MS };
  };
}
