/** The lease at work (src/lease/keep.ts): real timers, short times, a store in memory that can be troubled. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createLeaseClock, type LeaseClock, systemSources } from '../../src/lease/clock.ts';
import { createLease, type Lease } from '../../src/lease/keep.ts';
import type { KeeperSaying } from '../../src/lease/keeper.ts';
import { formatRecord, type LeaseRecord } from '../../src/lease/record.ts';
import { LeaseConfigError, LeaseIoError, type LeaseStore } from '../../src/lease/store.ts';
import { LEASE_PROFILES, type LeaseTiming, timingProblem } from '../../src/lease/timing.ts';
import { staysTrue, until } from '../support/wait.ts';

const TIMING: LeaseTiming = {
  ...{ ttlMs: 1_200, renewMs: 150, requestMs: 100, pollMs: 120 },
  ...{ graceMs: 200, reapMs: 100, slackMs: 100 },
};

interface Engine {
  rec: LeaseRecord | null;
  trouble: 'refuses' | 'hangs' | 'denies' | null;
  /** Tells of changes; else `changed` comes back at once. */
  tells: boolean;
  calls: number;
  changedCalls: number;
  closed: number;
  /** Writes wait for it. */
  held: Promise<void> | null;
  store(): LeaseStore;
}

function createEngine(): Engine {
  const waiting = new Set<() => void>();
  const rev = () => (engine.rec === null ? null : formatRecord(engine.rec));
  const current = () => (engine.rec === null ? null : { rev: rev()!, rec: engine.rec });

  async function pass(): Promise<void> {
    engine.calls += 1;
    await new Promise(setImmediate);
    if (engine.trouble === 'refuses') throw new LeaseIoError('connection refused', false);
    if (engine.trouble === 'denies') throw new LeaseConfigError('wrong password');
    if (engine.trouble === 'hangs') await new Promise(() => {});
  }

  const engine: Engine = {
    ...{ rec: null, trouble: null, tells: true, calls: 0, changedCalls: 0, closed: 0, held: null },
    store: () => ({
      kind: 'test',
      async read() {
        await pass();
        return current();
      },
      async cas(prev, next) {
        await pass();
        await engine.held;
        if (rev() !== prev) return { ok: false, current: current() };
        engine.rec = next;
        for (const wake of waiting) wake();
        return { ok: true, rev: rev()! };
      },
      changed(after, ms, stop) {
        engine.changedCalls += 1;
        if (!engine.tells || stop.aborted || rev() !== after) return Promise.resolve();
        return new Promise((resolve) => {
          const done = () => {
            clearTimeout(timer);
            waiting.delete(done);
            stop.removeEventListener('abort', done);
            resolve();
          };
          const timer = setTimeout(done, ms);
          stop.addEventListener('abort', done);
          waiting.add(done);
        });
      },
      async close() {
        engine.closed += 1;
      },
    }),
  };
  return engine;
}

interface Options {
  readonly id: string;
  readonly timing?: LeaseTiming;
  readonly first?: boolean;
  readonly clock?: LeaseClock;
  readonly sayings?: KeeperSaying[];
}

function open(
  t: TestContext,
  engine: Engine,
  { id, first = false, clock, sayings, timing = TIMING }: Options,
): Lease {
  const lease = createLease({
    ...{ store: engine.store(), timing, host: 'here', pid: 1, lock: null, id, first },
    ...(clock && { clock }),
    onSaying: (saying) => void sayings?.push(saying),
  });
  t.after(() => lease.close());
  return lease;
}

const never = new AbortController().signal;

test('the times of these tests hold', () => assert.equal(timingProblem(TIMING), null));

test('acquire, hold by renewing, release', async (t) => {
  const engine = createEngine();
  const lease = open(t, engine, { id: 'a', first: true });
  const term = await lease.acquire(never);
  assert.ok(term.valid());
  assert.ok(term.remaining() > 0 && term.remaining() <= 1_200);
  assert.equal(engine.rec!.holder, 'a');
  assert.equal(term.epoch, engine.rec!.epoch);
  assert.equal(lease.status().role, 'leader');
  const { seq } = engine.rec!;
  await until('three renewals', () => engine.rec!.seq >= seq + 3);
  assert.ok(term.valid());
  await term.release();
  assert.equal(engine.rec!.holder, '');
  assert.equal((await term.lost).why, 'stop');
  assert.deepEqual([term.valid(), term.remaining()], [false, 0]);
  await term.release();
  const again = await lease.acquire(never);
  assert.ok(again.epoch > term.epoch);
  assert.deepEqual([again.valid(), term.valid()], [true, false]);
});

test('a standby is woken by the release of the holder', async (t) => {
  const engine = createEngine();
  // Looks of its own would come after ten seconds and more.
  const timing = LEASE_PROFILES.frugal;
  const holder = open(t, engine, { id: 'a', first: true, timing });
  const standby = open(t, engine, { id: 'b', timing });
  const term = await holder.acquire(never);
  const next = standby.acquire(never);
  await until('the standby to see the holder', () => standby.status().holder === 'a');
  assert.equal(standby.status().decision?.what, 'take');
  const atMs = performance.now();
  await term.release();
  assert.ok((await next).valid());
  assert.ok(performance.now() - atMs < timing.pollMs / 2);
});

test('an engine that is away: the term is lost at its stop point, and comes back when the engine does', async (t) => {
  const engine = createEngine();
  const sayings: KeeperSaying[] = [];
  const lease = open(t, engine, { id: 'a', first: true, sayings });
  const term = await lease.acquire(never);
  engine.trouble = 'refuses';
  await until('the loss to be foreseen', () => lease.status().reachable === false);
  assert.ok(term.valid());
  assert.equal(lease.status().unreachable?.why, 'connection refused');
  const { why, killBy } = await term.lost;
  assert.equal(why, 'deadline');
  assert.equal(term.valid(), false);
  const graceMs = killBy - lease.now();
  assert.ok(graceMs > 0 && graceMs <= TIMING.graceMs + 1, `${graceMs}`);
  await term.release();
  const next = lease.acquire(never);
  engine.trouble = null;
  assert.ok((await next).epoch > term.epoch);
  assert.deepEqual(
    sayings.map(({ what }) => what).filter((what) => what.endsWith('reachable')),
    ['unreachable', 'reachable'],
  );
});

test('a record that names another ends the term at once', async (t) => {
  const engine = createEngine();
  const lease = open(t, engine, { id: 'a', first: true });
  const term = await lease.acquire(never);
  engine.rec = { ...engine.rec!, holder: 'operator' };
  const { why, killBy } = await term.lost;
  assert.equal(why, 'taken');
  assert.ok(killBy <= lease.now());
  await term.release();
  assert.equal(engine.rec.holder, 'operator');
});

test('a request to hand over reaches the holder, and the lease the one that asked', async (t) => {
  const engine = createEngine();
  const term = await open(t, engine, { id: 'a', first: true }).acquire(never);
  const waiting = open(t, engine, { id: 'b' }).acquire(never);
  void waiting.catch(() => {});
  const next = open(t, engine, { id: 'c' }).acquire(never, { takeover: true });
  assert.equal(await term.asked, 'c');
  assert.ok(term.valid());
  await term.release();
  assert.ok((await next).valid());
  assert.equal(engine.rec!.holder, 'c');
});

test('acquire ends with its signal, and may be called again', async (t) => {
  const engine = createEngine();
  engine.rec = { v: 1, holder: 'other', epoch: 1, seq: 1, ttl: 60_000 };
  const lease = open(t, engine, { id: 'a' });
  const stop = new AbortController();
  const waiting = lease.acquire(stop.signal);
  assert.throws(() => lease.acquire(never), /already/);
  await until('a look', () => lease.status().holder === 'other');
  stop.abort(new Error('asked to end'));
  await assert.rejects(waiting, /asked to end/);
  await assert.rejects(lease.acquire(stop.signal), /asked to end/);
  const { calls } = engine;
  await staysTrue('no more requests', 400, () => engine.calls === calls);
  engine.rec = { ...engine.rec, holder: '' };
  assert.ok((await lease.acquire(never)).valid());
});

test('an engine that denies at the start ends it; later it is one that is away', async (t) => {
  const engine = createEngine();
  engine.trouble = 'denies';
  const lease = open(t, engine, { id: 'a', first: true });
  await assert.rejects(
    lease.acquire(never),
    (error) => LeaseConfigError.is(error) && /password/.test(error.message),
  );
  engine.trouble = null;
  const term = await lease.acquire(never);
  engine.trouble = 'denies';
  assert.equal((await term.lost).why, 'deadline');
});

test('a store that never answers does not hold the lease up for ever', async (t) => {
  const engine = createEngine();
  engine.trouble = 'hangs';
  const lease = open(t, engine, { id: 'a', first: true });
  const next = lease.acquire(never);
  await until('it to be noticed', () => lease.status().reachable === false);
  engine.trouble = null;
  assert.ok((await next).valid());
});

test('an engine that tells nothing, or too much, is asked no more for it', async (t) => {
  const engine = createEngine();
  engine.tells = false;
  engine.rec = { v: 1, holder: 'other', epoch: 1, seq: 1, ttl: 60_000 };
  const lease = open(t, engine, { id: 'a' });
  const waiting = lease.acquire(never);
  void waiting.catch(() => {});
  await until('twelve looks', () => engine.calls >= 12);
  assert.ok(engine.changedCalls < 40, `${engine.changedCalls} calls`);
  engine.rec = { ...engine.rec, holder: '' };
  assert.ok((await waiting).valid());
});

test('time that has passed unseen shuts the door until the next write', async (t) => {
  const engine = createEngine();
  let aheadMs = 0;
  const clock = createLeaseClock({ ...systemSources, unixMs: () => Date.now() + aheadMs });
  const term = await open(t, engine, { id: 'a', first: true, clock }).acquire(never);
  const { seq } = engine.rec!;
  aheadMs = 5_000;
  assert.equal(term.valid(), false);
  assert.equal(term.valid(), false);
  await until('the door to open again', () => term.valid());
  assert.ok(engine.rec!.seq > seq);
});

test('close ends the wait, gives back what a last write has won, and closes the store', async () => {
  const engine = createEngine();
  const lease = createLease({
    ...{ store: engine.store(), timing: TIMING, host: 'here', pid: 1, lock: null, id: 'a', first: true },
  });
  const ended = assert.rejects(lease.acquire(never), /closed/);
  let letGo = () => {};
  engine.held = new Promise((resolve) => {
    letGo = resolve;
  });
  await until('the first write to be under way', () => engine.calls === 2);
  const closed = lease.close();
  letGo();
  await closed;
  assert.equal(engine.closed, 1);
  await ended;
  assert.equal(engine.rec?.holder, '');
});
