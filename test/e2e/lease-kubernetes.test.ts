// What the Kubernetes API alone does, and what is said then; against the stand-in, within this process.
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { openStore } from '../../src/lease/glance.ts';
import { makeCertificate } from '../support/certificate.ts';
import { kubernetesCall } from '../support/engines.ts';
import { type FakeKubernetes, openFakeKubernetes } from '../support/fake-kubernetes.ts';
import {
  AMPLE_MS,
  fails,
  failsWhole,
  record,
  storeOf,
  wakes,
  watch,
  watching,
  write,
} from '../support/lease-bench.ts';
import { newFolder } from '../support/place.ts';
import { until } from '../support/wait.ts';

const FOLDER = '/apis/coordination.k8s.io/v1/namespaces/bots/leases';

async function server(t: TestContext, tls?: { key: string; cert: string }): Promise<FakeKubernetes> {
  const fake = await openFakeKubernetes(tls ? { tls } : {});
  t.after(() => fake.close());
  return fake;
}

const url = (fake: FakeKubernetes, more = ''): string =>
  `k8s://bots/my-lease?server=http://127.0.0.1:${fake.port}${more}`;

describe('lease in kubernetes, its own ways', () => {
  it('writes a Lease that people can read', async (t) => {
    const fake = await server(t);
    const store = await storeOf(t, url(fake), 1);
    await write(store, { host: 'here', pid: 12, ttl: 15_500 });
    type Shown = { metadata: { uid: string }; spec: Record<string, unknown> };
    const get = async () =>
      (await kubernetesCall(fake.port, 'GET', `${FOLDER}/my-lease`)) as unknown as Shown;
    const { spec, metadata } = await get();
    assert.deepEqual([spec.holderIdentity, spec.leaseDurationSeconds], ['here:12', 16]);
    assert.match(String(spec.renewTime), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
    await write(store, { holder: '' });
    const freed = await get();
    assert.deepEqual([freed.spec.holderIdentity, freed.metadata.uid], ['', metadata.uid]);
  });

  it('reads the token again for each request', async (t) => {
    const fake = await server(t);
    const file = join(newFolder(t), 'token');
    const store = await storeOf(t, url(fake, `&token-file=${file}`), 1);
    for (const token of ['first', 'second', 'hunter2']) {
      writeFileSync(file, `${token}\n`);
      fake.control({ token });
      await write(store);
      assert.equal(fake.requests.at(-1)?.token, token);
    }
    fake.control({ token: 'fourth' });
    await failsWhole(store, /Unauthorized; the token in \S+token is not accepted/);
    writeFileSync(file, 'fourth');
    assert.ok(await store.read(AMPLE_MS));
    writeFileSync(file, '\n');
    await failsWhole(store, /token is empty/);
    rmSync(file);
    await failsWhole(store, /cannot be read \(ENOENT\)/);
  });

  it('names the rights that a role lacks; without the right to watch it works by polling', async (t) => {
    const fake = await server(t);
    const store = await storeOf(t, url(fake), 1);
    const other = await storeOf(t, url(fake).replace('my-lease', 'other'), 1);
    const seen = await write(store);
    for (const [verb, call] of [
      ['get', () => store.read(AMPLE_MS)],
      ['update', () => store.cas(seen.rev, record(), AMPLE_MS)],
      ['create', () => other.cas(null, record(), AMPLE_MS)],
    ] as const) {
      fake.control({ denied: [verb] });
      await fails(call(), 'config', /cannot .*let a Role grant it.*create.*get, update, watch/);
    }
    fake.control({ denied: ['watch'] });
    const told = watch(t, store);
    await until('the watch to be refused', () => fake.requests.some((it) => it.url.includes('watch=1')));
    assert.deepEqual([told.changed, await store.read(AMPLE_MS)], [0, seen]);
  });

  for (const [status, fault] of [
    [429, 'refused'],
    [410, 'refused'],
    [500, 'unclear'],
    [503, 'unclear'],
  ] as const)
    it(`a write that was answered ${status} is ${fault}`, async (t) => {
      const fake = await server(t);
      const store = await storeOf(t, url(fake), 1);
      const seen = await write(store);
      fake.control({ fail: status });
      await fails(store.cas(seen.rev, record(), AMPLE_MS), fault);
    });

  it('says so where the namespace is not there', async (t) => {
    const fake = await server(t);
    const store = await storeOf(t, `k8s://nowhere?server=http://127.0.0.1:${fake.port}`, 1);
    assert.equal(await store.read(AMPLE_MS), null);
    await fails(store.cas(null, record(), AMPLE_MS), 'config', /namespaces "nowhere" not found/);
  });

  it("leaves another program's Lease alone", async (t) => {
    const fake = await server(t);
    const body = { metadata: { name: 'my-lease' }, spec: { holderIdentity: 'controller-0' } };
    await kubernetesCall(fake.port, 'POST', FOLDER, body);
    await failsWhole(await storeOf(t, url(fake), 1), /controller-0/);
  });

  it('watches again where the server has ended its watch', async (t) => {
    const fake = await server(t);
    const store = await storeOf(t, url(fake), 1);
    const told = await watching(t, store);
    for (const how of [{ endWatches: true }, { expireWatches: true }]) {
      const { changed } = told;
      fake.control(how);
      await until('the next watch', () => told.changed > changed);
    }
    await wakes(told, () => write(store));
  });

  it('trusts the authority that it is given, and no other', async (t) => {
    const pair = makeCertificate(newFolder(t));
    const fake = await server(t, pair);
    const place = `k8s://bots?server=https://127.0.0.1:${fake.port}`;
    await failsWhole(await storeOf(t, place, 1), /certificate is not trusted/);
    for (const option of [`ca-file=${encodeURIComponent(pair.certFile)}`, 'tls=insecure']) {
      const store = await storeOf(t, `${place}&${option}`, 1);
      await write(store);
      await wakes(await watching(t, store), () => write(store));
    }
  });

  it('says what is missing outside a cluster', async () => {
    assert.equal(process.env.KUBERNETES_SERVICE_HOST, undefined);
    for (const [text, words] of [
      ['k8s:', /no pod of Kubernetes.*server=https.*kubectl proxy/],
      ['k8s://bots?server=127.0.0.1', /not like https:\/\/host:6443/],
    ] as const)
      await assert.rejects(openStore(text, 1), words);
  });
});
