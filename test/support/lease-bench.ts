// What tests of lease engines share: records, stores that end with the test, and judging what a call did.
import assert from 'node:assert/strict';
import { randomInt, randomUUID } from 'node:crypto';
import type { TestContext } from 'node:test';
import { openStore } from '../../src/lease/glance.ts';
import {
  LeaseConfigError,
  LeaseIoError,
  type LeaseRecord,
  type LeaseStore,
  type Seen,
} from '../../src/lease/store.ts';
import { until } from './wait.ts';

/** Longer than any engine here needs for an answer. */
export const AMPLE_MS = 20_000;

export const record = (more: Partial<LeaseRecord> = {}): LeaseRecord => ({
  v: 1,
  holder: randomUUID(),
  epoch: 1_790_000_000,
  seq: 1,
  ttl: 15_000,
  host: 'here',
  ...more,
});

export const newBot = (): number => randomInt(100_000_000, 2_000_000_000);

/** A store that is closed when the test ends. */
export async function storeOf(t: TestContext, url: string, botId: number): Promise<LeaseStore> {
  const store = await openStore(url, botId);
  t.after(() => store.close());
  return store;
}

/** Creates or changes the record by `store`, whatever stands there; gives what then stands there. */
export async function write(store: LeaseStore, more: Partial<LeaseRecord> = {}): Promise<Seen> {
  const before = await store.read(AMPLE_MS);
  const rec = record({ seq: (before?.rec.seq ?? 0) + 1, ...more });
  const done = await store.cas(before?.rev ?? null, rec, AMPLE_MS);
  assert.ok(done.ok, 'nobody else writes here');
  return { rev: done.rev, rec };
}

/** `config`: waiting does not heal it. `refused`: surely not applied. `unclear`: it may have been applied. */
export type Fault = 'config' | 'refused' | 'unclear';

/** How a call ended; any other error than the two that a store may throw fails the test. */
export async function faultOf(call: Promise<unknown>): Promise<{ fault: Fault | null; message: string }> {
  try {
    await call;
    return { fault: null, message: '' };
  } catch (error) {
    const { message } = error as Error;
    if (error instanceof LeaseConfigError) return { fault: 'config', message };
    if (error instanceof LeaseIoError) return { fault: error.maybeApplied ? 'unclear' : 'refused', message };
    throw error;
  }
}

/** The call fails with this fault and these words, and shows none of `secrets`. */
export async function fails(
  call: Promise<unknown>,
  fault: Fault,
  words: RegExp = /./,
  secrets: RegExp = /hunter2/,
): Promise<void> {
  const found = await faultOf(call);
  assert.equal(found.fault, fault, found.message || 'it did not fail');
  assert.match(found.message, words);
  assert.doesNotMatch(found.message, secrets);
}

/** Both calls of a store fail alike. */
export async function failsWhole(store: LeaseStore, words: RegExp, secrets?: RegExp): Promise<void> {
  await fails(store.read(AMPLE_MS), 'config', words, secrets);
  await fails(store.cas(null, record(), AMPLE_MS), 'config', words, secrets);
}

/** How often a watch has told that the record may have changed. */
export interface Told {
  changed: number;
}

export function watch(t: TestContext, store: LeaseStore): Told {
  const told: Told = { changed: 0 };
  t.after(
    store.watch(AMPLE_MS, () => {
      told.changed += 1;
    }),
  );
  return told;
}

/** A watch that is established. */
export async function watching(t: TestContext, store: LeaseStore): Promise<Told> {
  const told = watch(t, store);
  await until('the watch to be established', () => told.changed > 0);
  return told;
}

/** What `change` does is told. */
export async function wakes(told: Told, change: () => Promise<unknown>): Promise<void> {
  const before = told.changed;
  await change();
  await until('the watch to tell of it', () => told.changed > before);
}
