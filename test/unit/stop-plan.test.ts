/** The stop plan, step by step, without a process or a clock. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  addTargets,
  type Look,
  markDenied,
  nextStep,
  type StopPlan,
  startPlan,
  survivors,
} from '../../src/strays/stop-plan.ts';

const TIMES = { stopTimeoutMs: 1_000, killWaitMs: 500 };
const A = { pid: 10, startId: 'a' };
const B = { pid: 11, startId: 'b' };

function looks(...entries: [number, string, string?][]): Map<number, Look> {
  return new Map(entries.map(([pid, startId, state = 'S']) => [pid, { startId, state }]));
}

const both = looks([10, 'a'], [11, 'b']);

function run(plan: StopPlan, atMs: number, seen: Map<number, Look>, killNow = false) {
  const step = nextStep(plan, atMs, seen, killNow);
  return { ...step, sent: step.signals.map(({ pid, signal }) => `${signal} ${pid}`) };
}

test('SIGTERM from the top, once; then SIGKILL when the time is over; then giving up', () => {
  let step = run(startPlan([A, B], 0, TIMES), 0, both);
  assert.deepEqual(step.sent, ['SIGTERM 10', 'SIGTERM 11']);
  assert.equal(step.nextAtMs, 1);
  step = run(step.plan, 1, both);
  assert.deepEqual(step.sent, []);
  assert.equal(step.nextAtMs, 3);
  step = run(step.plan, 999, both);
  assert.deepEqual(step.sent, []);
  assert.equal(step.nextAtMs, 1_000, 'not later than the entry is due');
  step = run(step.plan, 1_000, both);
  assert.deepEqual(step.sent, ['SIGKILL 10', 'SIGKILL 11']);
  step = run(step.plan, 1_400, both);
  assert.deepEqual(step.sent, []);
  step = run(step.plan, 1_500, both);
  assert.equal(step.nextAtMs, null);
  assert.deepEqual(survivors(step.plan), [A, B]);
});

test('those that left get nothing more, and when all left it is over at once', () => {
  let step = run(startPlan([A, B], 0, TIMES), 0, both);
  step = run(step.plan, 5, looks([11, 'b']));
  assert.notEqual(step.nextAtMs, null);
  step = run(step.plan, 1_000, looks([11, 'b']));
  assert.deepEqual(step.sent, ['SIGKILL 11']);
  step = run(step.plan, 1_001, looks());
  assert.equal(step.nextAtMs, null);
  assert.deepEqual(survivors(step.plan), []);
});

test('a zombie is gone; a reused pid is gone, never signalled', () => {
  const step = run(startPlan([A, B], 0, TIMES), 0, looks([10, 'a', 'Z'], [11, 'another']));
  assert.deepEqual(step.sent, []);
  assert.equal(step.nextAtMs, null);
  assert.deepEqual(survivors(step.plan), []);
});

test('a pid that was gone once stays gone, also when a process of that number appears', () => {
  let step = run(startPlan([A, B], 0, TIMES), 0, looks([11, 'b']));
  step = run(step.plan, 1_000, both);
  assert.deepEqual(step.sent, ['SIGKILL 11']);
});

test('a stopped process is continued, so that it can hear SIGTERM', () => {
  let step = run(startPlan([A, B], 0, TIMES), 0, looks([10, 'a', 'T'], [11, 'b']));
  assert.deepEqual(step.sent, ['SIGTERM 10', 'SIGCONT 10', 'SIGTERM 11']);
  step = run(step.plan, 1, looks([10, 'a'], [11, 'b', 'T']));
  assert.deepEqual(step.sent, ['SIGCONT 11'], 'also when it was stopped later');
});

test('asked for now: SIGKILL at once, also before any SIGTERM', () => {
  assert.deepEqual(run(startPlan([A], 0, TIMES), 0, looks([10, 'a']), true).sent, ['SIGKILL 10']);
  const step = run(startPlan([A], 0, TIMES), 0, looks([10, 'a']));
  assert.deepEqual(run(step.plan, 2, looks([10, 'a']), true).sent, ['SIGKILL 10']);
});

test('a newcomer gets SIGTERM on the first entry and SIGKILL on the second', () => {
  let step = run(startPlan([A], 0, TIMES), 0, both);
  step = run(addTargets(step.plan, [A, B]), 10, both);
  assert.deepEqual(step.sent, ['SIGTERM 11']);
  step = run(step.plan, 1_000, both);
  step = run(addTargets(step.plan, [{ pid: 12, startId: 'c' }]), 1_010, looks([10, 'a'], [12, 'c']));
  assert.deepEqual(step.sent, ['SIGKILL 12']);
});

test('a newcomer found when all seemed over opens the plan again, with a wait of its own', () => {
  let step = run(startPlan([A], 0, TIMES), 0, looks([10, 'a']));
  step = run(step.plan, 5, looks());
  assert.equal(step.nextAtMs, null);
  step = run(addTargets(step.plan, [B]), 6, looks([11, 'b']));
  assert.deepEqual(step.sent, ['SIGTERM 11']);
  step = run(step.plan, 1_000, looks([11, 'b']));
  step = run(step.plan, 1_500, looks([11, 'b']));
  assert.equal(step.nextAtMs, null);
  step = run(addTargets(step.plan, [{ pid: 12, startId: 'c' }]), 1_501, looks([11, 'b'], [12, 'c']));
  assert.deepEqual(step.sent, ['SIGKILL 12']);
  assert.equal(step.nextAtMs, 1_502);
});

test('who may not be signalled is not waited for, and counts as a survivor', () => {
  const first = run(startPlan([A, B], 0, TIMES), 0, both);
  const step = run(markDenied(first.plan, 10), 1, looks([10, 'a']));
  assert.equal(step.nextAtMs, null);
  assert.deepEqual(survivors(step.plan), [A]);
});

test('nobody to stop: over before it began', () => {
  assert.equal(run(startPlan([], 0, TIMES), 0, looks()).nextAtMs, null);
});

test('pauses grow from 1 ms to 50 ms', () => {
  let step = run(startPlan([A], 0, { ...TIMES, stopTimeoutMs: 60_000 }), 0, looks([10, 'a']));
  const pauses: number[] = [];
  let atMs = 0;
  for (let i = 0; i < 8; i++) {
    pauses.push(step.nextAtMs! - atMs);
    atMs = step.nextAtMs!;
    step = run(step.plan, atMs, looks([10, 'a']));
  }
  assert.deepEqual(pauses, [1, 2, 4, 8, 16, 32, 50, 50]);
});
