/**
 * The clocks of one simulated machine: a quartz that is a little fast or slow, suspend, a hypervisor that freezes everything, a wall
 * clock that is set. Timers run on the monotonic clock, as libuv's do.
 */
import type { Clock } from './clock.ts';

export type SimClocks = ReturnType<typeof createSimClocks>;

const EPOCH_MS = 1_700_000_000_000;
const BOOTTIME_STEP_MS = 10;

interface Timer {
  readonly dueMs: number;
  readonly act: () => void;
  cancel: () => void;
}

export function createSimClocks(clock: Clock, rate: number, skewMs: number, offsetMs: number) {
  /** Real time that the clock has not seen. */
  let suspendedMs = 0;
  let frozenMs = 0;
  let wallMs = skewMs;
  let since: { readonly atMs: number; readonly frozen: boolean } | null = null;
  const timers = new Set<Timer>();

  const standingMs = (frozen: boolean) =>
    since !== null && (frozen ? since.frozen : true) ? clock.now() - since.atMs : 0;
  const monotonicMs = () => offsetMs + rate * (clock.now() - suspendedMs - frozenMs - standingMs(false));
  const boottimeMs = () => {
    const exact = offsetMs + rate * (clock.now() - frozenMs - standingMs(true));
    return Math.floor(exact / BOOTTIME_STEP_MS) * BOOTTIME_STEP_MS;
  };

  function arm(timer: Timer): void {
    if (since !== null) return;
    timer.cancel = clock.after((timer.dueMs - monotonicMs()) / rate, () => {
      timers.delete(timer);
      timer.act();
    });
  }

  return {
    monotonicMs,
    boottimeMs,
    unixMs: () => Math.floor(EPOCH_MS + clock.now() + wallMs),
    /** In `ms` of the monotonic clock. */
    after(ms: number, act: () => void): () => void {
      const timer: Timer = { dueMs: monotonicMs() + Math.max(0, ms), act, cancel: () => {} };
      timers.add(timer);
      arm(timer);
      return () => {
        timer.cancel();
        timers.delete(timer);
      };
    },
    /** The monotonic clock stands still; the boottime clock only when `frozen`. */
    stand(frozen: boolean) {
      if (since !== null) return;
      for (const timer of timers) timer.cancel();
      since = { atMs: clock.now(), frozen };
    },
    goOn() {
      if (since === null) return;
      const forMs = clock.now() - since.atMs;
      if (since.frozen) frozenMs += forMs;
      else suspendedMs += forMs;
      since = null;
      for (const timer of timers) arm(timer);
    },
    get standing() {
      return since !== null;
    },
    /** Sets the wall clock `ms` ahead. */
    setWall(ms: number) {
      wallMs += ms;
    },
  };
}
