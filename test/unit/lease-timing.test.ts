/** The times of a lease: which sets are refused, and why; and the clock that measures them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemSources } from '../../src/lease/lease.ts';
import {
  createLeaseClock,
  killAfterMs,
  LEASE_PROFILES,
  type LeaseProfile,
  leaseTiming,
  livesMs,
  stopAfterMs,
  timingProblem,
  waitMs,
} from '../../src/lease/timing.ts';

const { default: normal } = LEASE_PROFILES;

test('the default set', () => {
  assert.deepEqual(
    [livesMs(normal), stopAfterMs(normal), killAfterMs(normal), waitMs(normal, 0)],
    [14_925, 8_425, 13_425, 15_075],
  );
});

test('a standby waits for the greater of its own ttl and that of the record', () => {
  assert.equal(waitMs(normal, 60_000), 60_300);
  assert.equal(waitMs(normal, 1), 15_075);
});

test('every profile holds, and every ttl that is accepted: dead before anybody else may start', () => {
  for (const profile of ['fast', 'default', 'frugal'] as LeaseProfile[]) {
    assert.equal(leaseTiming(profile).ok, true);
    for (const ttlMs of [2_500, 6_000, 20_000, 300_000, 3_600_000]) {
      const checked = leaseTiming(profile, ttlMs);
      assert.ok(checked.ok, JSON.stringify(checked));
      const { timing } = checked;
      assert.ok(stopAfterMs(timing) >= 2 * timing.renewMs);
      assert.ok(livesMs(timing) < waitMs(timing, timing.ttlMs));
      assert.ok(timing.requestMs < timing.renewMs);
    }
  }
});

test('a crash is over within 15.5 s by default, within 6.5 s with the fast profile', () => {
  assert.ok(waitMs(normal, 0) < 15_500);
  assert.ok(waitMs(LEASE_PROFILES.fast, 0) < 6_500);
});

test('a ttl that leaves no room is refused, with the arithmetic', () => {
  const checked = leaseTiming('default', 1_500);
  assert.ok(!checked.ok);
  for (const part of [
    '1500 ms',
    '500 ms from SIGTERM',
    '300 ms until',
    '200 ms for late',
    'leaves',
    '600 ms',
  ])
    assert.match(checked.problem, new RegExp(part));
});

test('impossible sets are refused', () => {
  const sets = [
    { requestMs: 3_000 },
    { pollMs: 15_000 },
    { renewMs: 5_000 },
    { graceMs: 0 },
    { ttlMs: 4_000_000 },
  ];
  for (const set of sets) assert.ok(timingProblem({ ...normal, ...set }), JSON.stringify(set));
  assert.ok(timingProblem({ ...normal, graceMs: Number.NaN }));
  assert.equal(timingProblem(normal), null);
});

test('the clock includes suspend, never goes back, and tells once when the wall clock ran ahead', () => {
  const at = { monotonicMs: 5_000, boottimeMs: 90_000 as number | null, unixMs: 1_700_000_000_000 };
  const clock = createLeaseClock({
    monotonicMs: () => at.monotonicMs,
    boottimeMs: () => at.boottimeMs,
    unixMs: () => at.unixMs,
  });
  // [ms that pass by monotonic clock, boot time, wall clock; what the clock shows, and whether it has leaped]
  for (const [monotonic, boot, wall, nowMs, leaped] of [
    [0, 0, 0, 0, false],
    [1_234, 1_234, 1_234, 1_234, false],
    [0, 20_000, 20_000, 21_224, false],
    [-300, null, 0, 21_224, false],
    [0, null, 1_500, 21_224, true],
    [0, null, 0, 21_224, false],
    [0, null, -3_600_000, 21_224, false],
    [0, null, 900, 21_224, false],
  ] as const) {
    at.monotonicMs += monotonic;
    at.boottimeMs = boot === null ? null : (at.boottimeMs ?? 0) + boot;
    at.unixMs += wall;
    const seen = clock.look();
    assert.deepEqual([seen.nowMs, seen.leaped], [nowMs, leaped]);
  }
});

test('the boot time of this system counts on Linux only', () =>
  assert.equal(systemSources.boottimeMs() === null, process.platform !== 'linux'));
