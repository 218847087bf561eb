/**
 * Tells those who follow a run (a live screen, alerts) that it is worth asking for the status again. Says nothing of what has changed:
 * the status document is the one source of that. Many changes within `PAUSE_MS` are told once; without a listener nothing runs.
 */

import type { Report } from '../output/report.ts';
import { createListeners } from './listeners.ts';

export interface Changes {
  /** Something may have changed: a step of the table, a line that was said. Cheap. */
  touch(): void;
  /** Called soon after a change, at most once in PAUSE_MS; returns the way to leave. */
  listen(listener: () => void): () => void;
}

/** As often as a person can follow. */
export const PAUSE_MS = 100;

export function createChanges(report: Pick<Report, 'line'>): Changes {
  const listeners = createListeners('one that follows the status', report);
  let timer: NodeJS.Timeout | null = null;
  const tell = () => {
    timer = null;
    listeners.tell();
  };
  return {
    touch() {
      if (listeners.count > 0 && timer === null) timer = setTimeout(tell, PAUSE_MS).unref();
    },
    listen(listener) {
      const leave = listeners.add(listener);
      return () => {
        leave();
        if (listeners.count > 0 || timer === null) return;
        clearTimeout(timer);
        timer = null;
      };
    },
  };
}
