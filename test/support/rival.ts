// A rival that no search of this machine finds: it polls from the test's own process, which has the token in no variable, no
// argument and no file. To the program it is a poller elsewhere.
import type { TestContext } from 'node:test';
import type { Bed } from './bed.ts';

export interface RivalOptions {
  /** From a 409 to its next poll; absent: it ends at a 409, as grammY and Telegraf do. */
  retryMs?: number;
  /** Of its long poll, seconds. */
  timeout?: number;
}

export interface Rival {
  readonly polls: number;
  readonly conflicts: number;
  /** Ids of the updates it got, in order. */
  readonly updates: readonly number[];
  /** It ended by itself. */
  readonly ended: boolean;
  stop(): void;
}

/** Polls until it is stopped, at the latest when the test ends. */
export function startRival(t: TestContext, b: Bed, { retryMs, timeout = 30 }: RivalOptions = {}): Rival {
  const stopped = new AbortController();
  const self = {
    polls: 0,
    conflicts: 0,
    updates: [] as number[],
    ended: false,
    stop: () => stopped.abort(),
  };
  t.after(self.stop);
  const url = `${b.sandbox.root}/bot${b.token}/getUpdates`;
  const run = async () => {
    let offset = 0;
    while (!stopped.signal.aborted) {
      self.polls += 1;
      const response = await fetch(`${url}?offset=${offset}&timeout=${timeout}`, {
        signal: stopped.signal,
        headers: { 'user-agent': 'rival' },
      });
      const body = (await response.json()) as { ok: boolean; result: { update_id: number }[] };
      if (body.ok) {
        for (const update of body.result) {
          self.updates.push(update.update_id);
          offset = update.update_id + 1;
        }
        continue;
      }
      if (response.status === 409) self.conflicts += 1;
      if (retryMs === undefined) {
        self.ended = true;
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  };
  run().catch(() => {
    // Stopped, or the stand-in is gone: the test is over.
  });
  return self;
}
