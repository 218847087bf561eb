/**
 * Waiting for a change: an engine's watch, kept open from one wait to the next, and the clock behind it. Where there is no watch,
 * or it has died unseen, every wait just takes its time.
 */
import type { Rev } from './store.ts';

/** What an engine tells while its watch lasts; `up` comes first, nothing after `down`. */
export interface Bell {
  /** The watch is established; what changed before may have been missed, so this rings too. */
  up(): void;
  ring(): void;
  /** The watch has ended. */
  down(): void;
}

export interface Wake {
  /** Resolves at a ring, after `ms`, or at `stop`; never rejects. */
  wait(after: Rev | null, ms: number, stop: AbortSignal): Promise<void>;
  close(): void;
}

/** Between the starts of two watches; doubles with each that did not come up. */
const AGAIN_MS = 1_000;
const AGAIN_MAX_MS = 64_000;
/** So often the record has changed without a ring: the watch is dead. Once may be a ring that is still on its way. */
const MISSED_MAX = 2;

/**
 * `open` starts a watch for what comes after a revision and returns what ends it. What has not come up within
 * its milliseconds is ended.
 */
export function createWake(open: (after: Rev | null, ms: number, bell: Bell) => () => void): Wake {
  let end: (() => void) | null = null;
  let isUp = false;
  let rung = false;
  let notBefore = 0;
  let pauseMs = AGAIN_MS;
  let last: Rev | null | undefined;
  let missed = 0;
  const waiting = new Set<() => void>();

  function ring(): void {
    rung = waiting.size === 0;
    missed = 0;
    for (const wake of waiting) wake();
  }

  function start(after: Rev | null, ms: number): void {
    let over = false;
    let cut: (() => void) | null = null;
    const stop = (): void => {
      over = true;
      isUp = false;
      end = null;
      cut?.();
    };
    notBefore = performance.now() + pauseMs;
    pauseMs = Math.min(pauseMs * 2, AGAIN_MAX_MS);
    end = stop;
    const bell: Bell = {
      up() {
        if (over) return;
        isUp = true;
        pauseMs = AGAIN_MS;
        ring();
      },
      ring: () => over || ring(),
      down: () => over || stop(),
    };
    try {
      cut = open(after, ms, bell);
    } catch {
      // What is wrong, reading tells too.
      stop();
    }
    if (over) cut?.();
  }

  return {
    wait(after, ms, stop) {
      if (stop.aborted) return Promise.resolve();
      if (isUp && last !== undefined && after !== last && ++missed > MISSED_MAX) {
        missed = 0;
        end?.();
      }
      last = after;
      if (rung) {
        rung = false;
        return Promise.resolve();
      }
      return new Promise((resolve) => {
        const done = (): void => {
          clearTimeout(timer);
          stop.removeEventListener('abort', done);
          waiting.delete(done);
          resolve();
        };
        const timer = setTimeout(() => {
          // Not even established: whom it asked does not answer.
          if (!isUp) end?.();
          done();
        }, ms);
        stop.addEventListener('abort', done);
        waiting.add(done);
        if (!end && performance.now() >= notBefore) start(after, ms);
      });
    },
    close() {
      notBefore = Number.POSITIVE_INFINITY;
      end?.();
      for (const wake of waiting) wake();
    },
  };
}
