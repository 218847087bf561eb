/** What all engines of a lease share (src/lease/store.ts), over an engine that does as the test wants. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatRecord, type LeaseRecord } from '../../src/lease/record.ts';
import {
  createStore,
  type Engine,
  EngineAnswer,
  LeaseConfigError,
  LeaseIoError,
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

test('a limit is one, also where the engine does not heed it', async () => {
  const told: boolean[] = [];
  const store = storeOf({
    read(signal) {
      signal.addEventListener('abort', () => told.push(true));
      return NEVER();
    },
  });
  await assert.rejects(store.read(10), /no answer within 10 ms/);
  assert.deepEqual(told, [true]);
});

test('the end rejects what is under way and what comes later, and ends a watch', async () => {
  const store = storeOf({});
  const call = assert.rejects(store.cas(null, REC, 60_000), { maybeApplied: true });
  const watch = store.watch(() => {}, new AbortController().signal);
  await store.close();
  await Promise.all([call, watch]);
  await assert.rejects(store.cas(null, REC, 60_000), { maybeApplied: false });
  await store.watch(() => {}, new AbortController().signal);
});

test('what stands in the place of the record and is none is told, cut short, in a conflict too', async () => {
  const text = `a secret note ${'x'.repeat(100)}`;
  const store = storeOf({
    read: async () => ({ rev: '1', text }),
    cas: async () => ({ current: { rev: '2', text: formatRecord(REC) } }),
  });
  await assert.rejects(
    store.read(1_000),
    /the key holds something that singlepoll did not write: "a … note x+…"; remove it/,
  );
  assert.deepEqual(await store.cas('1', REC, 1_000), { ok: false, current: { rev: '2', rec: REC } });
});
