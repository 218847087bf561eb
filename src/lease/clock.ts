/**
 * The clock of a lease: it includes the time in which the machine was suspended, and nobody can set it.
 *
 * Linux: what Node measures with (performance.now, timers) is CLOCK_MONOTONIC, which stands still in suspend; os.uptime() is
 * CLOCK_BOOTTIME, which does not, in steps of 10 ms. The greater of the two counts. On macOS the monotonic clock includes sleep,
 * and os.uptime() comes from the wall clock.
 * A virtual machine that was frozen may see neither move. Then the wall clock, once it is set right, is the witness: `leaped`.
 */
import { uptime } from 'node:os';

export interface ClockSources {
  monotonicMs(): number;
  /** Null: none, or none to be trusted. */
  boottimeMs(): number | null;
  unixMs(): number;
}

export interface ClockLook {
  /** Since the clock was made. Never goes back. */
  readonly nowMs: number;
  readonly unixMs: number;
  /** The wall clock ran ahead of `nowMs` since the last look: time may have passed that we did not see. */
  readonly leaped: boolean;
}

export interface LeaseClock {
  look(): ClockLook;
}

const BOOTTIME_STEP_MS = 10;
const LEAP_MS = 1_000;

export const systemSources: ClockSources = {
  monotonicMs: () => performance.now(),
  boottimeMs() {
    if (process.platform !== 'linux') return null;
    try {
      return uptime() * 1_000;
    } catch {
      return null;
    }
  },
  unixMs: () => Date.now(),
};

export function createLeaseClock(sources: ClockSources = systemSources): LeaseClock {
  const monotonic0 = sources.monotonicMs();
  const boottime0 = sources.boottimeMs();
  let nowMs = 0;
  /** Of the wall clock, at the last look. */
  let aheadMs = sources.unixMs();
  return {
    look() {
      const boottime = sources.boottimeMs();
      const slept = boottime === null || boottime0 === null ? 0 : boottime - boottime0 - BOOTTIME_STEP_MS;
      nowMs = Math.max(nowMs, sources.monotonicMs() - monotonic0, slept);
      const unixMs = sources.unixMs();
      const before = aheadMs;
      aheadMs = unixMs - nowMs;
      return { nowMs, unixMs, leaped: aheadMs - before > LEAP_MS };
    },
  };
}
