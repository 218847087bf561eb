/** Keeping a watch open (src/lease/watch.ts), on a clock of the test. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { WatchListener } from '../../src/lease/store.ts';
import { keepWatching } from '../../src/lease/watch.ts';

function watched(t: TestContext, onOpen: (listener: WatchListener) => void = () => {}) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let nowMs = 0;
  t.mock.method(performance, 'now', () => nowMs);
  const listeners: WatchListener[] = [];
  const counts = { hints: 0, closed: 0 };
  const watcher = keepWatching(
    (listener) => {
      listeners.push(listener);
      onOpen(listener);
      return () => {
        counts.closed += 1;
      };
    },
    2_000,
    () => {
      counts.hints += 1;
    },
  );
  const pass = (ms: number) => {
    for (const endMs = nowMs + ms; nowMs < endMs; nowMs += 100) t.mock.timers.tick(100);
  };
  return { watcher, listeners, counts, pass };
}

test('hands on what a watch tells, and keeps it', (t) => {
  const { watcher, listeners, counts, pass } = watched(t, ({ changed }) => changed());
  pass(60_000);
  assert.deepEqual([listeners.length, counts], [1, { hints: 1, closed: 0 }]);
  listeners[0]!.changed();
  assert.equal(counts.hints, 2);
  watcher.close();
  listeners[0]!.changed();
  listeners[0]!.ended();
  pass(200_000);
  assert.deepEqual([listeners.length, counts], [1, { hints: 2, closed: 1 }]);
});

test('replaces a watch that ends, within a second', (t) => {
  const { watcher, listeners, pass } = watched(t, ({ changed }) => changed());
  pass(5_000);
  listeners[0]!.ended();
  pass(1_000);
  assert.equal(listeners.length, 2);
  watcher.close();
});

test('tries a watch that does not come up ever less often', (t) => {
  const { watcher, listeners, pass } = watched(t, ({ ended }) => ended());
  pass(7_500);
  assert.equal(listeners.length, 4, 'after 1, 2 and 4 seconds');
  pass(600_000);
  assert.ok(listeners.length <= 17, `${listeners.length}`);
  watcher.close();
});

test('gives up a watch that is not established in time', (t) => {
  const { watcher, listeners, counts, pass } = watched(t);
  pass(2_100);
  assert.deepEqual([listeners.length, counts], [2, { hints: 0, closed: 1 }]);
  listeners[0]!.changed();
  assert.equal(counts.hints, 0, 'what it tells later counts no more');
  watcher.close();
});

test('gives up a watch that has missed three changes', (t) => {
  const { watcher, listeners, counts, pass } = watched(t, ({ changed }) => changed());
  watcher.missed();
  watcher.missed();
  listeners[0]!.changed();
  for (let i = 0; i < 2; i++) watcher.missed();
  assert.equal(counts.closed, 0);
  watcher.missed();
  pass(1_000);
  assert.deepEqual([listeners.length, counts.closed], [2, 1]);
  watcher.close();
});
