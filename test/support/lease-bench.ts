// What tests of lease engines share: records, stores that end with the test, and judging what a call did.
import assert from 'node:assert/strict';
import { randomInt, randomUUID } from 'node:crypto';
import type { TestContext } from 'node:test';
import { openStore } from '../../src/lease/open.ts';
import type { LeaseRecord } from '../../src/lease/record.ts';
import { LeaseConfigError, LeaseIoError, type LeaseStore, type Seen } from '../../src/lease/store.ts';

/** Longer than any engine here needs for an answer. */
export const AMPLE_MS = 5_000;

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

export type Outcome =
  | { kind: 'done'; value: unknown; ms: number }
  | { kind: 'io'; maybeApplied: boolean; message: string; ms: number }
  | { kind: 'config'; message: string; ms: number };

/** How a call ended; any other error than the two that a store may throw fails the test. */
export async function outcome(call: Promise<unknown>): Promise<Outcome> {
  const begin = performance.now();
  const since = (): number => performance.now() - begin;
  try {
    return { kind: 'done', value: await call, ms: since() };
  } catch (error) {
    const { message } = error as Error;
    if (LeaseIoError.is(error)) return { kind: 'io', maybeApplied: error.maybeApplied, message, ms: since() };
    if (LeaseConfigError.is(error)) return { kind: 'config', message, ms: since() };
    throw error;
  }
}

/** A wait that is measured. */
export async function waited(
  store: LeaseStore,
  after: string | null,
  ms: number,
  stop: AbortSignal = new AbortController().signal,
): Promise<number> {
  const begin = performance.now();
  await store.changed(after, ms, stop);
  return performance.now() - begin;
}

/** Waits until the store's watch is established: then waits take their whole time. */
export async function quiet(store: LeaseStore): Promise<void> {
  const end = performance.now() + 15_000;
  for (;;) {
    const seen = await store.read(AMPLE_MS);
    if ((await waited(store, seen?.rev ?? null, 250)) > 240) return;
    if (performance.now() > end) throw new Error('its waits return again and again, though nothing changes');
  }
}
