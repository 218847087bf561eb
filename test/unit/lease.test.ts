/** The lease at work (src/lease/lease.ts): real timers, short times, an engine in memory that can be troubled. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createLease, type Lease, type LeaseEvent, systemSources } from '../../src/lease/lease.ts';
import {
  formatRecord,
  LeaseConfigError,
  LeaseIoError,
  type LeaseRecord,
  type LeaseStore,
} from '../../src/lease/store.ts';
import { createLeaseClock, type LeaseClock, type LeaseTiming } from '../../src/lease/timing.ts';
import { until } from '../support/wait.ts';

const TIMING: LeaseTiming = {
  ...{ ttlMs: 1_200, renewMs: 150, requestMs: 100, pollMs: 120 },
  ...{ graceMs: 200, reapMs: 100, slackMs: 100 },
};
const FREE: LeaseRecord = { v: 1, holder: '', epoch: 1, seq: 1, ttl: 1_200 };
const THEIRS: LeaseRecord = { ...FREE, holder: 'other', host: 'there', pid: 7, ttl: 60_000 };

class MemoryEngine {
  rec: LeaseRecord | null = FREE;
  trouble: 'refuses' | 'denies' | null = null;
  calls = 0;
  closed = 0;
  /** Writes wait for it. */
  held: Promise<void> | null = null;
  readonly watchers = new Set<() => void>();

  current = () => this.rec && { rev: formatRecord(this.rec), rec: this.rec };

  change(rec: LeaseRecord | null): void {
    this.rec = rec;
    for (const changed of this.watchers) changed();
  }

  async pass(): Promise<void> {
    this.calls += 1;
    await new Promise(setImmediate);
    if (this.trouble === 'refuses') throw new LeaseIoError('connection refused', false);
    if (this.trouble === 'denies') throw new LeaseConfigError('wrong password');
  }

  store(): LeaseStore {
    return {
      kind: 'test',
      read: () => this.pass().then(this.current),
      cas: async (prev, next) => {
        await this.pass();
        await this.held;
        const current = this.current();
        if ((current?.rev ?? null) !== prev) return { ok: false, current };
        this.change(next);
        return { ok: true, rev: formatRecord(next) };
      },
      watch: (_upWithinMs, hint) => {
        this.watchers.add(hint);
        return () => void this.watchers.delete(hint);
      },
      close: async () => {
        this.closed += 1;
      },
    };
  }
}

interface Machine {
  readonly lease: Lease;
  readonly events: LeaseEvent[];
  readonly lines: string[];
  /** Resolves when it may poll. */
  won(): Promise<void>;
  event<K extends LeaseEvent['kind']>(kind: K): Promise<Extract<LeaseEvent, { kind: K }>>;
}

interface Traits {
  readonly timing?: LeaseTiming;
  readonly takeover?: boolean;
  readonly noWait?: boolean;
  readonly clock?: LeaseClock;
}

function open(t: TestContext, engine: MemoryEngine, id: string, traits: Traits = {}): Machine {
  const events: LeaseEvent[] = [];
  const lines: string[] = [];
  const lease = createLease(engine.store(), {
    ...{ timing: TIMING, takeover: false, noWait: false, lock: null, id, ...traits },
    report: { line: (_tag, text) => void lines.push(text), drained: async () => {} },
    onEvent: (event) => void events.push(event),
  });
  t.after(() => lease.end(true));
  return {
    ...{ lease, events, lines },
    won: () => new Promise((resolve) => lease.seek(resolve)),
    async event(kind) {
      await until(`${id} to tell ${kind}`, () => events.some((it) => it.kind === kind));
      return events.find((it) => it.kind === kind) as never;
    },
  };
}

test('an engine that denies the first look ends the run; a holder treats it as out of reach', async (t) => {
  const engine = new MemoryEngine();
  engine.trouble = 'denies';
  const denied = open(t, engine, 'a');
  void denied.won();
  assert.deepEqual((await denied.event('blocked')).ending, { code: 78, reason: 'wrong password' });
  engine.trouble = null;
  await denied.won();
  engine.trouble = 'denies';
  assert.ok((await denied.event('unleased')).lost);
});

test('an engine that stays out of reach: 69 after the half minute that --no-wait announces', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const engine = new MemoryEngine();
  engine.trouble = 'refuses';
  let nowMs = 0;
  const clock = () => ({ nowMs, unixMs: nowMs, leaped: false });
  const { won, events, lines } = open(t, engine, 'a', { noWait: true, clock });
  void won();
  const pass = async (ms: number) => {
    for (let leftMs = ms; leftMs > 0; leftMs -= 50) {
      nowMs += 50;
      t.mock.timers.tick(50);
      await new Promise(setImmediate);
      await new Promise(setImmediate);
    }
  };
  await pass(29_000);
  assert.match(lines.join('\n'), /out of reach: connection refused.*trying for 30 s/);
  assert.deepEqual(events, []);
  await pass(2_000);
  const ending = { code: 69, reason: 'the lease engine is out of reach: connection refused' };
  assert.deepEqual(events, [{ kind: 'blocked', ending }]);
});

test('time that has passed unseen shuts the door until the next write, whoever notices it', async (t) => {
  const engine = new MemoryEngine();
  let aheadMs = 0;
  const clock = createLeaseClock({ ...systemSources, unixMs: () => Date.now() + aheadMs });
  const { lease, won } = open(t, engine, 'a', { clock });
  await won();
  for (const notice of [() => lease.valid(), () => lease.status(), () => lease.problem()]) {
    assert.equal(lease.settled(), null);
    const { seq } = engine.rec!;
    aheadMs += 5_000;
    notice();
    assert.equal(lease.valid(), false);
    await lease.settled();
    assert.ok(lease.valid() && engine.rec!.seq > seq);
  }
});

test('the end gives back what a last write has won, and closes the store', async (t) => {
  const engine = new MemoryEngine();
  const { lease, won, events } = open(t, engine, 'a');
  let letGo = () => {};
  engine.held = new Promise((resolve) => {
    letGo = resolve;
  });
  let hasWon = false;
  void won().then(() => {
    hasWon = true;
  });
  await until('the first write to be under way', () => engine.calls === 2);
  const over = lease.end(true);
  letGo();
  await over;
  assert.deepEqual([engine.rec?.holder, engine.closed, engine.watchers.size], ['', 1, 0]);
  assert.deepEqual([hasWon, events], [false, []]);
});

test('the end of a run whose worker may live leaves the record to run out', async (t) => {
  const engine = new MemoryEngine();
  engine.change({ ...THEIRS, holder: '' });
  const { lease, won } = open(t, engine, 'a');
  await won();
  await lease.end(false);
  await lease.end(true);
  assert.equal(engine.rec!.holder, 'a');
});
