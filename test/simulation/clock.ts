/**
 * Virtual time: a queue of events, carried out one after another, each at once. Nothing here waits for real. Promises of
 * the program under test are run dry after every event that may have settled one, before the next event is looked at.
 */

import type { Random } from './random.ts';
import type { Story } from './story.ts';

export interface Clock {
  now(): number;
  /** Runs `act` in `ms`; returns the way to cancel it. */
  after(ms: number, act: () => void): () => void;
  /** A promise may have been settled: run them dry before the next event. */
  stir(): void;
  /** Carries out everything due until `untilMs`, `look` after each event; ends early when `look` returns false.
   * Throws when time stands still. */
  run(untilMs: number, look: () => boolean): Promise<void>;
}

/** Plans a trouble again and again, every `everyMs` or so, until all is well. */
export function planner(clock: Clock, random: Random, isOver: () => boolean) {
  return (has: boolean, everyMs: number, trouble: () => void): void => {
    if (!has) return;
    clock.after(random.int(1, 2 * everyMs), function again() {
      if (isOver()) return;
      trouble();
      clock.after(random.int(1, 2 * everyMs), again);
    });
  };
}

/** Runs a world; what it throws is a violation. */
export async function runWorld(clock: Clock, story: Story, untilMs: number, look: () => boolean) {
  await clock.run(untilMs, look).catch((error: Error) => story.fail(error.stack ?? error.message));
}

/** More events than this at one moment: somebody waits by asking again and again. */
const AT_ONCE_MAX = 5_000;

interface Entry {
  readonly atMs: number;
  act: (() => void) | null;
}

export function createClock(): Clock {
  /** By their times, and in the order in which they were planned. */
  const queue: Entry[] = [];
  let nowMs = 0;
  let stirred = false;
  let atOnce = 0;

  return {
    now: () => nowMs,
    after(ms, act) {
      const entry: Entry = { atMs: nowMs + Math.max(0, ms), act };
      let place = queue.length;
      while (place > 0 && queue[place - 1]!.atMs > entry.atMs) place -= 1;
      queue.splice(place, 0, entry);
      return () => {
        entry.act = null;
      };
    },
    stir() {
      stirred = true;
    },
    async run(untilMs, look) {
      for (;;) {
        if (stirred) {
          stirred = false;
          // The one turn of the real event loop: every promise that can go on does so before it.
          await new Promise((resolve) => setImmediate(resolve));
          if (!look()) return;
          continue;
        }
        const next = queue[0];
        if (!next || next.atMs > untilMs) break;
        queue.shift();
        if (!next.act) continue;
        atOnce = next.atMs === nowMs ? atOnce + 1 : 0;
        if (atOnce > AT_ONCE_MAX) throw new Error(`${nowMs} ms: time stands still`);
        nowMs = next.atMs;
        next.act();
        if (!stirred && !look()) return;
      }
      nowMs = Math.max(nowMs, untilMs);
    },
  };
}
