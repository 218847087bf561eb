// A poller somewhere else, as singlepoll sees it: it polls from the test's own process, which holds no token that a search
// of this machine could find. It retries on 409 as python-telegram-bot and aiogram do, and never confirms an update.
import type { TestContext } from 'node:test';
import type { Bed } from './bed.ts';

export const RIVAL = 'rival.0';

export interface RivalOptions {
  /** Seconds; default 20. */
  timeout?: number;
  /** Between the end of one poll and the next, milliseconds; default 1000. */
  pauseMs?: number;
}

export interface Rival {
  polls(): number;
  /** 409s it got: how often it was kicked. */
  kicked(): number;
  /** Its connection is cut, as when its process is killed; resolves when it asks no more. */
  leave(): Promise<void>;
}

/** Starts polling at once, straight at the stand-in; it leaves with the test at the latest. */
export function startRival(t: TestContext, b: Bed, options: RivalOptions = {}): Rival {
  const { timeout = 20, pauseMs = 1000 } = options;
  const gone = new AbortController();
  let polls = 0;
  let kicked = 0;
  const pause = () =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, pauseMs);
      gone.signal.addEventListener('abort', () => {
        clearTimeout(timer);
        resolve();
      });
    });
  const url = `${b.sandbox.root}/bot${b.token}/getUpdates?timeout=${timeout}&poller=${RIVAL}`;
  const loop = async () => {
    while (!gone.signal.aborted) {
      polls += 1;
      await fetch(url, { signal: gone.signal })
        .then(async (response) => {
          if (response.status === 409) kicked += 1;
          await response.arrayBuffer();
        })
        .catch(() => undefined);
      await pause();
    }
  };
  const ended = loop();
  const leave = async () => {
    gone.abort();
    await ended;
  };
  t.after(leave);
  return { polls: () => polls, kicked: () => kicked, leave };
}
