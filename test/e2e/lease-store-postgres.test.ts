// What PostgreSQL alone gets wrong, and what is said then.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { makeCertificate } from '../support/certificate.ts';
import { type Engine, openEngine, PG_PASSWORD, pgBin, sql } from '../support/engines.ts';
import { AMPLE_MS, newBot, outcome, record, storeOf, waited, write } from '../support/lease-bench.ts';
import { openPgbouncer } from '../support/pgbouncer.ts';
import { until } from '../support/wait.ts';

const password = encodeURIComponent(PG_PASSWORD);

describe('lease in postgres, its own ways', () => {
  let engine: Engine;
  before(async () => {
    engine = await openEngine('postgres', { settings: ['wal_level=replica', 'max_wal_senders=4'] });
  });
  after(() => engine?.close());

  /** A database of its own for one test. */
  async function database(name: string, more = ''): Promise<string> {
    await sql(engine.port, `CREATE DATABASE ${name} ${more}`);
    return `postgres://postgres:${password}@127.0.0.1:${engine.port}/${name}`;
  }

  it('asks for the right credentials and database, and never shows them', async (t) => {
    for (const [url, words] of [
      [
        `postgres://postgres:wr0ngpassword@127.0.0.1:${engine.port}/postgres`,
        /password authentication failed/,
      ],
      [`postgres://postgres@127.0.0.1:${engine.port}/postgres`, /password must be/],
      [
        `postgresql://postgres:${password}@127.0.0.1:${engine.port}/nowhere`,
        /database "nowhere" does not exist/,
      ],
    ] as const) {
      const store = await storeOf(t, url, 1);
      for (const call of [() => store.read(AMPLE_MS), () => store.cas(null, record(), AMPLE_MS)]) {
        const result = await outcome(call());
        assert.equal(result.kind, 'config', JSON.stringify(result));
        assert.match((result as { message: string }).message, words);
        assert.match((result as { message: string }).message, /:\/\/user:password@host\/database/);
        assert.doesNotMatch((result as { message: string }).message, /wr0ng|wachtwoord/);
      }
      assert.ok((await waited(store, null, 150)) > 140);
    }
  });

  it('wakes whoever waits from its first moment on, where the server has no encryption', async (t) => {
    const bot = newBot();
    const writer = await storeOf(t, engine.url(), bot);
    await write(writer);
    const store = await storeOf(t, engine.url(), bot);
    // Its first line is the one that asks for encryption in vain.
    assert.ok((await waited(store, null, AMPLE_MS)) < AMPLE_MS / 2, 'the watch came up');
    const woken = waited(store, null, AMPLE_MS);
    await write(writer);
    assert.ok((await woken) < AMPLE_MS / 2, 'and rings');
  });

  it('makes its table once, though ten begin together', async (t) => {
    const url = await database('race');
    const stores = await Promise.all(Array.from({ length: 10 }, () => storeOf(t, url, 1)));
    for (let round = 0; round < 10; round++) {
      await Promise.all(stores.map((store) => store.read(AMPLE_MS)));
      await sql(engine.port, 'DROP TABLE singlepoll_lease', 'race');
    }
    assert.deepEqual(
      await Promise.all(stores.map((store) => store.read(AMPLE_MS))),
      stores.map(() => null),
    );
    await sql(engine.port, 'DROP TABLE singlepoll_lease', 'race');
    const results = await Promise.all(stores.map((store) => store.cas(null, record(), AMPLE_MS)));
    assert.equal(results.filter(({ ok }) => ok).length, 1);
  });

  it('tells the owner what to run where the user may not make a table, and then works', async (t) => {
    await database('strict');
    await sql(engine.port, "CREATE ROLE bob LOGIN PASSWORD 'bobspassword'");
    const store = await storeOf(t, `postgres://bob:bobspassword@127.0.0.1:${engine.port}/strict`, 1);
    const result = await outcome(store.read(AMPLE_MS));
    assert.equal(result.kind, 'config');
    const statements = /owner run: (.*)$/.exec((result as { message: string }).message)?.[1];
    assert.ok(statements, JSON.stringify(result));
    await sql(engine.port, statements, 'strict');
    const seen = await write(store);
    const wait = waited(store, seen.rev, AMPLE_MS);
    await write(store);
    assert.ok((await wait) < 1_000);
  });

  it('knows that nothing was written where only reading is allowed', async (t) => {
    const url = await database('frozen');
    const store = await storeOf(t, url, 1);
    const seen = await write(store);
    await sql(engine.port, 'ALTER DATABASE frozen SET default_transaction_read_only = on');
    const late = await storeOf(t, url, 1);
    const result = await outcome(late.cas(seen.rev, record({ seq: 2 }), AMPLE_MS));
    assert.deepEqual([result.kind, (result as { maybeApplied: boolean }).maybeApplied], ['io', false]);
    assert.match((result as { message: string }).message, /read-only/);
  });

  it('turns down a standby server', async (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'sp-standby-'));
    const standby = await openEngine('postgres', { idle: true });
    t.after(async () => {
      await standby.close();
      rmSync(dir, { recursive: true, force: true });
    });
    const copy = join(standby.dir, 'data');
    rmSync(copy, { recursive: true });
    const from = `host=127.0.0.1 port=${engine.port} user=postgres password='${PG_PASSWORD}'`;
    execFileSync(pgBin('pg_basebackup'), ['-D', copy, '-R', '-X', 'stream', '-c', 'fast', '-d', from], {
      stdio: 'pipe',
    });
    if (process.getuid?.() === 0) execFileSync('chown', ['-R', 'postgres:', standby.dir]);
    await standby.start();
    const store = await storeOf(t, standby.url(), 1);
    const read = await outcome(store.read(AMPLE_MS));
    assert.equal(read.kind, 'io');
    assert.match(
      (read as { message: string }).message,
      /read-only replica: ?|read-only replica; name the primary/,
    );
    const cas = await outcome(store.cas(null, record(), AMPLE_MS));
    assert.deepEqual([cas.kind, (cas as { maybeApplied: boolean }).maybeApplied], ['io', false]);
  });

  it('works through pgbouncer in transaction mode, by polling', async (t) => {
    const { port, close } = await openPgbouncer(engine.port);
    t.after(close);
    const botId = newBot();
    const url = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
    const stores = await Promise.all(Array.from({ length: 5 }, () => storeOf(t, url, botId)));
    await write(stores[0]!, { seq: 0 });
    let applied = 0;
    await Promise.all(
      stores.map(async (store) => {
        for (let i = 0; i < 20; i++) {
          const seen = (await store.read(AMPLE_MS))!;
          const done = await store.cas(seen.rev, record({ seq: seen.rec.seq + 1 }), AMPLE_MS);
          if (done.ok) applied++;
          await store.changed(done.ok ? done.rev : null, 5, new AbortController().signal);
        }
      }),
    );
    assert.equal((await stores[0]!.read(AMPLE_MS))?.rec.seq, applied);
    const begin = performance.now();
    for (let i = 0; i < 10; i++) await waited(stores[1]!, 'r', 100);
    assert.ok(performance.now() - begin > 500, 'and its waits still take time');
  });

  it('keeps every letter in a database that is not in UTF-8', async (t) => {
    const url = await database('latin', "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    const store = await storeOf(t, url, 1);
    const seen = await write(store, { host: '机器-größe-🐙' });
    assert.deepEqual(await store.read(AMPLE_MS), seen);
    assert.ok((await store.cas(seen.rev, record({ seq: 2 }), AMPLE_MS)).ok);
  });

  it('has one winner under strict isolation, and knows that the losers wrote nothing', async (t) => {
    const url = await database('strictest');
    await sql(engine.port, "ALTER DATABASE strictest SET default_transaction_isolation = 'serializable'");
    const stores = await Promise.all(Array.from({ length: 8 }, () => storeOf(t, url, 1)));
    let seen = await write(stores[0]!);
    for (let round = 0; round < 5; round++) {
      const calls = stores.map((store, i) =>
        store.cas(seen.rev, record({ seq: round * 10 + i + 2 }), AMPLE_MS),
      );
      const results = await Promise.all(calls.map(outcome));
      const won = results.filter((one) => one.kind === 'done' && (one.value as { ok: boolean }).ok);
      assert.equal(won.length, 1);
      for (const one of results) assert.ok(one.kind === 'done' || (one.kind === 'io' && !one.maybeApplied));
      seen = (await stores[0]!.read(AMPLE_MS))!;
    }
  });

  it('goes on after its session was ended by the server', async (t) => {
    const store = await storeOf(t, await database('ended'), 1);
    const seen = await write(store);
    await sql(engine.port, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'ended'");
    await until('the session to be gone', async () => {
      return (
        (await sql(engine.port, "SELECT count(*) FROM pg_stat_activity WHERE datname = 'ended'")) === '0'
      );
    });
    const first = await outcome(store.read(AMPLE_MS));
    assert.deepEqual(first.kind === 'done' ? first.value : await store.read(AMPLE_MS), seen);
  });

  it('encrypts as the URL says', async (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'sp-tls-'));
    t.after(() => rmSync(dir, { recursive: true }));
    const { keyFile, certFile } = makeCertificate(dir);
    chmodSync(dir, 0o755);
    const secure = await openEngine('postgres', {
      idle: true,
      settings: ['ssl=on', 'ssl_cert_file=../test.crt', 'ssl_key_file=../test.key'],
    });
    t.after(() => secure.close());
    for (const file of [keyFile, certFile])
      copyFileSync(file, join(secure.dir, file === keyFile ? 'test.key' : 'test.crt'));
    if (process.getuid?.() === 0) execFileSync('chown', ['-R', 'postgres:', secure.dir]);
    await secure.start();
    const encrypted =
      "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'singlepoll'";
    for (const [options, how] of [
      ['', 't'],
      ['?sslmode=require', 't'],
      ['?sslmode=disable', 'f'],
      [`?sslmode=verify-full&sslrootcert=${encodeURIComponent(certFile)}`, 't'],
    ] as const) {
      const store = await storeOf(t, secure.url() + options, newBot());
      await write(store);
      assert.equal(await sql(secure.port, encrypted), how, options);
      await store.close();
      await until('the session to be gone', async () => (await sql(secure.port, encrypted)) === '');
    }
    const unknown = await outcome(
      (await storeOf(t, `${secure.url()}?sslmode=verify-full`, 1)).read(AMPLE_MS),
    );
    assert.equal(unknown.kind, 'config');
    assert.match((unknown as { message: string }).message, /certificate is not trusted.*sslmode=require/);
    const none = await outcome((await storeOf(t, `${engine.url()}?sslmode=require`, 1)).read(AMPLE_MS));
    assert.equal(none.kind, 'config');
    assert.match((none as { message: string }).message, /SSL.*sslmode=disable/);
  });
});
