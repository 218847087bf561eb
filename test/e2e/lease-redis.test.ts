// What Redis alone gets wrong, and what is said then.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { makeCertificate } from '../support/certificate.ts';
import { type Engine, fileEngine, openEngine, redisCommand } from '../support/engines.ts';
import {
  AMPLE_MS,
  fails,
  failsWhole,
  newBot,
  record,
  storeOf,
  wakes,
  watching,
  write,
} from '../support/lease-bench.ts';
import { listen, newFolder } from '../support/place.ts';
import { freePort } from '../support/strays.ts';

async function redis(t: TestContext, ...settings: string[]): Promise<Engine> {
  const engine = await openEngine('redis', { settings });
  t.after(() => engine.close());
  return engine;
}

/** Answers every command with the same line, HELLO as an old server does. */
async function scripted(t: TestContext, line: string): Promise<string> {
  const server = createServer((socket) =>
    socket.on('data', (data) => {
      for (const command of data.toString().split(/(?=\*\d+\r\n\$)/))
        socket.write(`${command.includes('HELLO') ? '-ERR unknown command' : line}\r\n`);
    }),
  );
  return `redis://127.0.0.1:${await listen(t, server)}`;
}

const plain = await fileEngine('redis');

describe('lease in redis, its own ways', () => {
  it('asks for the right credentials, and never shows them', async (t) => {
    const { port } = await redis(t, '--requirepass', 's3cret/pass');
    await failsWhole(
      await storeOf(t, `redis://127.0.0.1:${port}`, 1),
      /NOAUTH.*redis:\/\/user:password@host/,
    );
    const wrong = await storeOf(t, `redis://:hunter2hunter@127.0.0.1:${port}`, 1);
    await failsWhole(wrong, /WRONGPASS/);
    for (const login of [':s3cret%2Fpass', 'default:s3cret%2Fpass'])
      await write(await storeOf(t, `redis://${login}@127.0.0.1:${port}`, newBot()));
  });

  it('names the rights that a user lacks; without the right to publish it works by polling', async (t) => {
    const { port } = await redis(t);
    const acl = (...words: string[]) => redisCommand(port, 'ACL', 'SETUSER', 'bob', ...words);
    await acl('on', '>bobspassword', '~singlepoll/*', '+get');
    const bob = await storeOf(t, `redis://bob:bobspassword@127.0.0.1:${port}`, 7);
    assert.equal(await bob.read(AMPLE_MS), null);
    await fails(
      bob.cas(null, record(), AMPLE_MS),
      'config',
      /NOPERM.*ACL SETUSER bob \+get \+set \+eval \+publish \+subscribe ~singlepoll\/7 &singlepoll\/7/,
    );
    await acl('+set', '+eval', 'resetchannels');
    const seen = await write(bob);
    assert.deepEqual(await bob.read(AMPLE_MS), seen, 'applied, and known to be');
  });

  it('turns down a replica, also one that becomes it', async (t) => {
    const primary = await redis(t);
    const other = await redis(t);
    const store = await storeOf(t, other.url(), 5);
    const { rev } = await write(store);
    await redisCommand(other.port, 'REPLICAOF', '127.0.0.1', String(primary.port));
    await fails(
      store.cas(rev, record({ seq: 2 }), AMPLE_MS),
      'refused',
      /READONLY.*read-only replica: name the primary/,
    );
    const fresh = await storeOf(t, other.url(), 5);
    await fails(fresh.read(AMPLE_MS), 'refused', /read-only replica: name the primary/);
  });

  for (const [line, fault, words] of [
    ['-LOADING Redis is loading the dataset in memory', 'refused', /LOADING/],
    [
      "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
      'refused',
      /MASTERDOWN/,
    ],
    ['-CLUSTERDOWN Hash slot not served', 'refused', /CLUSTERDOWN/],
    [
      '-MOVED 3999 127.0.0.1:6381',
      'config',
      /Redis Cluster, which singlepoll does not follow: name a single server/,
    ],
    ["-ERR unknown command 'EVAL'", 'config', /unknown command/],
    // Somebody in between answers.
    ['-ERR upstream failure', 'unclear', /upstream failure/],
  ] as const)
    it(`a write that was answered ${line.slice(1, 20)}… is ${fault}`, async (t) =>
      fails((await storeOf(t, await scripted(t, line), 1)).cas(null, record(), AMPLE_MS), fault, words));

  it('knows that nothing was written for want of memory or of replicas', async (t) => {
    const { port } = await redis(t);
    const store = await storeOf(t, `valkey://127.0.0.1:${port}`, 1);
    for (const [name, value, words] of [
      ['maxmemory', '1', /OOM/],
      ['min-replicas-to-write', '1', /NOREPLICAS/],
    ] as const) {
      await redisCommand(port, 'CONFIG', 'SET', name, value);
      await fails(store.cas(null, record(), AMPLE_MS), 'refused', words);
      await redisCommand(port, 'CONFIG', 'SET', name, '0');
    }
    assert.equal(await store.read(AMPLE_MS), null);
  });

  it('says so where the key holds another type', async (t) => {
    await redisCommand(plain.port, 'RPUSH', 'singlepoll/42', 'a');
    await failsWhole(await storeOf(t, plain.url(), 42), /WRONGTYPE.*singlepoll\/42/);
  });

  it('uses the database of the URL', async (t) => {
    await write(await storeOf(t, `${plain.url()}/3`, 9));
    assert.equal(await (await storeOf(t, plain.url(), 9)).read(AMPLE_MS), null);
    await failsWhole(await storeOf(t, `${plain.url()}/99`, 9), /DB index/);
  });

  it('speaks TLS, and to servers whose certificate nobody knows only when told to', async (t) => {
    const dir = newFolder(t);
    const { keyFile, certFile } = makeCertificate(dir);
    const port = await freePort();
    await redis(
      t,
      ...['--tls-port', String(port), '--tls-auth-clients', 'no'],
      ...['--tls-cert-file', certFile, '--tls-key-file', keyFile, '--tls-ca-cert-file', certFile],
    );
    await failsWhole(
      await storeOf(t, `rediss://127.0.0.1:${port}`, 1),
      /certificate is not trusted.*\?tls=insecure/,
    );
    for (const option of ['tls=insecure', `ca-file=${encodeURIComponent(certFile)}`]) {
      const store = await storeOf(t, `rediss://127.0.0.1:${port}?${option}`, newBot());
      await write(store);
      await wakes(await watching(t, store), () => write(store));
    }
    const wrongWay = await storeOf(t, `rediss://127.0.0.1:${plain.port}`, 1);
    await assert.rejects(wrongWay.read(1_000));
  });
});
