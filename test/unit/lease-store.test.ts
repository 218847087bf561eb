/** What all engines of a lease share (src/lease/store.ts), over an engine that does as the test wants. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createStore, type Engine, EngineAnswer } from '../../src/lease/store.ts';

const NEVER = () => new Promise<never>(() => {});

const storeOf = (engine: Partial<Engine>) =>
  createStore({
    ...{ kind: 'test', label: 'test lease', where: 'the key', rules: [], close() {} },
    ...{ read: NEVER, cas: NEVER, watch: NEVER, hide: (text) => text.replaceAll('secret', '…') },
    ...engine,
  });

// What the engines' own tests do not meet: test/e2e/lease-contract.test.ts and those of each engine.
test('what a socket says becomes words: another host, no TLS, and what nobody knows, without a secret', async () => {
  for (const [code, words] of [
    ['ENOTFOUND', /: test lease: no such host$/],
    ['ECONNRESET', /the other side cut the connection/],
    ['ERR_SSL_WRONG_VERSION_NUMBER', /does not speak TLS/],
    ['EWHATEVER', /: EWHATEVER and …$/],
  ] as const) {
    const error = Object.assign(new Error(`${code} and secret`), { code });
    await assert.rejects(storeOf({ read: () => Promise.reject(error) }).read(1_000), words);
  }
  const answer = new EngineAnswer('X', 'no secret for you');
  await assert.rejects(storeOf({ read: () => Promise.reject(answer) }).read(1_000), /no … for you$/);
});

interface Watch {
  readonly changed: () => void;
  readonly signal: AbortSignal;
  readonly end: () => void;
}

/** Watches of an engine, on a clock of the test. */
function watched(t: TestContext, onOpen: (watch: Watch, number: number) => void) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let nowMs = 0;
  t.mock.method(performance, 'now', () => nowMs);
  const watches: Watch[] = [];
  const store = storeOf({
    watch: (changed, signal) =>
      new Promise((end) => {
        watches.push({ changed, signal, end: () => end(null) });
        onOpen(watches.at(-1)!, watches.length);
      }),
  });
  let hints = 0;
  const stop = store.watch(2_000, () => {
    hints += 1;
  });
  t.after(stop);
  const pass = async (ms: number) => {
    for (const endMs = nowMs + ms; nowMs < endMs; nowMs += 100) {
      t.mock.timers.tick(100);
      await new Promise(setImmediate);
    }
  };
  return { store, stop, watches, pass, hints: () => hints };
}

for (const end of ['stop', 'close'] as const)
  test(`a watch is kept until ${end}, and what it tells is handed on`, async (t) => {
    const { store, stop, watches, pass, hints } = watched(t, ({ changed }) => changed());
    await pass(60_000);
    watches[0]!.changed();
    assert.deepEqual([watches.length, hints()], [1, 2]);
    if (end === 'stop') stop();
    else await store.close();
    assert.ok(watches[0]!.signal.aborted);
    await pass(100_000);
    assert.equal(watches.length, 1);
  });

test('a watch that does not come up is tried ever less often', async (t) => {
  const { watches, pass } = watched(t, ({ end }) => end());
  await pass(7_500);
  assert.equal(watches.length, 4, 'after 1, 2 and 4 seconds');
  await pass(600_000);
  assert.ok(watches.length <= 17, `${watches.length}`);
});
