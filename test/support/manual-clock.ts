/**
 * A clock whose hands the test turns: timers run in order of time, then of creation, and see the time they were set for.
 */
import type { Clock } from '../../src/sandbox/bot.ts';

interface ManualClock extends Clock {
  /** Moves on by `ms`, running every timer that falls due on the way. */
  advance(ms: number): void;
}

export function manualClock(startMs = 1_000_000): ManualClock {
  let nowMs = startMs;
  let made = 0;
  let timers: { atMs: number; order: number; run: () => void }[] = [];
  return {
    nowMs: () => nowMs,
    after(delayMs, run) {
      const timer = { atMs: nowMs + delayMs, order: made++, run };
      timers.push(timer);
      return () => {
        timers = timers.filter((other) => other !== timer);
      };
    },
    advance(ms) {
      const untilMs = nowMs + ms;
      for (;;) {
        const next = timers.sort((a, b) => a.atMs - b.atMs || a.order - b.order)[0];
        if (!next || next.atMs > untilMs) break;
        timers = timers.filter((other) => other !== next);
        nowMs = next.atMs;
        next.run();
      }
      nowMs = untilMs;
    },
  };
}
