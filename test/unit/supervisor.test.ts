/** The supervisor's table where the simulation does not look: numbers, times longer than its schedules, bugs. What it decides is the simulation's. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  BrokenInvariant,
  backoffMs,
  type Event,
  initial,
  type Policy,
  type State,
  step,
} from '../../src/supervisor/table.ts';

const POLICY: Policy = {
  ...{ restart: 'always', backoffMinMs: 1_000, backoffMaxMs: 30_000, maxRestarts: 10 },
  ...{ maxRestartsPeriodMs: 300_000, goodAfterMs: 5_000, readyWhenGood: true, lease: false, wait: false },
};
const play = (state: State, ...events: readonly Event[]) =>
  events.reduce((it, event) => step(it, event, POLICY)[0], state);
const BOOTED = play(initial, { kind: 'booted', atMs: 0 });

/** One worker more, whose exit nobody has planned. */
function exitAt(state: State, atMs: number): State {
  const spawn = state.spawn + 1;
  const exit = { code: 1, signal: null, conflict: true, apiInDoubt: false, random: 0.5 };
  return play(
    state,
    { kind: 'swept', question: state.question, blocked: null, atMs },
    { kind: 'spawned', spawn, pid: 501, atMs },
    { kind: 'worker-exited', spawn, ...exit, atMs },
  );
}

test('the first unplanned exit in five minutes is answered at once, whatever the run was; the second in a row waits', () => {
  const first = exitAt(BOOTED, 3);
  assert.equal(first.delayMs, 0);
  assert.equal(exitAt(first, 100_000).delayMs, 1_000);
  assert.equal(exitAt(first, 300_003).delayMs, 1_000);
  assert.equal(exitAt(first, 300_004).delayMs, 0);
  const leased = { ...first, phase: 'standby' as const };
  assert.equal(play(leased, { kind: 'leased', question: leased.question, atMs: 5 }).unplannedAtMs, null);
});

test('what can’t happen is a bug, not an event to pass over', () => {
  const impossible: readonly [State, Event][] = [
    [BOOTED, { kind: 'leased', question: BOOTED.question, atMs: 1 }],
    [BOOTED, { kind: 'probed', question: BOOTED.question, wasOut: true, atMs: 1 }],
    [BOOTED, { kind: 'tree-stopped', question: BOOTED.question, survivors: 0, atMs: 1 }],
    [initial, { kind: 'spawned', spawn: 0, pid: 1, atMs: 1 }],
  ];
  for (const [state, event] of impossible)
    assert.throws(() => step(state, event, POLICY), BrokenInvariant, event.kind);
});

test('back-off: none after the first exit of a row, then MIN, doubling, ±20 %, never above MAX', () => {
  const doubling = [0, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000];
  for (const [failures, ms] of doubling.entries()) assert.equal(backoffMs(failures, 0.5, POLICY), ms);
  for (const [failures, random, ms] of [
    [1, 0, 800],
    [1, 1, 1_200],
    [6, 1, 30_000],
    [6_000, 0.5, 30_000],
  ] as const)
    assert.equal(backoffMs(failures, random, POLICY), ms);
});
