/** Which missing ids of updates were taken by somebody else, where the simulation of the door (test/simulation/door-thief.ts) does not look. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { emptyLedger, LOOK_EVERY_MS, stepLedger } from '../../src/gateway/theft.ts';

/** Asked some seconds after the answer before, answered after some more; `still`: our process stands still meanwhile. */
interface Poll {
  readonly offset: number;
  readonly s: number;
  readonly pauseS?: number;
  readonly limit?: number;
  readonly still?: boolean;
}
type Step = readonly [poll: Poll, ...ids: number[]];

const FIRST: Step = [{ offset: 0, s: 4 }, 9, 10];
const EMPTY: Step = [{ offset: 11, s: 50 }];

for (const [what, expected, ...steps] of [
  ['2: after many empty answers', 2, FIRST, EMPTY, EMPTY, EMPTY, [{ offset: 11, s: 40 }, 13]],
  [
    'none: too old, behind a limited answer',
    0,
    FIRST,
    [{ offset: 11, s: 0.01, pauseS: 20, limit: 1 }, 11],
    [{ offset: 12, s: 0.01, pauseS: 20 }, 13],
  ],
  [
    'none: after a week of silence the next id is random',
    0,
    FIRST,
    ...Array<Step>(12_100).fill(EMPTY),
    [{ offset: 11, s: 1 }, 1_500],
  ],
  ['none: we stood still before the poll was on its way', 0, FIRST, [{ offset: 11, s: 40, still: true }, 13]],
] as const satisfies readonly (readonly [string, number, ...Step[]])[])
  test(`taken by somebody else: ${what}`, () => {
    let [ledger, atMs, taken] = [emptyLedger, 1_000_000, 0];
    for (const [{ offset, s, pauseS = 0, limit = 100, still = false }, ...ids] of steps as readonly Step[]) {
      assert.equal(taken, 0, `before ${offset}`);
      atMs += pauseS * 1_000;
      [ledger] = stepLedger(ledger, { kind: 'asked', offset, limit, atMs });
      const endMs = atMs + s * 1_000;
      for (let ms = atMs + LOOK_EVERY_MS; ms <= endMs && !still; ms += LOOK_EVERY_MS)
        [ledger] = stepLedger(ledger, { kind: 'looked', atMs: ms });
      atMs = endMs;
      [ledger, taken] = stepLedger(ledger, { kind: 'passed', ids, bytes: 0, atMs });
    }
    assert.equal(taken, expected);
  });
