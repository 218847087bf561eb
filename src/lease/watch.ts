/**
 * Keeps one watch of an engine open and hands on what it tells. A watch that ends, that is not established in time or that has
 * missed changes is replaced; one that never comes up is tried ever less often, and looking at the record has to do.
 */
import type { WatchListener } from './store.ts';

export interface Watcher {
  /** The record has changed without a word of the watch. */
  missed(): void;
  close(): void;
}

/** Between the starts of two watches; doubles with each that did not come up. */
const AGAIN_MS = 1_000;
const AGAIN_MAX_MS = 64_000;
/** So often a change may go untold: its news may still be on the way. Then the watch counts as dead. */
const MISSED_MAX = 2;

/** `open` starts a watch and returns what ends it. It gets `upWithinMs` to be established. `hint`: the record may have changed. */
export function keepWatching(
  open: (listener: WatchListener) => () => void,
  upWithinMs: number,
  hint: () => void,
): Watcher {
  let end = () => {};
  let again: NodeJS.Timeout | undefined;
  let pauseMs = AGAIN_MS;
  let missed = 0;

  function start(): void {
    const startedAtMs = performance.now();
    let over = false;
    let close = () => {};
    const stop = () => {
      over = true;
      clearTimeout(limit);
      close();
    };
    const replace = () => {
      if (over) return;
      stop();
      again = setTimeout(start, Math.max(0, startedAtMs + pauseMs - performance.now()));
      pauseMs = Math.min(pauseMs * 2, AGAIN_MAX_MS);
    };
    const limit = setTimeout(replace, upWithinMs);
    missed = 0;
    end = stop;
    restart = replace;
    const changed = () => {
      if (over) return;
      clearTimeout(limit);
      pauseMs = AGAIN_MS;
      missed = 0;
      hint();
    };
    close = open({ changed, ended: replace });
    if (over) close();
  }

  let restart = () => {};
  start();
  return {
    missed() {
      missed += 1;
      if (missed > MISSED_MAX) restart();
    },
    close() {
      clearTimeout(again);
      end();
    },
  };
}
