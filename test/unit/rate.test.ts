// Updates a minute, from the counters that a watcher has seen.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Counted, counted, nothingCounted, rate } from '../../src/output/rate.ts';

const S = 1_000;
const OLD = -1_000 * S;

/** `[second, updates]` of one run. */
const seen = (
  run: string,
  startedAtMs: number,
  points: readonly [number, number][],
  from = nothingCounted,
): Counted =>
  points.reduce((before, [s, updates]) => counted(before, run, startedAtMs, updates, s * S), from);

test('unknown at first, then reckoned, then counted over the last 60 s; a young run is known from its start', () => {
  const some = seen('a', OLD, [
    [0, 100],
    [20, 105],
  ]);
  for (const [it, atS, expected] of [
    [nothingCounted, 0, null],
    [seen('a', OLD, [[0, 100]]), 9, null],
    [some, 30, { perMinute: 10, exact: false }],
    [some, 79, { perMinute: 5, exact: true }],
    [some, 81, { perMinute: 0, exact: true }],
    [seen('a', 0, [[30, 6]]), 30, { perMinute: 12, exact: false }],
    // Another run, or a counter that goes back, begins anew.
    [seen('b', OLD, [[21, 170]], some), 22, null],
    [seen('a', OLD, [[21, 3]], some), 22, null],
  ] as const)
    assert.deepEqual(rate(it, atS * S), expected, `at ${atS}`);
});

test('never more than a minute of samples, and the same as by keeping all', () => {
  const all: [number, number][] = [[0, 0]];
  let it = seen('a', OLD, all);
  for (let s = 0, updates = 0; s < 600; ) {
    s += 1 + (updates % 8);
    updates += (s * 7) % 3;
    all.push([s, updates]);
    it = seen('a', OLD, [[s, updates]], it);
    assert.ok(it.samples.length <= 62);
    if (s < 60) continue;
    const then = all.findLast(([at]) => at <= s - 60)?.[1] ?? 0;
    assert.deepEqual(rate(it, s * S), { perMinute: updates - then, exact: true }, `at ${s}`);
  }
});
