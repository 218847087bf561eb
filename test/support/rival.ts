// A rival that no search of this machine finds: it polls from the test's own process, which has the token in no variable, no
// argument and no file. To the program it is a poller elsewhere.
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { Bed } from './bed.ts';

/** Its name in the stand-in's log, so that its polls are told from ours. */
export const RIVAL = 'rival.0';

export interface RivalOptions {
  /** Of its long poll, seconds. */
  timeout?: number;
  /** From the end of a poll to the next, milliseconds. */
  pauseMs?: number;
  /** The same from a 409; null: it ends there, as grammY and Telegraf do. Absent: as `pauseMs`. */
  retryMs?: number | null;
  /** Asks for what comes next, and so confirms what it got. */
  confirms?: boolean;
}

/** A bot that works: it takes its updates, polls again at once, and knows a 409 only as `retryMs` says. */
export const working = (retryMs: number | null): RivalOptions => ({
  timeout: 30,
  pauseMs: 0,
  retryMs,
  confirms: true,
});

export interface Rival {
  readonly polls: number;
  /** 409s it got: how often it was kicked. */
  readonly conflicts: number;
  /** Ids of the updates it got, in order. */
  readonly updates: readonly number[];
  /** It asks no more. */
  readonly ended: boolean;
  /** Its connection is cut, as when its process is killed; resolves when it asks no more. */
  leave(): Promise<void>;
}

/** Starts polling at once, straight at the stand-in; it leaves with the test at the latest. */
export function startRival(t: TestContext, b: Bed, options: RivalOptions = {}): Rival {
  const { timeout = 20, pauseMs = 1000, retryMs = pauseMs, confirms = false } = options;
  const gone = new AbortController();
  const { signal } = gone;
  const self = { polls: 0, conflicts: 0, updates: [] as number[], ended: false, leave };
  const url = `${b.sandbox.root}/bot${b.token}/getUpdates?timeout=${timeout}&poller=${RIVAL}`;
  let offset = 0;

  /** What it waits before the next poll; null: there is none. */
  async function poll(): Promise<number | null> {
    self.polls += 1;
    const response = await fetch(confirms ? `${url}&offset=${offset}` : url, {
      signal,
      headers: { 'user-agent': 'rival' },
    });
    const body = (await response.json()) as { ok: boolean; result: { update_id: number }[] };
    if (response.status === 409) self.conflicts += 1;
    if (!body.ok) return retryMs;
    for (const update of body.result) {
      self.updates.push(update.update_id);
      offset = update.update_id + 1;
    }
    return pauseMs;
  }

  async function loop(): Promise<void> {
    while (!signal.aborted) {
      // No answer: not at once again, whatever its habits.
      const waitMs = await poll().catch(() => Math.max(pauseMs, 100));
      if (waitMs === null) break;
      await pause(waitMs, undefined, { signal }).catch(() => undefined);
    }
    self.ended = true;
  }

  const ended = loop();
  async function leave(): Promise<void> {
    gone.abort();
    await ended;
  }
  t.after(leave);
  return self;
}
