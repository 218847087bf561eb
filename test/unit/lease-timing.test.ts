/** The times of a lease: which sets are refused, and why. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
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
