/** The times of a lease: which are refused, and why. The clock that measures them: the simulation of the keeper. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  killAfterMs,
  LEASE_PROFILES,
  livesMs,
  stopAfterMs,
  timingOf,
  waitMs,
} from '../../src/lease/timing.ts';

const { default: normal, fast } = LEASE_PROFILES;
const leaseTiming = (ttlMs: number) => timingOf({ profile: 'default', ttlMs });

test('the default times; a crash is over within 15.5 s, with the fast profile within 6.5 s', () => {
  assert.deepEqual([stopAfterMs(normal), killAfterMs(normal)], [8_425, 13_425]);
  assert.deepEqual([livesMs(normal), waitMs(normal, 0)], [14_925, 15_075]);
  assert.ok(waitMs(fast, 0) < 6_500);
  assert.equal(waitMs(normal, 60_000), 60_300, 'the greater of its own ttl and that of the record');
});

test('every ttl that is accepted holds: dead before anybody else may start', () => {
  for (const ttlMs of [2_000, 2_500, 6_000, 15_000, 60_000, 300_000, 3_600_000]) {
    const timing = leaseTiming(ttlMs);
    assert.ok(typeof timing !== 'string', String(timing));
    assert.ok(stopAfterMs(timing) >= 2 * timing.renewMs);
    assert.ok(livesMs(timing) < waitMs(timing, timing.ttlMs));
    assert.ok(timing.requestMs < timing.renewMs);
    assert.ok(timing.pollMs < timing.ttlMs);
  }
});

test('a ttl that leaves no room, or that nobody could outwait, is refused, with the arithmetic', () => {
  assert.equal(
    leaseTiming(1_500),
    'a ttl of 1500 ms, less 8 ms for the clocks, 500 ms from SIGTERM to SIGKILL, 300 ms until the worker is gone and ' +
      '200 ms for late timers, leaves 492 ms; two renewals, one each 300 ms, need 600 ms',
  );
  assert.match(String(leaseTiming(3_600_001)), /more than an hour/);
});
