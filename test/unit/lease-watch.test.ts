/** Keeping a watch open (src/lease/watch.ts), on a clock of the test. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { keepWatching } from '../../src/lease/watch.ts';

interface Watch {
  readonly changed: () => void;
  readonly signal: AbortSignal;
  readonly end: () => void;
}

function watched(t: TestContext, onOpen: (watch: Watch, number: number) => void) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let nowMs = 0;
  t.mock.method(performance, 'now', () => nowMs);
  const watches: Watch[] = [];
  let hints = 0;
  const stop = keepWatching(
    (changed, signal) =>
      new Promise((end) => {
        signal.addEventListener('abort', () => end());
        watches.push({ changed, signal, end });
        onOpen(watches.at(-1)!, watches.length);
      }),
    2_000,
    () => {
      hints += 1;
    },
  );
  t.after(stop);
  const pass = async (ms: number) => {
    for (const endMs = nowMs + ms; nowMs < endMs; nowMs += 100) {
      t.mock.timers.tick(100);
      await Promise.resolve();
    }
  };
  return { stop, watches, pass, hints: () => hints };
}

test('hands on what a watch tells, and keeps it until it is stopped', async (t) => {
  const { stop, watches, pass, hints } = watched(t, ({ changed }) => changed());
  await pass(60_000);
  watches[0]!.changed();
  assert.deepEqual([watches.length, hints()], [1, 2]);
  stop();
  assert.ok(watches[0]!.signal.aborted);
  await pass(200_000);
  assert.equal(watches.length, 1);
});

test('replaces a watch that ends, within a second, and one that is not established in time', async (t) => {
  const { watches, pass } = watched(t, ({ changed }, number) => {
    if (number === 1) changed();
  });
  await pass(5_000);
  watches[0]!.end();
  await pass(1_000);
  assert.equal(watches.length, 2);
  await pass(2_200);
  assert.deepEqual([watches[1]!.signal.aborted, watches.length], [true, 3]);
});

test('tries a watch that does not come up ever less often', async (t) => {
  const { watches, pass } = watched(t, ({ end }) => end());
  await pass(7_500);
  assert.equal(watches.length, 4, 'after 1, 2 and 4 seconds');
  await pass(600_000);
  assert.ok(watches.length <= 17, `${watches.length}`);
});
