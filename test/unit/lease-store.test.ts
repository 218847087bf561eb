/** What all engines of a lease share (src/lease/store.ts), over an engine that does as the test wants. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import {
  createStore,
  type Engine,
  EngineAnswer,
  LeaseConfigError,
  LeaseIoError,
  type LeaseRecord,
  type Rule,
} from '../../src/lease/store.ts';

const REC: LeaseRecord = { v: 1, holder: 'a', epoch: 1, seq: 1, ttl: 15_000 };
const NEVER = () => new Promise<never>(() => {});
const RULES: readonly Rule[] = [
  [/^DENIED/, 'config', 'ask somebody'],
  [/^BUSY/, 'refused'],
];

const storeOf = (engine: Partial<Engine>) =>
  createStore({
    ...{ kind: 'test', label: 'test lease', where: 'the key', rules: RULES, close() {} },
    ...{ read: NEVER, cas: NEVER, watch: NEVER, hide: (text) => text.replaceAll('secret', '…') },
    ...engine,
  });

const failing = (error: unknown) => storeOf({ cas: () => Promise.reject(error) }).cas(null, REC, 1_000);
const codeError = (code: string) => Object.assign(new Error(`it says ${code} and secret`), { code });

for (const [error, kind, words] of [
  [codeError('ECONNREFUSED'), 'refused', /^test lease: connection refused$/],
  [codeError('ENOTFOUND'), 'refused', /no such host/],
  [codeError('ECONNRESET'), 'unclear', /cut the connection/],
  [codeError('EWHATEVER'), 'unclear', /it says EWHATEVER and …$/],
  [codeError('DEPTH_ZERO_SELF_SIGNED_CERT'), 'config', /not trusted.*\?tls=insecure/],
  [codeError('ERR_SSL_WRONG_VERSION_NUMBER'), 'config', /does not speak TLS/],
  [new EngineAnswer('DENIED', 'no secret for you'), 'config', /no … for you; ask somebody$/],
  [new EngineAnswer('BUSY'), 'refused', /BUSY/],
  [new EngineAnswer('STRANGE'), 'unclear', /STRANGE/],
] as const)
  test(`a write that failed with ${words.source} is ${kind}`, async () => {
    const found = await failing(error).then(
      () => assert.fail('it did not fail'),
      (it: Error) => it,
    );
    assert.match(found.message, words);
    assert.equal(found instanceof LeaseConfigError, kind === 'config');
    if (found instanceof LeaseIoError) assert.equal(found.maybeApplied, kind === 'unclear');
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
