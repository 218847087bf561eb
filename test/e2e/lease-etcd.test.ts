// What etcd alone gets wrong, and what is said then.
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it, type TestContext } from 'node:test';
import { etcdCall, fileEngine, openEngine } from '../support/engines.ts';
import { openFakeKubernetes } from '../support/fake-kubernetes.ts';
import {
  AMPLE_MS,
  fails,
  failsWhole,
  faultOf,
  newBot,
  record,
  storeOf,
  wakes,
  watching,
  write,
} from '../support/lease-bench.ts';
import { freePort } from '../support/strays.ts';

const base64 = (text: string): string => Buffer.from(text).toString('base64');

const engine = await fileEngine('etcd');
const guarded = await fileEngine('etcd');

describe('lease in etcd, its own ways', () => {
  it('keeps its records below the prefix of the URL', async (t) => {
    await write(await storeOf(t, `${engine.url()}/teams/bots`, 11));
    assert.equal(await engine.peek(11), null);
    const { count } = await etcdCall(engine.port, 'kv/range', { key: base64('teams/bots/singlepoll/11') });
    assert.equal(count, '1');
  });

  it('asks the next member after one that is not there, and watches there too', async (t) => {
    const dead = await freePort();
    const store = await storeOf(t, `etcd://127.0.0.1:${dead},127.0.0.1:${engine.port}`, newBot());
    await fails(store.cas(null, record(), AMPLE_MS), 'refused');
    await write(store);
    await wakes(await watching(t, store), () => write(store));
  });

  it('takes no revision of before a wipe for one after it, though they count alike', async (t) => {
    const fresh = await openEngine('etcd');
    t.after(() => fresh.close());
    const store = await storeOf(t, fresh.url(), 1);
    const old = await write(store, { holder: 'before' });
    await fresh.kill();
    rmSync(join(fresh.dir, 'data'), { recursive: true });
    await fresh.start();
    const current = await write(await storeOf(t, fresh.url(), 1), { holder: 'after' });
    assert.equal(current.rev.split(' ')[0], old.rev.split(' ')[0], 'the counter stands where it stood');
    await faultOf(store.read(AMPLE_MS));
    assert.deepEqual(await store.cas(old.rev, record(), AMPLE_MS), { ok: false, current });
  });

  it('says so where there is no etcd', async (t) => {
    const other = await openFakeKubernetes();
    t.after(() => other.close());
    const store = await storeOf(t, `etcd://127.0.0.1:${other.port}`, 1);
    await failsWhole(store, /HTTP 404; that is not an answer of etcd 3\.4 or later/);
  });

  describe('with users', () => {
    before(async () => {
      const steps: readonly [string, object][] = [
        ['user/add', { name: 'root', password: 'rootpassword' }],
        ['role/add', { name: 'root' }],
        ['user/grant', { user: 'root', role: 'root' }],
        ['user/add', { name: 'bob', password: 'bobs/pass' }],
        ['user/add', { name: 'eve', password: 'evespass' }],
        ['role/add', { name: 'bots' }],
        [
          'role/grant',
          {
            name: 'bots',
            perm: { permType: 'READWRITE', key: base64('singlepoll/'), range_end: base64('singlepoll0') },
          },
        ],
        ['user/grant', { user: 'bob', role: 'bots' }],
        ['enable', {}],
      ];
      for (const [path, body] of steps) await etcdCall(guarded.port, `auth/${path}`, body);
    });
    const open = (t: TestContext, login: string) => storeOf(t, `etcd://${login}127.0.0.1:${guarded.port}`, 1);

    for (const login of ['', 'bob:hunter2hunter@'])
      it(`asks ${login === '' ? 'for credentials' : 'for the right ones, and never shows them'}`, async (t) =>
        failsWhole(await open(t, login), /etcd:\/\/user:password@host/));

    it('names the right that a user lacks', async (t) =>
      failsWhole(
        await open(t, 'eve:evespass@'),
        /permission denied.*etcdctl role grant-permission ROLE readwrite singlepoll\/1/,
      ));

    it('signs in again when its token is no longer known', async (t) => {
      const store = await open(t, 'bob:bobs%2Fpass@');
      await write(store);
      await wakes(await watching(t, store), () => write(store));
      const seen = await store.read(AMPLE_MS);
      // Its tokens are kept in memory.
      await guarded.kill();
      await guarded.start();
      await faultOf(store.read(AMPLE_MS));
      assert.deepEqual(await store.read(AMPLE_MS), seen);
      assert.ok((await store.cas(seen!.rev, record({ seq: 9 }), AMPLE_MS)).ok);
    });
  });
});
