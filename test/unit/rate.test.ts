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

test('unknown at first, then reckoned, then counted over the last 60 s', () => {
  const first = seen('a', OLD, [[0, 100]]);
  assert.equal(rate(nothingCounted, 0), null);
  assert.equal(rate(first, 9 * S), null);
  assert.deepEqual(rate(first, 10 * S), { perMinute: 0, exact: false });
  const some = seen('a', OLD, [[20, 105]], first);
  assert.deepEqual(rate(some, 30 * S), { perMinute: 10, exact: false });
  assert.deepEqual(rate(some, 60 * S), { perMinute: 5, exact: true });
  assert.deepEqual(rate(some, 79 * S), { perMinute: 5, exact: true });
  // The five have left the window.
  assert.deepEqual(rate(some, 81 * S), { perMinute: 0, exact: true });
});

test('a young run is known from its start', () => {
  const young = seen('a', 0, [[30, 6]]);
  assert.deepEqual(rate(young, 30 * S), { perMinute: 12, exact: false });
  assert.deepEqual(rate(young, 60 * S), { perMinute: 6, exact: true });
});

test('another run, or a counter that goes back, begins anew', () => {
  const before = seen('a', OLD, [
    [0, 100],
    [50, 160],
  ]);
  assert.equal(rate(seen('b', OLD, [[51, 170]], before), 52 * S), null);
  assert.equal(rate(seen('a', OLD, [[51, 3]], before), 52 * S), null);
});

test('never more than a minute of samples, and the same as by keeping all', () => {
  let state = 5;
  const random = (below: number) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >> 8) % below;
  };
  const all: [number, number][] = [[0, 0]];
  let it = seen('a', OLD, all);
  for (let s = 0, updates = 0; s < 600; ) {
    s += 1 + random(8);
    updates += random(3);
    all.push([s, updates]);
    it = seen('a', OLD, [[s, updates]], it);
    assert.ok(it.samples.length <= 62);
    if (s < 60) continue;
    const then = all.findLast(([at]) => at <= s - 60)?.[1] ?? 0;
    assert.deepEqual(rate(it, s * S), { perMinute: updates - then, exact: true }, `at ${s}`);
  }
});
