/**
 * The judge of thefts: knows who has confirmed each update. What is told must be true to the update, and a theft must be told with
 * the next answer where nothing stands in the way of seeing it.
 */

import type { Untimed } from '../../src/gateway/door.ts';
import type { LedgerEvent } from '../../src/gateway/theft.ts';
import type { Clock } from './clock.ts';
import type { Story } from './story.ts';

export type TheftJudge = ReturnType<typeof createTheftJudge>;

/** Less than the gateway's own, as it looks every 5 s only, and the way to the server takes time, too. */
const MUST_BE_SEEN_MS = 18_000;
const RIVAL_MS = 10_000;
const REPEAT_MS = 3_000;

export function createTheftJudge({ fail, count }: Story, clock: Clock) {
  const taken = new Set<number>();
  let last: number | null = null;
  let emptyMs = Number.NEGATIVE_INFINITY;
  let conflictMs = Number.NEGATIVE_INFINITY;
  let asked = { offset: 0, atMs: Number.NEGATIVE_INFINITY, repeats: false, disturbed: false };
  /** Nothing has happened since the last update that may hide a theft. */
  let clear = false;

  function asks(offset: number): void {
    const nowMs = clock.now();
    const repeats = offset === asked.offset && nowMs - asked.atMs < REPEAT_MS;
    asked = { offset, atMs: nowMs, repeats, disturbed: false };
    if (offset < 0 || nowMs - emptyMs > MUST_BE_SEEN_MS) clear = false;
    if (last !== null && offset > last + 1) clear = false;
  }

  function passed(ids: readonly number[], told: number): void {
    const nowMs = clock.now();
    const [first] = ids;
    const begin = last === null ? (first ?? 0) : last + 1;
    const length = Math.min(1_000, Math.max(0, (first ?? 0) - begin));
    const missing = Array.from({ length }, (_, i) => begin + i);
    if (told > 0) {
      count('thefts told');
      if (told !== missing.length) fail(`${told} updates are called taken of ${missing.length} missing`);
      for (const id of missing) if (!taken.has(id)) fail(`update ${id} is called taken, and nobody took it`);
      if (nowMs - conflictMs < RIVAL_MS) fail('a theft is told though a rival polls');
    } else if (missing.length > 0) {
      const inPeace = emptyMs - conflictMs > RIVAL_MS + MUST_BE_SEEN_MS;
      if (clear && inPeace && missing.every((id) => taken.has(id)))
        fail(`the theft of ${missing} is not told`);
      count('missing, and no theft told');
    }
    if (ids.length < 100 && !(asked.repeats && ids.length === 1)) emptyMs = nowMs;
    if (first === undefined) return;
    last =
      last !== null && first > last - 100_000 && first >= asked.offset
        ? Math.max(last, ids.at(-1)!)
        : ids.at(-1)!;
    clear = nowMs === emptyMs && !asked.disturbed;
  }

  function disturbed(): void {
    clear = false;
    asked.disturbed = true;
  }

  return {
    confirmed(id: number, from: string) {
      if (!from.startsWith('poll ')) taken.add(id);
    },
    noted(event: Untimed<LedgerEvent>, told: number) {
      switch (event.kind) {
        case 'asked':
          return asks(event.offset);
        case 'passed':
          return passed(event.ids, told);
        case 'conflict':
          conflictMs = clock.now();
          return;
        case 'unsure':
          disturbed();
      }
    },
    /** The supervisor was stopped, until now; or the server numbers anew. */
    disturbed,
  };
}
