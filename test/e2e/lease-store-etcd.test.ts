// What etcd alone gets wrong, and what is said then.
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { type Engine, etcdCall, openEngine } from '../support/engines.ts';
import { openFakeKubernetes } from '../support/fake-kubernetes.ts';
import { AMPLE_MS, newBot, outcome, quiet, record, storeOf, waited, write } from '../support/lease-bench.ts';
import { freePort } from '../support/strays.ts';

const base64 = (text: string): string => Buffer.from(text).toString('base64');

describe('lease in etcd, its own ways', () => {
  let engine: Engine;
  before(async () => {
    engine = await openEngine('etcd');
  });
  after(() => engine?.close());

  it('keeps its records below the prefix of the URL', async (t) => {
    const store = await storeOf(t, `${engine.url()}/teams/bots`, 11);
    await write(store);
    assert.equal(await engine.peek(11), null);
    const { count } = await etcdCall(engine.port, 'kv/range', { key: base64('teams/bots/singlepoll/11') });
    assert.equal(count, '1');
  });

  it('asks the next member after one that is not there', async (t) => {
    const dead = await freePort();
    const store = await storeOf(t, `etcd://127.0.0.1:${dead},127.0.0.1:${engine.port}`, newBot());
    const first = await outcome(store.cas(null, record(), AMPLE_MS));
    assert.deepEqual([first.kind, (first as { maybeApplied: boolean }).maybeApplied], ['io', false]);
    const seen = await write(store);
    await quiet(store);
    const wait = waited(store, seen.rev, AMPLE_MS);
    await write(store);
    assert.ok((await wait) < 1_000, 'its watch has moved too');
  });

  it('wakes where the history it would watch from is forgotten', async (t) => {
    const botId = newBot();
    const store = await storeOf(t, engine.url(), botId);
    const old = await write(store);
    const now = await write(store);
    const revision = now.rev.split(' ')[0];
    await etcdCall(engine.port, 'kv/compaction', { revision, physical: true });
    assert.ok((await waited(store, old.rev, AMPLE_MS)) < 1_000);
    assert.deepEqual(await store.read(AMPLE_MS), now);
    await quiet(store);
  });

  it('watches a store whose revisions began anew', async (t) => {
    const store = await storeOf(t, engine.url(), newBot());
    const seen = await write(store);
    const future = `999999${seen.rev}`;
    // As after a wipe: the reader's revision is far beyond the store's.
    await waited(store, future, 200);
    assert.ok((await waited(store, future, 200)) > 190);
    let last = seen;
    let ms = 1_000;
    for (let round = 0; round < 8 && ms > 350; round++) {
      const wait = waited(store, last.rev, 400);
      last = await write(store);
      ms = await wait;
    }
    assert.ok(ms <= 350, 'it has noticed');
  });

  it('takes no revision of before a wipe for one after it, though they count alike', async (t) => {
    const fresh = await openEngine('etcd');
    t.after(() => fresh.close());
    const store = await storeOf(t, fresh.url(), 1);
    const old = await write(store, { holder: 'before' });
    await fresh.kill();
    rmSync(join(fresh.dir, 'data'), { recursive: true });
    await fresh.start();
    const other = await storeOf(t, fresh.url(), 1);
    const now = await write(other, { holder: 'after' });
    assert.equal(now.rev.split(' ')[0], old.rev.split(' ')[0], 'the counter stands where it stood');
    await outcome(store.read(AMPLE_MS));
    assert.deepEqual(await store.cas(old.rev, record(), AMPLE_MS), { ok: false, current: now });
  });

  it('says so where there is no etcd', async (t) => {
    const other = await openFakeKubernetes();
    t.after(() => other.close());
    const result = await outcome((await storeOf(t, `etcd://127.0.0.1:${other.port}`, 1)).read(AMPLE_MS));
    assert.equal(result.kind, 'config');
    assert.match((result as { message: string }).message, /HTTP 404, not an answer of etcd 3\.4 or later/);
  });

  describe('with users', () => {
    let guarded: Engine;
    before(async () => {
      guarded = await openEngine('etcd');
      const call = (path: string, body: object) => etcdCall(guarded.port, path, body);
      const end = base64('singlepoll0');
      await call('auth/user/add', { name: 'root', password: 'rootpassword' });
      await call('auth/role/add', { name: 'root' });
      await call('auth/user/grant', { user: 'root', role: 'root' });
      await call('auth/user/add', { name: 'bob', password: 'bobs/pass' });
      await call('auth/user/add', { name: 'eve', password: 'evespass' });
      await call('auth/role/add', { name: 'bots' });
      await call('auth/role/grant', {
        name: 'bots',
        perm: { permType: 'READWRITE', key: base64('singlepoll/'), range_end: end },
      });
      await call('auth/user/grant', { user: 'bob', role: 'bots' });
      await call('auth/enable', {});
    });
    after(() => guarded?.close());

    const open = (t: TestContext, login: string) => storeOf(t, `etcd://${login}127.0.0.1:${guarded.port}`, 1);

    it('asks for the right credentials, and never shows them', async (t) => {
      for (const login of ['', 'bob:wr0ngpassword@']) {
        const store = await open(t, login);
        for (const call of [() => store.read(AMPLE_MS), () => store.cas(null, record(), AMPLE_MS)]) {
          const result = await outcome(call());
          assert.equal(result.kind, 'config', JSON.stringify(result));
          assert.match((result as { message: string }).message, /etcd:\/\/user:password@host/);
          assert.doesNotMatch((result as { message: string }).message, /wr0ng/);
        }
        assert.ok((await waited(store, null, 150)) > 140);
      }
    });

    it('names the right that a user lacks', async (t) => {
      const result = await outcome((await open(t, 'eve:evespass@')).read(AMPLE_MS));
      assert.equal(result.kind, 'config');
      assert.match(
        (result as { message: string }).message,
        /permission denied.*etcdctl role grant-permission ROLE readwrite singlepoll\/1/,
      );
    });

    it('signs in again when its token is no longer known', async (t) => {
      const store = await open(t, 'bob:bobs%2Fpass@');
      const seen = await write(store);
      await quiet(store);
      const wait = waited(store, seen.rev, AMPLE_MS);
      const next = await write(store);
      assert.ok((await wait) < 1_000);
      // Its tokens are kept in memory.
      await guarded.kill();
      await guarded.start();
      await outcome(store.read(AMPLE_MS));
      assert.deepEqual(await store.read(AMPLE_MS), next);
      assert.ok((await store.cas(next.rev, record({ seq: 9 }), AMPLE_MS)).ok);
    });
  });
});
