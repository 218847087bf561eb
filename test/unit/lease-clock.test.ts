/** The clock of a lease: includes suspend, is set by nobody, and tells when time has passed unseen. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLeaseClock, systemSources } from '../../src/lease/clock.ts';

function hands() {
  const at = { monotonic: 5_000, boottime: 90_000 as number | null, unix: 1_700_000_000_000 };
  const clock = createLeaseClock({
    monotonicMs: () => at.monotonic,
    boottimeMs: () => at.boottime,
    unixMs: () => at.unix,
  });
  const pass = (ms: number) => {
    at.monotonic += ms;
    at.unix += ms;
    if (at.boottime !== null) at.boottime += ms;
  };
  return { at, clock, pass };
}

test('runs with the monotonic clock from zero', () => {
  const { clock, pass } = hands();
  assert.equal(clock.look().nowMs, 0);
  pass(1_234);
  assert.equal(clock.look().nowMs, 1_234);
});

test('includes suspend, and tells of no leap then', () => {
  const { at, clock } = hands();
  at.boottime! += 20_000;
  at.unix += 20_000;
  const { nowMs, leaped } = clock.look();
  assert.equal(nowMs, 20_000 - 10);
  assert.equal(leaped, false);
});

test('never goes back, whatever its sources do', () => {
  const { at, clock, pass } = hands();
  pass(500);
  clock.look();
  at.monotonic -= 300;
  at.boottime = null;
  assert.equal(clock.look().nowMs, 500);
});

test('a wall clock that runs ahead is a leap, once; one that is set back is none', () => {
  const { at, clock, pass } = hands();
  at.unix += 1_500;
  assert.equal(clock.look().leaped, true);
  assert.equal(clock.look().leaped, false);
  at.unix -= 3_600_000;
  assert.equal(clock.look().leaped, false);
  pass(1_000);
  assert.equal(clock.look().leaped, false);
  at.unix += 900;
  assert.equal(clock.look().leaped, false);
});

test('the clocks of this system agree', () => {
  const clock = createLeaseClock();
  const before = systemSources.monotonicMs();
  while (systemSources.monotonicMs() - before < 30);
  const { nowMs } = clock.look();
  const passed = systemSources.monotonicMs() - before;
  assert.ok(nowMs >= 30 && nowMs <= passed + 20, `${nowMs} of ${passed}`);
  const boottime = systemSources.boottimeMs();
  assert.equal(boottime === null, process.platform !== 'linux');
});
