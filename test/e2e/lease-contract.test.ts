// What every engine of a lease must do, the same tests for each: compare-and-set and nothing else decides, a time limit is one,
// a fault is `refused` only for what surely did not happen, a watch tells of changes, nothing is left behind.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { openStore } from '../../src/lease/glance.ts';
import { ENGINES, type Engine, openEngine } from '../support/engines.ts';
import {
  AMPLE_MS,
  type Fault,
  fails,
  faultOf,
  newBot,
  record,
  storeOf,
  wakes,
  watching,
  write,
} from '../support/lease-bench.ts';
import { type BrokenLine, openProxy } from '../support/proxy.ts';
import { until, within } from '../support/wait.ts';

const LIMIT_MS = 250;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

for (const name of ENGINES) {
  describe(`lease in ${name}`, () => {
    let engine: Engine;
    let proxy: BrokenLine;
    before(async () => {
      engine = await openEngine(name);
      proxy = await openProxy(engine.port);
    });
    after(async () => {
      await proxy?.close();
      await engine?.close();
    });
    const gone = () => until('its connections to be gone', () => proxy.connections() === 0);

    it('has no record at first, then the one that was written, with every letter of it', async (t) => {
      const botId = newBot();
      const store = await storeOf(t, engine.url(), botId);
      assert.equal(store.kind, name);
      assert.equal(await store.read(AMPLE_MS), null);
      const rec = record({
        ...{ pid: 17, since: '2026-01-02T03:04:05.000Z', lock: 'a'.repeat(128), epoch: 2 ** 52 },
        ...{ holder: '😀', host: 'long-name.'.repeat(25), wants: 'größe — 机器 🐙 \'"\\ $1 <&> \u2028 ' },
      });
      const done = await store.cas(null, rec, AMPLE_MS);
      assert.ok(done.ok);
      assert.deepEqual(await store.read(AMPLE_MS), { rev: done.rev, rec });
      const again = await store.cas(done.rev, { ...rec, seq: 2 }, AMPLE_MS);
      assert.ok(again.ok && again.rev !== done.rev);
      assert.equal(
        await (await storeOf(t, engine.url(), newBot())).read(AMPLE_MS),
        null,
        'bots are kept apart',
      );
    });

    it('turns down a write to what has changed, and shows what stands there', async (t) => {
      const store = await storeOf(t, engine.url(), newBot());
      const first = await write(store);
      const current = await write(store, { holder: 'second' });
      for (const prev of [first.rev, null])
        assert.deepEqual(await store.cas(prev, record(), AMPLE_MS), { ok: false, current });
      assert.deepEqual(await store.read(AMPLE_MS), current);
    });

    it('lets one of ten create it, and loses none of two hundred attempts of ten writers', async (t) => {
      const botId = newBot();
      const stores = await Promise.all(Array.from({ length: 10 }, () => storeOf(t, engine.url(), botId)));
      const first = await Promise.all(
        stores.map((store, i) => store.cas(null, record({ holder: `writer ${i}`, seq: 0 }), AMPLE_MS)),
      );
      assert.equal(first.filter(({ ok }) => ok).length, 1);
      let applied = 0;
      await Promise.all(
        stores.map(async (store, i) => {
          let seen = (await store.read(AMPLE_MS))!;
          for (let attempt = 0; attempt < 20; attempt++) {
            const rec = record({ holder: `writer ${i}`, seq: seen.rec.seq + 1 });
            const done = await store.cas(seen.rev, rec, AMPLE_MS);
            if (done.ok) applied += 1;
            else assert.ok(done.current && done.current.rec.seq >= rec.seq, 'a conflict shows what is newer');
            seen = done.ok ? { rev: done.rev, rec } : done.current!;
            assert.ok((await store.read(AMPLE_MS))!.rec.seq >= seen.rec.seq, 'the record only moves on');
          }
        }),
      );
      assert.equal((await stores[0]!.read(AMPLE_MS))?.rec.seq, applied);
    });

    it('shows a vanished record as absent, and takes no old revision for a new record', async (t) => {
      const botId = newBot();
      const store = await storeOf(t, engine.url(), botId);
      const old = await write(store);
      await engine.wipe(botId);
      assert.equal(await store.read(AMPLE_MS), null);
      assert.deepEqual(await store.cas(old.rev, record({ seq: 2 }), AMPLE_MS), { ok: false, current: null });
      assert.equal(await engine.peek(botId), null);
      const current = await write(store, { seq: 1 });
      assert.deepEqual(await store.cas(old.rev, record({ seq: 3 }), AMPLE_MS), { ok: false, current });
    });

    it('takes a record that went back in time for what it is', async (t) => {
      const botId = newBot();
      const store = await storeOf(t, engine.url(), botId);
      const old = await write(store, { holder: 'old' });
      const text = await engine.peek(botId);
      const lost = await write(store, { holder: 'lost' });
      await engine.put(botId, text!);
      const current = (await store.read(AMPLE_MS))!;
      assert.deepEqual(current.rec, old.rec);
      assert.deepEqual(await store.cas(lost.rev, record(), AMPLE_MS), { ok: false, current });
      assert.ok((await store.cas(current.rev, record({ seq: 9 }), AMPLE_MS)).ok);
    });

    it('says what stands in its place, and leaves it alone', async (t) => {
      const botId = newBot();
      const store = await storeOf(t, engine.url(), botId);
      await write(store);
      await engine.put(botId, 'a note of somebody else');
      for (const call of [() => store.read(AMPLE_MS), () => store.cas(null, record(), AMPLE_MS)])
        await fails(call(), 'config', /a note of somebody else.*remove it/);
      assert.equal(await engine.peek(botId), 'a note of somebody else');
    });

    it('keeps to its limit where everything stands still, and lets the connection go', async (t) => {
      const store = await storeOf(t, engine.url(proxy.port), newBot());
      const { rev } = await write(store);
      proxy.freeze('both');
      t.after(() => proxy.thaw());
      assert.match((await faultOf(store.read(LIMIT_MS))).message, /no answer within 250 ms/);
      await gone();
      // Now it cannot even connect, or only to what never answers.
      const { fault } = await faultOf(store.cas(rev, record({ seq: 2 }), LIMIT_MS));
      assert.ok(fault === 'refused' || fault === 'unclear');
      await gone();
      proxy.thaw();
      assert.ok(await store.read(AMPLE_MS), 'and goes on afterwards');
    });

    it('keeps nothing of a call that is over, as a connection may live for months', async (t) => {
      const store = await storeOf(t, engine.url(), newBot());
      const kept = async (calls: number) => {
        while (calls-- > 0) await store.read(AMPLE_MS);
        collectGarbage();
        return process.memoryUsage().heapUsed;
      };
      // Once what is made at first has been made, no round takes more.
      const rounds: number[] = [await kept(500)];
      const bytes = () => (rounds.at(-1)! - rounds.at(-2)!) / 500;
      do rounds.push(await kept(500));
      while (bytes() > 150 && rounds.length < 10);
      assert.ok(bytes() <= 150, `bytes: ${rounds}`);
    });

    // [what happens, what the call says, whether the write lands]
    const broken: readonly [string, 'down' | 'up', Fault, boolean][] = [
      ['whose answer never comes', 'down', 'unclear', true],
      ['that stands still on its way', 'up', 'unclear', false],
    ];
    for (const [what, way, fault, lands] of broken)
      it(`does not know of a write ${what}`, async (t) => {
        const botId = newBot();
        const store = await storeOf(t, engine.url(proxy.port), botId);
        const aside = await storeOf(t, engine.url(), botId);
        const { rev, rec } = await write(store);
        proxy.freeze(way);
        t.after(() => proxy.thaw());
        await fails(store.cas(rev, record({ seq: 2, holder: 'late' }), LIMIT_MS), fault);
        const stands = async () => (await aside.read(AMPLE_MS))?.rec.holder;
        if (lands) await until('it to be written', async () => (await stands()) === 'late');
        else assert.equal(await stands(), rec.holder);
        proxy.thaw();
        // It may land now, or be dropped with its connection. Either way the next write sees which.
        await until('a write to be taken', async () => {
          const now = await store.read(AMPLE_MS);
          return (await store.cas(now!.rev, record({ seq: 3, holder: 'next' }), AMPLE_MS)).ok;
        });
      });

    it('does not know of a write under way when the connection is cut', async (t) => {
      const store = await storeOf(t, engine.url(proxy.port), newBot());
      const { rev } = await write(store);
      proxy.freeze('down');
      t.after(() => proxy.thaw());
      const sentBefore = proxy.bytes().up;
      const call = fails(
        store.cas(rev, record({ seq: 2 }), 60_000),
        'unclear',
        /cut|closed|terminated|reset/i,
      );
      await until('the write to be on its way', () => proxy.bytes().up > sentBefore);
      proxy.cut();
      await within('the call to end', call, AMPLE_MS);
      proxy.thaw();
      await until('the write to be there', async () => (await store.read(AMPLE_MS))?.rec.seq === 2);
    });

    it('knows that nothing was written where nobody listens', async (t) => {
      const store = await storeOf(t, engine.url(proxy.port), newBot());
      await proxy.refuse();
      t.after(() => proxy.accept());
      await fails(store.cas(null, record(), AMPLE_MS), 'refused', /connection refused/);
    });

    it('leaves no connection and nothing waiting behind when it is closed', async (t) => {
      const store = await openStore(engine.url(proxy.port), newBot());
      await (await openStore(engine.url(proxy.port), newBot())).close();
      await write(store);
      await watching(t, store);
      proxy.freeze('down');
      t.after(() => proxy.thaw());
      const call = faultOf(store.read(60_000));
      await store.close();
      assert.notEqual((await within('the call to end', call, AMPLE_MS)).fault, null);
      proxy.thaw();
      await gone();
      await fails(store.cas(null, record(), AMPLE_MS), 'refused');
      await store.close();
      assert.equal(proxy.connections(), 0);
    });

    it('tells of the first record, of each change, and of nothing else', async (t) => {
      const botId = newBot();
      const store = await storeOf(t, engine.url(proxy.port), botId);
      const writer = await storeOf(t, engine.url(), botId);
      const stranger = await storeOf(t, engine.url(), newBot());
      assert.equal(await store.read(AMPLE_MS), null);
      const told = await watching(t, store);
      for (let round = 0; round < 5; round++) await wakes(told, () => write(writer));
      const { changed } = told;
      await write(stranger);
      await writer.read(AMPLE_MS);
      assert.equal(told.changed, changed);
      // Nothing publishes what an operator does in Redis and PostgreSQL.
      if (name === 'etcd' || name === 'kubernetes') await wakes(told, () => engine.wipe(botId));
    });

    it('watches again after a cut and where it was turned away meanwhile', async (t) => {
      const botId = newBot();
      const store = await storeOf(t, engine.url(proxy.port), botId);
      const told = await watching(t, store);
      const { changed } = told;
      proxy.turnAway();
      t.after(() => proxy.accept());
      proxy.cut();
      await proxy.accept();
      await until('the next watch', () => told.changed > changed);
      await wakes(told, async () => write(await storeOf(t, engine.url(), botId)));
    });
  });
}
