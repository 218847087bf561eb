// What Redis alone gets wrong, and what is said then.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { leanPackages } from '../../scripts/lean-packages.mjs';
import { parseLeaseUrl } from '../../src/lease/url.ts';
import { makeCertificate } from '../support/certificate.ts';
import { type Engine, openEngine, redisCommand } from '../support/engines.ts';
import { AMPLE_MS, newBot, outcome, quiet, record, storeOf, waited, write } from '../support/lease-bench.ts';
import { until } from '../support/wait.ts';

async function redis(t: TestContext, ...settings: string[]): Promise<Engine> {
  const engine = await openEngine('redis', { settings });
  t.after(() => engine.close());
  return engine;
}

/** Answers every command with the same line, HELLO with `hello`. */
async function scripted(t: TestContext, line: string, hello = '-ERR unknown command'): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (data) => {
      for (const command of data.toString().split(/(?=\*\d+\r\n\$)/))
        socket.write(`${command.includes('HELLO') ? hello : line}\r\n`);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

describe('lease in redis, its own ways', () => {
  let plain: Engine;
  before(async () => {
    plain = await openEngine('redis');
  });
  after(() => plain?.close());

  it('asks for credentials, and never shows them', async (t) => {
    const { port } = await redis(t, '--requirepass', 's3cret/pass');
    const none = await outcome((await storeOf(t, `redis://127.0.0.1:${port}`, 1)).read(AMPLE_MS));
    assert.equal(none.kind, 'config');
    assert.match((none as { message: string }).message, /NOAUTH.*redis:\/\/user:password@host/);
    const wrong = await storeOf(t, `redis://:wr0ngpassword@127.0.0.1:${port}`, 1);
    for (const call of [() => wrong.read(AMPLE_MS), () => wrong.cas(null, record(), AMPLE_MS)]) {
      const result = await outcome(call());
      assert.equal(result.kind, 'config');
      assert.match((result as { message: string }).message, /WRONGPASS/);
      assert.doesNotMatch((result as { message: string }).message, /wr0ng/);
    }
    assert.ok((await waited(wrong, null, 150)) > 140);
    for (const login of [':s3cret%2Fpass', 'default:s3cret%2Fpass']) {
      const right = await storeOf(t, `redis://${login}@127.0.0.1:${port}`, newBot());
      assert.ok(await write(right));
    }
  });

  it('names the rights that a user lacks; without the right to publish it works by polling', async (t) => {
    const { port } = await redis(t);
    await redisCommand(port, 'ACL', 'SETUSER', 'bob', 'on', '>bobspassword', '~singlepoll/*', '+get');
    const bob = await storeOf(t, `redis://bob:bobspassword@127.0.0.1:${port}`, 7);
    assert.equal(await bob.read(AMPLE_MS), null);
    const result = await outcome(bob.cas(null, record(), AMPLE_MS));
    assert.equal(result.kind, 'config');
    assert.match((result as { message: string }).message, /NOPERM.*ACL SETUSER bob \+get \+set \+eval/);
    await redisCommand(port, 'ACL', 'SETUSER', 'bob', '+set', '+eval', 'resetchannels');
    const seen = await write(bob);
    assert.deepEqual(await bob.read(AMPLE_MS), seen, 'applied, and known to be');
    assert.ok((await waited(bob, seen.rev, 200)) > 190);
  });

  it('turns down a replica, also one that becomes it', async (t) => {
    const primary = await redis(t);
    const other = await redis(t);
    const store = await storeOf(t, other.url(), 5);
    const seen = await write(store);
    await redisCommand(other.port, 'REPLICAOF', '127.0.0.1', String(primary.port));
    const late = await outcome(store.cas(seen.rev, record({ seq: 2 }), AMPLE_MS));
    assert.deepEqual([late.kind, (late as { maybeApplied: boolean }).maybeApplied], ['io', false]);
    assert.match((late as { message: string }).message, /READONLY.*name the primary/);
    const fresh = await outcome((await storeOf(t, other.url(), 5)).read(AMPLE_MS));
    assert.equal(fresh.kind, 'io');
    assert.match((fresh as { message: string }).message, /read-only replica; name the primary/);
  });

  for (const [line, kind, words] of [
    ['-LOADING Redis is loading the dataset in memory', 'io', /LOADING/],
    ["-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", 'io', /MASTERDOWN/],
    ['-CLUSTERDOWN Hash slot not served', 'io', /CLUSTERDOWN/],
    [
      '-MOVED 3999 127.0.0.1:6381',
      'config',
      /Redis Cluster, which singlepoll does not follow: name a single server/,
    ],
    ["-ERR unknown command 'EVAL'", 'config', /unknown command/],
  ] as const)
    it(`knows that nothing was written after ${line.slice(1, 12)}…`, async (t) => {
      const store = await storeOf(t, `redis://127.0.0.1:${await scripted(t, line)}`, 1);
      const result = await outcome(store.cas(null, record(), AMPLE_MS));
      assert.equal(result.kind, kind);
      assert.match((result as { message: string }).message, words);
      if (result.kind === 'io') assert.equal(result.maybeApplied, false);
    });

  it('does not know what became of a write that somebody in between answers', async (t) => {
    const store = await storeOf(t, `redis://127.0.0.1:${await scripted(t, '-ERR upstream failure')}`, 1);
    const result = await outcome(store.cas(null, record(), AMPLE_MS));
    assert.deepEqual([result.kind, (result as { maybeApplied: boolean }).maybeApplied], ['io', true]);
  });

  it('turns down a Sentinel', async (t) => {
    const hello = '*4\r\n$4\r\nmode\r\n$8\r\nsentinel\r\n$4\r\nrole\r\n$6\r\nmaster';
    const store = await storeOf(t, `redis://127.0.0.1:${await scripted(t, '$-1', hello)}`, 1);
    const result = await outcome(store.read(AMPLE_MS));
    assert.equal(result.kind, 'config');
    assert.match((result as { message: string }).message, /Sentinel/);
  });

  it('knows that nothing was written for want of memory or of replicas', async (t) => {
    const { port } = await redis(t);
    const store = await storeOf(t, `valkey://127.0.0.1:${port}`, 1);
    for (const [name, value, words] of [
      ['maxmemory', '1', /OOM/],
      ['min-replicas-to-write', '1', /NOREPLICAS/],
    ] as const) {
      await redisCommand(port, 'CONFIG', 'SET', name, value);
      const result = await outcome(store.cas(null, record(), AMPLE_MS));
      assert.deepEqual([result.kind, (result as { maybeApplied: boolean }).maybeApplied], ['io', false]);
      assert.match((result as { message: string }).message, words);
      await redisCommand(port, 'CONFIG', 'SET', name, '0');
    }
    assert.equal(await store.read(AMPLE_MS), null);
  });

  it('says so where the key holds another type', async (t) => {
    await redisCommand(plain.port, 'RPUSH', 'singlepoll/42', 'a');
    const store = await storeOf(t, plain.url(), 42);
    for (const call of [() => store.read(AMPLE_MS), () => store.cas(null, record(), AMPLE_MS)]) {
      const result = await outcome(call());
      assert.equal(result.kind, 'config');
      assert.match((result as { message: string }).message, /WRONGTYPE.*singlepoll\/42/);
    }
  });

  it('uses the database of the URL', async (t) => {
    const third = await storeOf(t, `${plain.url()}/3`, 9);
    await write(third);
    assert.equal(await (await storeOf(t, plain.url(), 9)).read(AMPLE_MS), null);
    const none = await outcome((await storeOf(t, `${plain.url()}/99`, 9)).read(AMPLE_MS));
    assert.equal(none.kind, 'config');
    assert.match((none as { message: string }).message, /DB index/);
  });

  it('does the same from the bundle, which leaves most of the client out', async (t) => {
    const { port } = await redis(t, '--requirepass', 's3cret');
    const dir = mkdtempSync(join(tmpdir(), 'sp-bundle-'));
    t.after(() => rmSync(dir, { recursive: true }));
    const outfile = join(dir, 'open.cjs');
    const entry = fileURLToPath(new URL('../../src/lease/redis.ts', import.meta.url));
    await build({
      ...{ entryPoints: [entry], outfile, bundle: true, platform: 'node', format: 'cjs', logLevel: 'silent' },
      plugins: leanPackages,
    });
    assert.ok(statSync(outfile).size < 600_000, 'the commands are left out');
    const { openRedis } = createRequire(import.meta.url)(
      outfile,
    ) as typeof import('../../src/lease/redis.ts');
    const open = (password: string) => {
      const store = openRedis(parseLeaseUrl(`redis://:${password}@127.0.0.1:${port}/1`), 'singlepoll/1');
      t.after(() => store.close());
      return store;
    };
    const store = open('s3cret');
    const seen = await write(store);
    assert.deepEqual(await store.cas(null, record(), AMPLE_MS), { ok: false, current: seen });
    await quiet(store);
    const wait = waited(store, seen.rev, AMPLE_MS);
    await write(store);
    assert.ok((await wait) < 1_000);
    assert.equal((await outcome(open('wrong').read(AMPLE_MS))).kind, 'config');
  });

  it('speaks TLS, and to servers whose certificate nobody knows only when told to', async (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'sp-tls-'));
    t.after(() => rmSync(dir, { recursive: true }));
    const { keyFile, certFile } = makeCertificate(dir);
    const { port } = await openTls(t, keyFile, certFile);
    const unknown = await outcome((await storeOf(t, `rediss://127.0.0.1:${port}`, 1)).read(AMPLE_MS));
    assert.equal(unknown.kind, 'config');
    assert.match((unknown as { message: string }).message, /certificate is not trusted.*\?tls=insecure/);
    for (const option of ['tls=insecure', `ca-file=${encodeURIComponent(certFile)}`]) {
      const store = await storeOf(t, `rediss://127.0.0.1:${port}?${option}`, newBot());
      const seen = await write(store);
      const wait = waited(store, seen.rev, AMPLE_MS);
      await write(store);
      assert.ok((await wait) < 1_000);
    }
    const wrongWay = await outcome((await storeOf(t, `rediss://127.0.0.1:${plain.port}`, 1)).read(1_000));
    assert.notEqual(wrongWay.kind, 'done');
  });
});

/** TLS on a port of its own; the plain one says when it is ready. */
async function openTls(t: TestContext, key: string, cert: string): Promise<{ port: number }> {
  const { freePort } = await import('../support/strays.ts');
  const port = await freePort();
  const files = ['--tls-cert-file', cert, '--tls-key-file', key, '--tls-ca-cert-file', cert];
  const engine = await redis(t, '--tls-port', String(port), '--tls-auth-clients', 'no', ...files);
  await until('redis to answer', () => redisCommand(engine.port, 'PING'));
  return { port };
}
