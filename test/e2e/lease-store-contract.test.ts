// What every engine of a lease must do, the same tests for each: compare-and-set and nothing else decides, a time limit is one,
// `maybeApplied` is false only for what surely did not happen, waits end in time, nothing is left behind.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { records } from '../../src/lease/memory.ts';
import { openStore } from '../../src/lease/open.ts';
import { ENGINES, type Engine, type EngineName, openEngine } from '../support/engines.ts';
import { AMPLE_MS, newBot, outcome, quiet, record, storeOf, waited, write } from '../support/lease-bench.ts';
import { type BrokenLine, openProxy } from '../support/proxy.ts';
import { until, within } from '../support/wait.ts';

const LIMIT_MS = 250;
/** Above a limit: what a busy machine may add. Less than what a lease allows for late timers (lease/timing.ts, slackMs). */
const LATE_MS = 400;

/** The engine in memory has no process and no network. */
type Place = Pick<Engine, 'url' | 'peek' | 'put' | 'wipe'>;
const inMemory: Place = {
  url: () => 'memory:contract',
  peek: async (botId) => records.get(`contract/singlepoll/${botId}`) ?? null,
  put: async (botId, text) => void records.set(`contract/singlepoll/${botId}`, text),
  wipe: async (botId) => void records.delete(`contract/singlepoll/${botId}`),
};

describe('lease in memory', () => {
  describe('the record', () => testRecord('memory', () => inMemory));
});

for (const name of ENGINES) {
  describe(`lease in ${name}`, () => {
    let engine: Engine;
    before(async () => {
      engine = await openEngine(name);
    });
    after(() => engine?.close());

    describe('the record', () => testRecord(name, () => engine));
    describe('behind a proxy', () => testNetwork(name, () => engine));
    describe('itself in trouble', () => testTrouble(name, () => engine));
  });
}

function testRecord(name: string, place: () => Place): void {
  it('has no record at first, and then the one that was written', async (t) => {
    const store = await storeOf(t, place().url(), newBot());
    assert.equal(store.kind, name);
    assert.equal(await store.read(AMPLE_MS), null);
    const rec = record({
      pid: 17,
      since: '2026-01-02T03:04:05.000Z',
      lock: 'a'.repeat(64),
      wants: 'somebody',
    });
    const done = await store.cas(null, rec, AMPLE_MS);
    assert.ok(done.ok);
    assert.deepEqual(await store.read(AMPLE_MS), { rev: done.rev, rec });
    const next = { ...rec, seq: 2 };
    const again = await store.cas(done.rev, next, AMPLE_MS);
    assert.ok(again.ok);
    assert.notEqual(again.rev, done.rev);
    assert.deepEqual(await store.read(AMPLE_MS), { rev: again.rev, rec: next });
  });

  it('keeps bots apart', async (t) => {
    const one = await storeOf(t, place().url(), newBot());
    const other = await storeOf(t, place().url(), newBot());
    await write(one);
    assert.equal(await other.read(AMPLE_MS), null);
  });

  it('turns down a write to what has changed, and shows what stands there', async (t) => {
    const store = await storeOf(t, place().url(), newBot());
    const first = await write(store);
    const second = await write(store, { holder: 'second' });
    assert.deepEqual(await store.cas(first.rev, record(), AMPLE_MS), { ok: false, current: second });
    assert.deepEqual(await store.cas(null, record(), AMPLE_MS), { ok: false, current: second });
    assert.deepEqual(await store.read(AMPLE_MS), second);
  });

  it('lets one of ten create it', async (t) => {
    const botId = newBot();
    const stores = await Promise.all(Array.from({ length: 10 }, () => storeOf(t, place().url(), botId)));
    const results = await Promise.all(
      stores.map((store, i) => store.cas(null, record({ holder: `number ${i}` }), AMPLE_MS)),
    );
    const winners = results.flatMap((result, i) => (result.ok ? [{ i, rev: result.rev }] : []));
    assert.equal(winners.length, 1);
    const { i, rev } = winners[0]!;
    for (const result of results)
      if (!result.ok)
        assert.deepEqual([result.current?.rev, result.current?.rec.holder], [rev, `number ${i}`]);
  });

  it('loses none of a thousand attempts of ten writers', async (t) => {
    const botId = newBot();
    const stores = await Promise.all(Array.from({ length: 10 }, () => storeOf(t, place().url(), botId)));
    await write(stores[0]!, { seq: 0 });
    let applied = 0;
    const seqs = new Set<number>();
    await Promise.all(
      stores.map(async (store, i) => {
        let seen = (await store.read(AMPLE_MS))!;
        for (let attempt = 0; attempt < 100; attempt++) {
          const rec = record({ holder: `writer ${i}`, seq: seen.rec.seq + 1 });
          const done = await store.cas(seen.rev, rec, AMPLE_MS);
          if (done.ok) {
            applied++;
            assert.ok(!seqs.has(rec.seq), `${rec.seq} was written twice`);
            seqs.add(rec.seq);
            seen = { rev: done.rev, rec };
          } else {
            assert.ok(done.current);
            assert.ok(done.current.rec.seq >= rec.seq, 'a conflict shows what is newer');
            seen = done.current;
          }
        }
      }),
    );
    const last = await stores[0]!.read(AMPLE_MS);
    assert.equal(last?.rec.seq, applied);
    assert.ok(applied >= 100, `${applied} applied`);
  });

  it('shows a vanished record as absent, and takes no old revision for the new record', async (t) => {
    const botId = newBot();
    const store = await storeOf(t, place().url(), botId);
    const old = await write(store);
    await place().wipe(botId);
    assert.equal(await store.read(AMPLE_MS), null);
    assert.deepEqual(await store.cas(old.rev, record({ seq: 2 }), AMPLE_MS), { ok: false, current: null });
    assert.equal(await place().peek(botId), null, 'a write after a record that is gone makes none');
    const fresh = await write(store, { seq: 1 });
    const result = await store.cas(old.rev, record({ seq: 3 }), AMPLE_MS);
    assert.deepEqual(result, { ok: false, current: fresh });
  });

  it('takes a record that went back in time for what it is', async (t) => {
    const botId = newBot();
    const store = await storeOf(t, place().url(), botId);
    const old = await write(store, { holder: 'old' });
    const text = await place().peek(botId);
    const lost = await write(store, { holder: 'lost' });
    await place().put(botId, text!);
    const back = await store.read(AMPLE_MS);
    assert.deepEqual(back?.rec, old.rec);
    assert.notEqual(back?.rev, lost.rev);
    assert.deepEqual(await store.cas(lost.rev, record(), AMPLE_MS), { ok: false, current: back });
    assert.ok((await store.cas(back!.rev, record({ seq: 9 }), AMPLE_MS)).ok);
  });

  it('keeps long names and every letter', async (t) => {
    const store = await storeOf(t, place().url(), newBot());
    const seen = await write(store, {
      host: 'long-name.'.repeat(25),
      holder: '😀',
      wants: 'größe — 机器 🐙 \'"\\ $1 <&> \u2028 '.repeat(4).slice(0, 120),
      lock: 'b'.repeat(128),
      epoch: 2 ** 52,
    });
    assert.deepEqual(await store.read(AMPLE_MS), seen);
    assert.ok((await store.cas(seen.rev, { ...seen.rec, seq: 2 }, AMPLE_MS)).ok, 'and compares them');
  });

  it('says what stands in its place, and leaves it alone', async (t) => {
    const botId = newBot();
    const store = await storeOf(t, place().url(), botId);
    await write(store);
    await place().put(botId, 'a note of somebody else');
    for (const call of [() => store.read(AMPLE_MS), () => store.cas(null, record(), AMPLE_MS)]) {
      const result = await outcome(call());
      assert.equal(result.kind, 'config');
      assert.match((result as { message: string }).message, /a note of somebody else.*remove it/);
    }
    assert.equal(await place().peek(botId), 'a note of somebody else');
  });

  it('shows many readers at once a record that only moves on', async (t) => {
    const botId = newBot();
    const writer = await storeOf(t, place().url(), botId);
    const readers = await Promise.all(Array.from({ length: 5 }, () => storeOf(t, place().url(), botId)));
    let seen = await write(writer);
    let over = false;
    const reading = readers.map(async (reader) => {
      let last = 0;
      while (!over) {
        const together = await Promise.all([1, 2, 3].map(() => reader.read(AMPLE_MS)));
        for (const one of together) assert.ok(one!.rec.seq >= last, `${one!.rec.seq} after ${last}`);
        last = Math.max(...together.map((one) => one!.rec.seq));
      }
    });
    for (let seq = 2; seq <= 40; seq++) {
      const done = await writer.cas(seen.rev, record({ seq }), AMPLE_MS);
      assert.ok(done.ok);
      seen = { rev: done.rev, rec: record({ seq }) };
      const [first] = await Promise.all(readers.map((reader) => reader.read(AMPLE_MS)));
      assert.ok(first!.rec.seq >= seq, 'what was acknowledged is there for all');
    }
    over = true;
    await Promise.all(reading);
  });
}

function testNetwork(name: EngineName, place: () => Engine): void {
  let proxy: BrokenLine;
  before(async () => {
    proxy = await openProxy(place().port);
  });
  after(() => proxy?.close());

  const inTime = (result: { ms: number }): void =>
    assert.ok(result.ms < LIMIT_MS + LATE_MS, `took ${Math.round(result.ms)} ms`);

  it('keeps to its limit where everything stands still, and lets the connection go', async (t) => {
    const store = await storeOf(t, place().url(proxy.port), newBot());
    const seen = await write(store);
    proxy.freeze('both');
    t.after(() => proxy.thaw());
    const read = await outcome(store.read(LIMIT_MS));
    assert.equal(read.kind, 'io');
    assert.match((read as { message: string }).message, /no answer within 250 ms/);
    inTime(read);
    await until('its connection to be gone', () => proxy.connections() === 0);
    // Now it cannot even connect, or only to what never answers.
    const cas = await outcome(store.cas(seen.rev, record({ seq: 2 }), LIMIT_MS));
    assert.equal(cas.kind, 'io');
    inTime(cas);
    await until('its connection to be gone', () => proxy.connections() === 0);
    proxy.thaw();
    assert.ok(await store.read(AMPLE_MS), 'and goes on afterwards');
  });

  it('does not know of a write whose answer never came, which was applied', async (t) => {
    const botId = newBot();
    const store = await storeOf(t, place().url(proxy.port), botId);
    const aside = await storeOf(t, place().url(), botId);
    const seen = await write(store);
    proxy.freeze('down');
    t.after(() => proxy.thaw());
    const result = await outcome(store.cas(seen.rev, record({ seq: 2, holder: 'landed' }), LIMIT_MS));
    assert.deepEqual([result.kind, (result as { maybeApplied: boolean }).maybeApplied], ['io', true]);
    inTime(result);
    assert.equal((await aside.read(AMPLE_MS))?.rec.holder, 'landed');
    proxy.thaw();
    const now = await store.read(AMPLE_MS);
    assert.equal(now?.rec.holder, 'landed');
    assert.ok((await store.cas(now.rev, record({ seq: 3 }), AMPLE_MS)).ok);
  });

  it('does not know of a write that stands still on its way, which may land late', async (t) => {
    const botId = newBot();
    const store = await storeOf(t, place().url(proxy.port), botId);
    const aside = await storeOf(t, place().url(), botId);
    const seen = await write(store);
    proxy.freeze('up');
    t.after(() => proxy.thaw());
    const result = await outcome(store.cas(seen.rev, record({ seq: 2, holder: 'late' }), LIMIT_MS));
    assert.deepEqual([result.kind, (result as { maybeApplied: boolean }).maybeApplied], ['io', true]);
    inTime(result);
    assert.equal((await aside.read(AMPLE_MS))?.rec.holder, seen.rec.holder);
    proxy.thaw();
    // The request arrives together with the news that its sender has gone, and some servers then drop it.
    const now = await store.read(AMPLE_MS);
    const done = await store.cas(now!.rev, record({ seq: 3, holder: 'next' }), AMPLE_MS);
    const last = await aside.read(AMPLE_MS);
    assert.equal(last?.rec.holder, done.ok ? 'next' : 'late');
  });

  it('does not know of a write under way when the connection is cut', async (t) => {
    const store = await storeOf(t, place().url(proxy.port), newBot());
    const seen = await write(store);
    proxy.freeze('down');
    t.after(() => proxy.thaw());
    const sentBefore = proxy.bytes().up;
    const call = outcome(store.cas(seen.rev, record({ seq: 2 }), AMPLE_MS));
    await until('the write to be on its way', () => proxy.bytes().up > sentBefore);
    proxy.cut();
    const result = await call;
    assert.deepEqual([result.kind, (result as { maybeApplied: boolean }).maybeApplied], ['io', true]);
    assert.match((result as { message: string }).message, /cut|closed|terminated|reset/i);
    assert.ok(result.ms < 1_000, `told after ${Math.round(result.ms)} ms`);
    proxy.thaw();
    assert.equal((await store.read(AMPLE_MS))?.rec.seq, 2, 'it had landed');
  });

  it('makes a new connection after an idle one was cut', async (t) => {
    const store = await storeOf(t, place().url(proxy.port), newBot());
    await write(store);
    proxy.cut();
    await until('the cut to be done', () => proxy.connections() === 0);
    const first = await outcome(store.read(AMPLE_MS));
    if (first.kind !== 'done') assert.ok(await store.read(AMPLE_MS));
  });

  it('knows that nothing was written where nobody listens', async (t) => {
    const store = await storeOf(t, place().url(proxy.port), newBot());
    await proxy.refuse();
    t.after(() => proxy.accept());
    const result = await outcome(store.cas(null, record(), AMPLE_MS));
    assert.deepEqual([result.kind, (result as { maybeApplied: boolean }).maybeApplied], ['io', false]);
    assert.match((result as { message: string }).message, /connection refused/);
    assert.ok(result.ms < 1_000, 'and at once');
  });

  it('leaves no connection and nothing waiting behind when it is closed', async () => {
    const store = await openStore(place().url(proxy.port), newBot());
    const idle = await openStore(place().url(proxy.port), newBot());
    await idle.close();
    await write(store);
    const controller = new AbortController();
    const listeners = process.listenerCount('exit');
    await quiet(store);
    const wait = store.changed('x', 60_000, controller.signal);
    proxy.freeze('down');
    const call = outcome(store.read(60_000));
    await store.close();
    assert.equal((await within('the call to end', call, 1_000)).kind, 'io');
    await within('the wait to end', wait, 1_000);
    proxy.thaw();
    await until('its connections to be gone', () => proxy.connections() === 0);
    assert.equal(process.listenerCount('exit'), listeners);
    const later = await outcome(store.cas(null, record(), AMPLE_MS));
    assert.deepEqual([later.kind, (later as { maybeApplied: boolean }).maybeApplied], ['io', false]);
    await store.close();
    assert.equal(proxy.connections(), 0);
  });

  it('wakes within 100 ms of a change, and only then', async (t) => {
    const botId = newBot();
    const waiting = await storeOf(t, place().url(proxy.port), botId);
    const writer = await storeOf(t, place().url(), botId);
    await write(writer);
    await quiet(waiting);
    const delays: number[] = [];
    for (let round = 0; round < 10; round++) {
      const seen = await waiting.read(AMPLE_MS);
      let woken = 0;
      const wait = waiting.changed(seen!.rev, AMPLE_MS, new AbortController().signal).then(() => {
        woken = performance.now();
      });
      await write(writer, { holder: `round ${round}`, seq: round + 10 });
      const written = performance.now();
      await wait;
      delays.push(woken - written);
    }
    delays.sort((a, b) => a - b);
    assert.ok(delays[7]! < 100, `most wake-ups: ${delays.map(Math.round).join(', ')} ms`);
    assert.ok(delays[9]! < 1_000, `all wake-ups: ${delays.map(Math.round).join(', ')} ms`);
    await quiet(waiting);
  });

  it('wakes for the first record, for one that vanishes, and for a change before the wait began', async (t) => {
    const botId = newBot();
    const waiting = await storeOf(t, place().url(proxy.port), botId);
    const writer = await storeOf(t, place().url(), botId);
    assert.equal(await waiting.read(AMPLE_MS), null);
    const early = waited(waiting, null, AMPLE_MS);
    const seen = await write(writer);
    assert.ok((await early) < 2_000);
    await quiet(waiting);
    await write(writer, { seq: 2 });
    assert.ok((await waited(waiting, seen.rev, AMPLE_MS)) < 1_000, 'it had changed before');
    if (name === 'redis' || name === 'postgres') return; // Nothing publishes what an operator does.
    await quiet(waiting);
    const now = await waiting.read(AMPLE_MS);
    const wait = waited(waiting, now!.rev, AMPLE_MS);
    await place().wipe(botId);
    assert.ok((await wait) < 1_000);
  });

  it('stops waiting when it is told to', async (t) => {
    const store = await storeOf(t, place().url(proxy.port), newBot());
    const controller = new AbortController();
    const wait = waited(store, 'nothing', 60_000, controller.signal);
    controller.abort();
    assert.ok((await within('the wait to end', wait, 1_000)) < 1_000);
    assert.ok((await waited(store, 'nothing', 60_000, controller.signal)) < 50);
  });

  it('waits its time where nobody answers, without hammering at the door', async (t) => {
    const store = await storeOf(t, place().url(proxy.port), newBot());
    await quiet(store);
    proxy.turnAway();
    t.after(() => proxy.accept());
    proxy.cut();
    const tried = proxy.accepted();
    for (let i = 0; i < 6; i++) {
      const ms = await waited(store, 'r', 200);
      assert.ok(ms > 190 && ms < 200 + LATE_MS, `waited ${Math.round(ms)} ms`);
    }
    assert.ok(proxy.accepted() - tried <= 2, `${proxy.accepted() - tried} tries in 1.2 s`);
  });

  it('has its watch again after the network came back', async (t) => {
    const botId = newBot();
    const waiting = await storeOf(t, place().url(proxy.port), botId);
    const writer = await storeOf(t, place().url(), botId);
    await write(writer);
    await quiet(waiting);
    proxy.cut();
    await until('the cut to be done', () => proxy.connections() === 0);
    await until(
      'a wake-up to come by the watch',
      async () => {
        await quiet(waiting).catch(() => {});
        const seen = await outcome(waiting.read(AMPLE_MS));
        if (seen.kind !== 'done') return false;
        const wait = waited(waiting, (seen.value as { rev: string }).rev, 1_500);
        await write(writer);
        return (await wait) < 1_000;
      },
      { ms: 15_000 },
    );
  });

  it('finds out that its watch has died unseen', async (t) => {
    const botId = newBot();
    const waiting = await storeOf(t, place().url(proxy.port), botId);
    const writer = await storeOf(t, place().url(), botId);
    await write(writer);
    await quiet(waiting);
    // As a firewall forgets a connection. The calls get new ones.
    proxy.strand();
    assert.equal((await outcome(waiting.read(LIMIT_MS))).kind, 'io');
    let rounds = 0;
    await until('a wake-up', async () => {
      rounds++;
      const seen = (await waiting.read(AMPLE_MS))!;
      const wait = waited(waiting, seen.rev, 400);
      await write(writer);
      return (await wait) < 350;
    });
    assert.ok(rounds <= 6, `after ${rounds} changes`);
    await quiet(waiting);
    const seen = (await waiting.read(AMPLE_MS))!;
    const wait = waited(waiting, seen.rev, AMPLE_MS);
    await write(writer);
    assert.ok((await wait) < 1_000);
  });
}

function testTrouble(name: EngineName, place: () => Engine): void {
  it('keeps to its limit while the engine stands still, and goes on with it', async (t) => {
    const store = await storeOf(t, place().url(), newBot());
    const seen = await write(store);
    await place().pause();
    let cas: Awaited<ReturnType<typeof outcome>>;
    try {
      cas = await outcome(store.cas(seen.rev, record({ seq: 2 }), LIMIT_MS));
      const read = await outcome(store.read(LIMIT_MS));
      assert.equal(read.kind, 'io');
      assert.ok(read.ms < LIMIT_MS + LATE_MS);
      const ms = await waited(store, seen.rev, 200);
      assert.ok(ms > 190 && ms < 200 + LATE_MS, `waited ${Math.round(ms)} ms`);
    } finally {
      place().resume();
    }
    assert.deepEqual([cas.kind, (cas as { maybeApplied: boolean }).maybeApplied], ['io', true]);
    assert.ok(cas.ms < LIMIT_MS + LATE_MS);
    // What was given up may still arrive, also between a look and the next write.
    await until('a write to be taken', async () => {
      const now = await store.read(AMPLE_MS);
      return (await store.cas(now!.rev, record({ seq: 3 }), AMPLE_MS)).ok;
    });
  });

  it('goes on with an engine that was killed and is back', async (t) => {
    const store = await storeOf(t, place().url(), newBot());
    const seen = await write(store);
    await place().kill();
    // The first may find the old connection, which it may believe in.
    await outcome(store.read(LIMIT_MS));
    const gone = await outcome(store.cas(seen.rev, record({ seq: 2 }), LIMIT_MS));
    assert.deepEqual([gone.kind, (gone as { maybeApplied: boolean }).maybeApplied], ['io', false]);
    await place().start();
    const now = await store.read(AMPLE_MS);
    if (name === 'kubernetes') return assert.equal(now, null, 'the stand-in forgets');
    assert.deepEqual(now, seen);
    assert.ok((await store.cas(seen.rev, record({ seq: 3 }), AMPLE_MS)).ok);
  });
}
