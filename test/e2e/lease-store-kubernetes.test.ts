// What the Kubernetes API alone does, and what is said then; against the stand-in, within this process.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { openStore } from '../../src/lease/open.ts';
import { makeCertificate } from '../support/certificate.ts';
import { kubernetesCall } from '../support/engines.ts';
import { type FakeKubernetes, openFakeKubernetes } from '../support/fake-kubernetes.ts';
import { AMPLE_MS, outcome, quiet, record, storeOf, waited, write } from '../support/lease-bench.ts';

const FOLDER = '/apis/coordination.k8s.io/v1/namespaces/bots/leases';

async function server(t: TestContext, tls?: { key: string; cert: string }): Promise<FakeKubernetes> {
  const fake = await openFakeKubernetes(tls ? { tls } : {});
  t.after(() => fake.close());
  return fake;
}

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'sp-k8s-'));
  t.after(() => rmSync(dir, { recursive: true }));
  return dir;
}

const url = (fake: FakeKubernetes, more = ''): string =>
  `k8s://bots/my-lease?server=http://127.0.0.1:${fake.port}${more}`;

describe('lease in kubernetes, its own ways', () => {
  it('writes a Lease that people can read', async (t) => {
    const fake = await server(t);
    const store = await storeOf(t, url(fake), 1);
    await write(store, { host: 'here', pid: 12, ttl: 15_500 });
    type Shown = { metadata: { uid: string }; spec: Record<string, unknown> };
    const lease = (await kubernetesCall(fake.port, 'GET', `${FOLDER}/my-lease`)) as unknown as Shown;
    assert.equal(lease.spec.holderIdentity, 'here:12');
    assert.equal(lease.spec.leaseDurationSeconds, 16);
    assert.match(String(lease.spec.renewTime), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
    await write(store, { holder: '' });
    const freed = (await kubernetesCall(fake.port, 'GET', `${FOLDER}/my-lease`)) as unknown as Shown;
    assert.equal(freed.spec.holderIdentity, '');
    assert.equal(freed.metadata.uid, lease.metadata.uid);
  });

  it('reads the token again for each request', async (t) => {
    const fake = await server(t);
    const file = join(folder(t), 'token');
    const store = await storeOf(t, url(fake, `&token-file=${file}`), 1);
    for (const token of ['first', 'second', 'third']) {
      writeFileSync(file, `${token}\n`);
      fake.control({ token });
      await write(store);
      assert.equal(fake.requests.at(-1)?.token, token);
    }
    const seen = await store.read(AMPLE_MS);
    await waited(store, seen!.rev, 50);
    fake.control({ token: 'fourth', endWatches: true });
    const result = await outcome(store.read(AMPLE_MS));
    assert.equal(result.kind, 'config');
    assert.match(
      (result as { message: string }).message,
      /Unauthorized; the token in \S+token is not accepted/,
    );
    assert.doesNotMatch((result as { message: string }).message, /third/);
    writeFileSync(file, 'fourth');
    assert.deepEqual(await store.read(AMPLE_MS), seen);
    rmSync(file);
    const gone = await outcome(store.read(AMPLE_MS));
    assert.equal(gone.kind, 'config');
    assert.match((gone as { message: string }).message, /cannot be read \(ENOENT\)/);
    assert.ok((await waited(store, null, 150)) > 140);
  });

  it('names the rights that a role lacks', async (t) => {
    const fake = await server(t);
    const store = await storeOf(t, url(fake), 1);
    const seen = await write(store);
    for (const [verb, call] of [
      ['get', () => store.read(AMPLE_MS)],
      ['update', () => store.cas(seen.rev, record(), AMPLE_MS)],
      [
        'create',
        async () =>
          (await storeOf(t, url(fake).replace('my-lease', 'other'), 1)).cas(null, record(), AMPLE_MS),
      ],
    ] as const) {
      fake.control({ denied: [verb] });
      const result = await outcome(call());
      assert.equal(result.kind, 'config', verb);
      assert.match(
        (result as { message: string }).message,
        /cannot .*let a Role grant it.*create.*get, update, watch/,
      );
    }
  });

  it('waits its time where it may not watch, and asks ever less often', async (t) => {
    const fake = await server(t);
    const store = await storeOf(t, url(fake), 1);
    const seen = await write(store);
    fake.control({ denied: ['watch'] });
    const before = fake.requests.length;
    for (let i = 0; i < 10; i++) assert.ok((await waited(store, seen.rev, 150)) > 140);
    assert.ok(fake.requests.length - before <= 2, `${fake.requests.length - before} requests in 1.5 s`);
  });

  for (const [status, maybeApplied] of [
    [429, false],
    [410, false],
    [500, true],
    [503, true],
  ] as const)
    it(`${maybeApplied ? 'does not know' : 'knows'} what became of a write that was answered ${status}`, async (t) => {
      const fake = await server(t);
      const store = await storeOf(t, url(fake), 1);
      const seen = await write(store);
      fake.control({ fail: status });
      const result = await outcome(store.cas(seen.rev, record(), AMPLE_MS));
      assert.deepEqual(
        [result.kind, (result as { maybeApplied: boolean }).maybeApplied],
        ['io', maybeApplied],
      );
    });

  it('says so where the namespace is not there, and where no API is', async (t) => {
    const fake = await server(t);
    const nowhere = await storeOf(t, `k8s://nowhere?server=http://127.0.0.1:${fake.port}`, 1);
    assert.equal(await nowhere.read(AMPLE_MS), null);
    const result = await outcome(nowhere.cas(null, record(), AMPLE_MS));
    assert.equal(result.kind, 'config');
    assert.match((result as { message: string }).message, /namespaces "nowhere" not found/);
  });

  it('takes a Lease that an administrator made for it as no record, once', async (t) => {
    const fake = await server(t);
    await kubernetesCall(fake.port, 'POST', FOLDER, { metadata: { name: 'my-lease' }, spec: {} });
    const one = await storeOf(t, url(fake), 1);
    const other = await storeOf(t, url(fake), 1);
    assert.equal(await one.read(AMPLE_MS), null);
    assert.equal(await other.read(AMPLE_MS), null);
    const results = [await one.cas(null, record(), AMPLE_MS), await other.cas(null, record(), AMPLE_MS)];
    assert.deepEqual(
      results.map(({ ok }) => ok),
      [true, false],
    );
    fake.control({ denied: ['create'] });
    await write(one);
  });

  it("leaves another program's Lease alone", async (t) => {
    const fake = await server(t);
    await kubernetesCall(fake.port, 'POST', FOLDER, {
      metadata: { name: 'my-lease' },
      spec: { holderIdentity: 'controller-0' },
    });
    const store = await storeOf(t, url(fake), 1);
    for (const call of [() => store.read(AMPLE_MS), () => store.cas(null, record(), AMPLE_MS)]) {
      const result = await outcome(call());
      assert.equal(result.kind, 'config');
      assert.match((result as { message: string }).message, /controller-0/);
    }
  });

  it('is woken again after its watch was forgotten or ended', async (t) => {
    const fake = await server(t);
    const store = await storeOf(t, url(fake), 1);
    const writer = await storeOf(t, url(fake), 1);
    const old = await write(writer);
    await write(writer);
    fake.control({ compact: true });
    assert.ok((await waited(store, old.rev, AMPLE_MS)) < 1_000, 'what it would watch from is forgotten');
    for (const how of [{ endWatches: true }, { compact: true }]) {
      await quiet(store);
      fake.control(how);
      await quiet(store);
      let ms = Number.POSITIVE_INFINITY;
      for (let round = 0; round < 8 && ms > 900; round++) {
        const seen = await store.read(AMPLE_MS);
        const wait = waited(store, seen!.rev, 1_000);
        await write(writer);
        ms = await wait;
      }
      assert.ok(ms < 900, JSON.stringify(how));
    }
  });

  it('trusts the authority that it is given, and no other', async (t) => {
    const dir = folder(t);
    const pair = makeCertificate(dir);
    const fake = await server(t, pair);
    const place = `k8s://bots?server=https://127.0.0.1:${fake.port}`;
    const unknown = await outcome((await storeOf(t, place, 1)).read(AMPLE_MS));
    assert.equal(unknown.kind, 'config');
    assert.match((unknown as { message: string }).message, /certificate is not trusted/);
    const store = await storeOf(t, `${place}&ca-file=${encodeURIComponent(pair.certFile)}`, 1);
    const seen = await write(store);
    const wait = waited(store, seen.rev, AMPLE_MS);
    await write(store);
    assert.ok((await wait) < 1_000);
    assert.ok(await (await storeOf(t, `${place}&tls=insecure`, 1)).read(AMPLE_MS));
  });

  it('says what is missing outside a cluster', async () => {
    assert.equal(process.env.KUBERNETES_SERVICE_HOST, undefined);
    await assert.rejects(openStore('k8s:', 1), /no pod of Kubernetes.*server=https.*kubectl proxy/);
    await assert.rejects(
      openStore('k8s://Bots?server=http://127.0.0.1:1', 1),
      /Bots is no name in Kubernetes/,
    );
    await assert.rejects(openStore('k8s://bots?server=127.0.0.1', 1), /not like https:\/\/host:6443/);
  });
});
