// Holding the lease, and losing it: to another machine, to somebody who edits the record, to one who asks for it.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { node } from '../support/bed.ts';
import { type Engine, openEngine } from '../support/engines.ts';
import { assertNeverTwo } from '../support/judge.ts';
import {
  FAST_TTL_MS,
  goneAt,
  leaseBed,
  leaseOf,
  stateIs,
  workerNumber,
  workersOf,
} from '../support/lease-bed.ts';
import { alive, environOf } from '../support/proc.ts';
import { staysTrue, until } from '../support/wait.ts';

describe('lease, holding', () => {
  let engine: Engine;
  before(async () => {
    engine = await openEngine('redis');
  });
  after(() => engine?.close());

  test('holder: renews, keeps its epoch, and is healthy', async (t) => {
    const b = await leaseBed(t, engine);
    const run = await b.holding();
    const first = await b.record();
    const texts = new Set<string | null>();
    await until('three renewals', async () => texts.add(await b.text()).size > 3, { everyMs: 50 });
    const rec = await b.record();
    assert.ok((rec?.seq ?? 0) > (first?.seq ?? 0));
    assert.deepEqual(
      [rec?.epoch, rec?.holder, rec?.since, rec?.v, rec?.ttl],
      [first?.epoch, first?.holder, first?.since, 1, FAST_TTL_MS],
    );
    assert.match(rec?.holder ?? '', /^[0-9a-f-]{36}$/, 'no host name that another machine could have too');
    const status = await stateIs(b, 'polling', run);
    assert.deepEqual([status.healthy, status.problems], [true, []]);
    const lease = leaseOf(status);
    assert.deepEqual([lease.mine, lease.epoch], [true, rec?.epoch]);
    assert.match(lease.holder ?? '', new RegExp(`:${run.pid}$`));
    assert.ok(Date.parse(lease.expiresAt ?? '') > Date.now() + 3_000);
    assert.ok(Date.parse(lease.expiresAt ?? '') <= Date.now() + FAST_TTL_MS + 100);
  });

  test('holder: another stands in the record: the worker dies at once, nothing is freed, it stands by', async (t) => {
    const b = await leaseBed(t, engine);
    const run = await b.holding();
    const [worker] = workersOf(b);
    const before = await b.record();
    const other = await b.another({ epoch: (before?.epoch ?? 0) + 1 });
    const written = performance.now();
    const tookMs = (await goneAt(worker?.pid ?? -1, 'the worker', run)) - written;
    // A renewal away, and a request.
    assert.ok(tookMs < 2_500, `gone after ${Math.round(tookMs)} ms`);
    const status = await stateIs(b, 'standby', run);
    assert.deepEqual([leaseOf(status).holder, leaseOf(status).mine], [other.shown, false]);
    const polls = b.sandbox.polls().length;
    await staysTrue('the record is the other one’s, and nobody polls here', 1_500, async () => {
      const rec = await b.record();
      return (
        rec?.holder === other.rec.holder && rec.seq === other.rec.seq && b.sandbox.polls().length === polls
      );
    });
    assert.match(run.stderr(), /lost/i);
    await other.free();
    const next = await workerNumber(b, 2, run);
    assert.ok(((await b.record())?.epoch ?? 0) > other.rec.epoch);
    assert.ok(environOf(next.pid)?.some((entry) => entry === 'SINGLEPOLL_SPAWN=2'));
    assertNeverTwo(b);
  });

  test('holder: another in the record kills also a worker that ignores SIGTERM, at once', async (t) => {
    const b = await leaseBed(t, engine);
    const run = await b.holding([], node('ignores-term.mjs'));
    const [worker] = workersOf(b, 'ignores-term.mjs');
    await b.another({ epoch: ((await b.record())?.epoch ?? 0) + 1 });
    const written = performance.now();
    const tookMs = (await goneAt(worker?.pid ?? -1, 'the worker', run)) - written;
    assert.ok(tookMs < 2_500, `gone after ${Math.round(tookMs)} ms`);
    await stateIs(b, 'standby', run);
  });

  test('holder: the record is freed by hand: the worker stops before another could begin', async (t) => {
    const b = await leaseBed(t, engine);
    const run = await b.holding();
    const [worker] = workersOf(b);
    const rec = await b.record();
    await b.put({ ...rec!, holder: '', seq: rec!.seq + 1 });
    const written = performance.now();
    // Either it goes and comes back as a new term, or it never was in doubt: with one epoch only one worker.
    await until('a term of our own', async () => (await b.record())?.holder === rec?.holder, {
      seen: run.seen,
    });
    await staysTrue('never two', 2_000, () => {
      assertNeverTwo(b);
      return true;
    });
    const now = await b.record();
    if (now?.epoch === rec?.epoch) assert.equal(alive(worker?.pid ?? -1), true);
    else assert.equal(alive(worker?.pid ?? -1), false, `after ${performance.now() - written} ms`);
  });

  test('holder: a wiped record is written again: no restart, no other epoch', async (t) => {
    const b = await leaseBed(t, engine);
    const run = await b.holding();
    const rec = await b.record();
    for (let round = 0; round < 3; round++) {
      await engine.wipe(b.botId);
      await until('the record to be back', async () => (await b.record())?.holder === rec?.holder, {
        ms: 3_000,
        seen: run.seen,
      });
    }
    assert.equal((await b.record())?.epoch, rec?.epoch);
    await staysTrue(
      'one worker',
      1_000,
      () => workersOf(b).length === 1 && alive(workersOf(b)[0]?.pid ?? -1),
    );
    assert.equal((await b.status()).healthy, true);
    assert.match(run.stderr(), /gone|vanished|again/i);
  });

  test('holder: its record is rolled back: taken on again, one worker', async (t) => {
    const b = await leaseBed(t, engine);
    const run = await b.holding();
    const old = await b.text();
    await until(
      'two renewals',
      async () => ((await b.record())?.seq ?? 0) >= (JSON.parse(old ?? '{}') as { seq: number }).seq + 2,
      { everyMs: 50 },
    );
    await engine.put(b.botId, old ?? '');
    const { seq } = JSON.parse(old ?? '{}') as { seq: number };
    await until('it to be renewed', async () => ((await b.record())?.seq ?? 0) > seq + 1, { seen: run.seen });
    await staysTrue('one worker', 1_000, () => workersOf(b).length === 1 && run.ended() === null);
    assert.equal((await b.record())?.epoch, (JSON.parse(old ?? '{}') as { epoch: number }).epoch);
  });

  test('holder: a record that is overwritten with rubbish ends its polling in time, and it lives on', async (t) => {
    const b = await leaseBed(t, engine);
    const run = await b.holding();
    const [worker] = workersOf(b);
    const begin = performance.now();
    await engine.put(b.botId, 'scribble');
    await run.waitFor(/scribble/);
    const tookMs = (await goneAt(worker?.pid ?? -1, 'the worker', run)) - begin;
    assert.ok(tookMs < FAST_TTL_MS, `gone after ${Math.round(tookMs)} ms`);
    await stateIs(b, 'standby', run);
    assert.equal(await b.text(), 'scribble', 'what is not ours is not overwritten');
    assert.equal(run.ended(), null);
    await b.vacate((await b.status()).supervisor ? undefined : 1);
    await workerNumber(b, 2, run);
    assertNeverTwo(b);
  });

  test('holder: asked in the record to hand over: the worker gone, then freed; it stands by again', async (t) => {
    const b = await leaseBed(t, engine);
    const run = await b.holding();
    const [worker] = workersOf(b);
    const asker = randomUUID();
    let before = await b.record();
    const alivesAtFree: boolean[] = [];
    await until(
      'it to be freed',
      async () => {
        const rec = await b.record();
        if (rec?.holder === '') {
          alivesAtFree.push(alive(worker?.pid ?? -1));
          return true;
        }
        // Its renewal may have come in between: asked again, as another machine would.
        if (rec && rec.wants !== asker && rec.holder === before?.holder) {
          before = rec;
          await b.put({ ...rec, wants: asker });
        }
        return false;
      },
      { ms: 6_000, everyMs: 5, seen: run.seen },
    );
    assert.deepEqual(alivesAtFree, [false], 'no worker lives where the record is free');
    const signals = b.journal().filter((entry) => entry.ev === 'signal' && entry.pid === worker?.pid);
    assert.equal(signals.length, 1, 'asked to leave, not killed');
    assert.equal(run.ended(), null);
    // The one who asked takes it.
    const other = await b.another({ epoch: ((await b.record())?.epoch ?? 0) + 1, holder: asker });
    other.live();
    await staysTrue('it stands by', 2_500, () => workersOf(b).length === 1);
    const status = await stateIs(b, 'standby', run);
    assert.deepEqual([leaseOf(status).holder, status.healthy], [other.shown, true]);
    await other.free();
    await workerNumber(b, 2, run);
    assertNeverTwo(b);
  });

  test('holder: asked to hand over by one who then does not come: it polls again', async (t) => {
    const b = await leaseBed(t, engine);
    const run = await b.holding();
    const rec = await b.record();
    await b.put({ ...rec!, wants: randomUUID() });
    await goneAt(workersOf(b)[0]?.pid ?? -1, 'the worker', run);
    await workerNumber(b, 2, run);
    assert.ok(((await b.record())?.epoch ?? 0) > (rec?.epoch ?? 0));
    assertNeverTwo(b);
  });

  test('holder: --takeover writes its wish, and takes what is freed', async (t) => {
    const b = await leaseBed(t, engine);
    const other = await b.another();
    const run = b.cli(['start', ...b.fast, '--takeover', '--', ...node('polite.mjs')]);
    const wish = await until('its wish', async () => (await b.record())?.wants, { seen: run.seen });
    assert.match(wish, /\S{8,}/);
    const asked = await b.record();
    assert.deepEqual(
      [asked?.holder, asked?.epoch],
      [other.rec.holder, other.rec.epoch],
      'nothing else is changed',
    );
    await stateIs(b, 'standby', run);
    // The holder renews meanwhile, and keeps the wish, until its worker is gone.
    Object.assign(other.rec, { seq: (asked?.seq ?? 0) + 10, wants: wish });
    other.live(300);
    await staysTrue('it waits for the holder', 2_000, () => workersOf(b).length === 0);
    await other.crash();
    const freed = await other.renew({ holder: '', wants: undefined as unknown as string });
    await workerNumber(b, 1, run);
    const tookMs = performance.now() - freed;
    assert.ok(tookMs < 2_500, `after ${Math.round(tookMs)} ms`);
    const rec = await b.record();
    assert.equal(rec?.holder, wish, 'by the one who asked');
    assert.equal(rec?.wants, undefined);
    assert.ok((rec?.epoch ?? 0) > other.rec.epoch);
  });

  test('holder: --takeover of a holder that does not answer waits for its ttl', async (t) => {
    const b = await leaseBed(t, engine);
    const other = await b.another();
    const begin = performance.now();
    const run = b.cli(['start', ...b.fast, '--takeover', '--', ...node('polite.mjs')]);
    await workerNumber(b, 1, run, 20_000);
    assert.ok(performance.now() - begin >= FAST_TTL_MS, `after ${performance.now() - begin} ms`);
    assert.ok(((await b.record())?.epoch ?? 0) > other.rec.epoch);
  });

  test('holder: --takeover where nobody holds it is a plain start', async (t) => {
    const b = await leaseBed(t, engine);
    await b.vacate();
    const begin = performance.now();
    await b.polling([...b.fast, '--takeover', '--', ...node('polite.mjs')]);
    assert.ok(performance.now() - begin < 4_000);
  });

  for (const how of ['SIGTERM', 'SIGINT', 'stop'] as const)
    test(`holder: ${how}: the worker is gone before the record is free, exit 0`, async (t) => {
      const b = await leaseBed(t, engine);
      const run = await b.holding(['--stop-timeout', '2s'], node('ignores-term.mjs'));
      const pid = workersOf(b, 'ignores-term.mjs')[0]?.pid ?? -1;
      const epoch = (await b.record())?.epoch;
      const stopping = how === 'stop' ? b.run(['stop']) : Promise.resolve(run.signal(how));
      const aliveAtFree = await until(
        'the record to be free',
        async () => ((await b.record())?.holder === '' ? { worker: alive(pid) } : null),
        { ms: 12_000, everyMs: 3, seen: run.seen },
      );
      assert.equal(aliveAtFree.worker, false, 'freed while the worker lived');
      assert.deepEqual(await run.exit(), { code: 0, signal: null }, run.seen());
      const said = await stopping;
      if (said) assert.equal(said.code, 0, said.stderr);
      const rec = await b.record();
      assert.deepEqual([rec?.holder, rec?.epoch], ['', epoch], 'free, its epoch kept');
      assert.equal(rec?.wants, undefined);
    });

  test('holder: a worker that takes long to stop keeps the lease until it is gone', async (t) => {
    const b = await leaseBed(t, engine);
    const run = await b.holding(['--stop-timeout', '8s'], node('ignores-term.mjs'));
    const pid = workersOf(b, 'ignores-term.mjs')[0]?.pid ?? -1;
    const holder = (await b.record())?.holder;
    run.signal('SIGTERM');
    // Longer than the ttl: without renewals another would take it meanwhile.
    const renewals = new Set<number | undefined>();
    await until(
      'the worker to be gone',
      async () => {
        const lives = alive(pid);
        const rec = await b.record();
        if (lives) assert.equal(rec?.holder, holder, 'still ours while the worker lives');
        renewals.add(rec?.seq);
        return !alive(pid);
      },
      { ms: 15_000, everyMs: 50, seen: run.seen },
    );
    assert.ok(renewals.size > 5, `${renewals.size} renewals`);
    assert.equal((await run.exit()).code, 0);
    assert.equal((await b.record())?.holder, '');
  });

  test('holder: `restart` and a crashing worker keep lease and epoch', async (t) => {
    const b = await leaseBed(t, engine);
    const run = await b.holding();
    const rec = await b.record();
    const answer = await b.run(['restart']);
    assert.equal(answer.code, 0, answer.stderr);
    const second = await workerNumber(b, 2, run);
    process.kill(second.pid, 'SIGKILL');
    const third = await workerNumber(b, 3, run);
    const now = await b.record();
    assert.deepEqual([now?.epoch, now?.holder], [rec?.epoch, rec?.holder]);
    for (const pid of [third.pid]) assert.ok(environOf(pid)?.includes(`SINGLEPOLL_EPOCH=${rec?.epoch}`));
    assertNeverTwo(b);
  });

  test('holder: a worker that ends for good frees the record', async (t) => {
    const b = await leaseBed(t, engine);
    const run = await b.holding(['--restart', 'never'], node('polls-then-exits.mjs'));
    const { code } = await run.exit();
    assert.notEqual(code, 70, run.seen());
    assert.equal((await b.record())?.holder, '');
  });

  test('holder: a second start on the same machine is 75 at once, and --takeover hands over without a wait', async (t) => {
    const b = await leaseBed(t, engine);
    const run = await b.holding();
    const rec = await b.record();
    const second = await b.run(['start', ...b.fast, '--', ...node('polite.mjs')]);
    assert.equal(second.code, 75, second.stderr);
    assert.match(second.stderr, new RegExp(`\\b${run.pid}\\b`));
    const third = b.cli(['start', ...b.fast, '--takeover', '--', ...node('polite.mjs')]);
    const begin = performance.now();
    await workerNumber(b, 2, third);
    assert.ok(performance.now() - begin < 4_000, `${performance.now() - begin} ms`);
    assert.equal((await run.exit()).code, 0, run.seen());
    const now = await b.record();
    assert.equal(now?.pid, third.pid);
    assert.ok((now?.epoch ?? 0) > (rec?.epoch ?? 0));
    assertNeverTwo(b);
  });

  test('holder: killed and started again on the same machine: taken back at once, the epoch rises', async (t) => {
    const b = await leaseBed(t, engine);
    let run = await b.holding();
    for (let round = 2; round <= 4; round++) {
      const rec = await b.record();
      run.signal('SIGKILL');
      await run.exit();
      const begin = performance.now();
      run = b.cli(['start', ...b.fast, '--', ...node('polite.mjs')]);
      await workerNumber(b, round, run);
      const tookMs = performance.now() - begin;
      assert.ok(tookMs < 4_500, `round ${round}: after ${Math.round(tookMs)} ms`);
      const now = await b.record();
      assert.ok((now?.epoch ?? 0) > (rec?.epoch ?? 0), `${now?.epoch} after ${rec?.epoch}`);
      assert.notEqual(now?.holder, rec?.holder);
    }
    assertNeverTwo(b);
  });

  test('holder: killed, and another machine has taken it meanwhile: waited for', async (t) => {
    const b = await leaseBed(t, engine);
    const run = await b.holding();
    const rec = await b.record();
    run.signal('SIGKILL');
    await run.exit();
    // The same machine in every word but the lock.
    await b.another({
      host: rec?.host ?? '',
      pid: run.pid,
      epoch: (rec?.epoch ?? 0) + 1,
      lock: 'c'.repeat(32),
    });
    const begin = performance.now();
    const next = await b.standby();
    await workerNumber(b, 2, next);
    assert.ok(performance.now() - begin >= FAST_TTL_MS - 100, `after ${performance.now() - begin} ms`);
    assertNeverTwo(b);
  });

  test('holder: `reset` takes the lease back at once, and --no-start leaves it free or to run out', async (t) => {
    const b = await leaseBed(t, engine);
    const run = await b.holding();
    const begin = performance.now();
    const next = b.cli(['reset']);
    await workerNumber(b, 2, next, 20_000);
    assert.equal((await run.exit()).code, 0);
    assert.ok(performance.now() - begin < 10_000, `${performance.now() - begin} ms`);
    assert.equal((await b.record())?.pid, next.pid, 'with the lease of the last start');
    const end = await b.run(['reset', '--no-start']);
    assert.equal(end.code, 0, end.stderr);
    assert.equal((await b.record())?.holder, '');
    assertNeverTwo(b);
  });
});
