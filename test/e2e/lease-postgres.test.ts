// What PostgreSQL alone gets wrong, and what is said then.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { makeCertificate } from '../support/certificate.ts';
import { fileEngine, openEngine, PG_PASSWORD, pgBin, sql } from '../support/engines.ts';
import {
  AMPLE_MS,
  fails,
  failsWhole,
  faultOf,
  newBot,
  record,
  storeOf,
  wakes,
  watch,
  watching,
  write,
} from '../support/lease-bench.ts';
import { openPgbouncer } from '../support/pgbouncer.ts';
import { newFolder } from '../support/place.ts';
import { until } from '../support/wait.ts';

const password = encodeURIComponent(PG_PASSWORD);

const engine = await fileEngine('postgres', { settings: ['wal_level=replica', 'max_wal_senders=4'] });

describe('lease in postgres, its own ways', () => {
  /** A database of its own for one test. */
  async function database(name: string, more = ''): Promise<string> {
    await sql(engine.port, `CREATE DATABASE ${name} ${more}`);
    return `postgres://postgres:${password}@127.0.0.1:${engine.port}/${name}`;
  }

  for (const [login, words] of [
    ['postgres:hunter2hunter@127.0.0.1:PORT/postgres', /password authentication failed/],
    ['postgres@127.0.0.1:PORT/postgres', /password must be/],
    [`postgres:${password}@127.0.0.1:PORT/nowhere`, /database "nowhere" does not exist/],
  ] as const)
    it(`says what is wrong where ${words.source}, without the password`, async (t) => {
      const store = await storeOf(t, `postgresql://${login.replace('PORT', String(engine.port))}`, 1);
      await failsWhole(store, words, /hunter2|wachtwoord/);
      await failsWhole(store, /:\/\/user:password@host\/database/);
    });

  it('makes its table once, though ten begin together', async (t) => {
    const url = await database('race');
    const stores = await Promise.all(Array.from({ length: 10 }, () => storeOf(t, url, 1)));
    for (let round = 0; round < 5; round++) {
      await Promise.all(stores.map((store) => store.read(AMPLE_MS)));
      await sql(engine.port, 'DROP TABLE singlepoll_lease', 'race');
    }
    const results = await Promise.all(stores.map((store) => store.cas(null, record(), AMPLE_MS)));
    assert.equal(results.filter(({ ok }) => ok).length, 1);
  });

  it('tells the owner what to run where the user may not make a table, and then works', async (t) => {
    await database('strict');
    await sql(engine.port, "CREATE ROLE bob LOGIN PASSWORD 'bobspassword'");
    const store = await storeOf(t, `postgres://bob:bobspassword@127.0.0.1:${engine.port}/strict`, 1);
    const { fault, message } = await faultOf(store.read(AMPLE_MS));
    assert.equal(fault, 'config');
    await sql(engine.port, /owner run: (.*)$/.exec(message)?.[1] ?? assert.fail(message), 'strict');
    await write(store);
    await wakes(await watching(t, store), () => write(store));
  });

  it('knows that nothing was written where only reading is allowed', async (t) => {
    const url = await database('frozen');
    const { rev } = await write(await storeOf(t, url, 1));
    await sql(engine.port, 'ALTER DATABASE frozen SET default_transaction_read_only = on');
    await fails((await storeOf(t, url, 1)).cas(rev, record({ seq: 2 }), AMPLE_MS), 'refused', /read-only/);
  });

  it('turns down a standby server', async (t) => {
    const standby = await openEngine('postgres', { idle: true });
    t.after(() => standby.close());
    const copy = join(standby.dir, 'data');
    rmSync(copy, { recursive: true });
    const from = `host=127.0.0.1 port=${engine.port} user=postgres password='${PG_PASSWORD}'`;
    execFileSync(pgBin('pg_basebackup'), ['-D', copy, '-R', '-X', 'stream', '-c', 'fast', '-d', from], {
      stdio: 'pipe',
    });
    if (process.getuid?.() === 0) execFileSync('chown', ['-R', 'postgres:', standby.dir]);
    await standby.start();
    const store = await storeOf(t, standby.url(), 1);
    await fails(store.read(AMPLE_MS), 'refused', /read-only replica[;:] name the primary/);
    await fails(store.cas(null, record(), AMPLE_MS), 'refused', /read-only/);
  });

  it('works through pgbouncer in transaction mode', async (t) => {
    const { port, close } = await openPgbouncer(engine.port);
    t.after(close);
    const botId = newBot();
    const url = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
    const stores = await Promise.all(Array.from({ length: 5 }, () => storeOf(t, url, botId)));
    await write(stores[0]!, { seq: 0 });
    let applied = 0;
    await Promise.all(
      stores.map(async (store) => {
        watch(t, store);
        for (let i = 0; i < 20; i++) {
          const seen = (await store.read(AMPLE_MS))!;
          const done = await store.cas(seen.rev, record({ seq: seen.rec.seq + 1 }), AMPLE_MS);
          if (done.ok) applied += 1;
        }
      }),
    );
    assert.equal((await stores[0]!.read(AMPLE_MS))?.rec.seq, applied);
  });

  it('keeps every letter in a database that is not in UTF-8', async (t) => {
    const store = await storeOf(
      t,
      await database('latin', "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"),
      1,
    );
    const seen = await write(store, { host: '机器-größe-🐙' });
    assert.deepEqual(await store.read(AMPLE_MS), seen);
    assert.ok((await store.cas(seen.rev, record({ seq: 2 }), AMPLE_MS)).ok);
  });

  it('has one winner under strict isolation, and knows that the losers wrote nothing', async (t) => {
    const url = await database('strictest');
    await sql(engine.port, "ALTER DATABASE strictest SET default_transaction_isolation = 'serializable'");
    const stores = await Promise.all(Array.from({ length: 8 }, () => storeOf(t, url, 1)));
    let { rev } = await write(stores[0]!);
    for (let round = 0; round < 5; round++) {
      let won = 0;
      const call = async (store: (typeof stores)[number], i: number) => {
        if ((await store.cas(rev, record({ seq: round * 10 + i + 2 }), AMPLE_MS)).ok) won += 1;
      };
      const faults = await Promise.all(stores.map((store, i) => faultOf(call(store, i))));
      assert.equal(won, 1);
      for (const { fault } of faults) assert.ok(fault === null || fault === 'refused', `${fault}`);
      rev = (await stores[0]!.read(AMPLE_MS))!.rev;
    }
  });

  it('encrypts as the URL says', async (t) => {
    const dir = newFolder(t);
    const { keyFile, certFile } = makeCertificate(dir);
    chmodSync(dir, 0o755);
    const secure = await openEngine('postgres', {
      idle: true,
      settings: ['ssl=on', 'ssl_cert_file=../test.crt', 'ssl_key_file=../test.key'],
    });
    t.after(() => secure.close());
    copyFileSync(keyFile, join(secure.dir, 'test.key'));
    copyFileSync(certFile, join(secure.dir, 'test.crt'));
    if (process.getuid?.() === 0) execFileSync('chown', ['-R', 'postgres:', secure.dir]);
    await secure.start();
    const encrypted =
      "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'singlepoll'";
    const authority = `sslrootcert=${encodeURIComponent(certFile)}`;
    for (const [options, how] of [
      ['', 't'],
      ['?sslmode=allow', 't'],
      ['?sslmode=require', 't'],
      ['?sslmode=no-verify', 't'],
      ['?sslmode=disable', 'f'],
      [`?sslmode=verify-ca&${authority}`, 't'],
      [`?sslmode=verify-full&${authority}`, 't'],
    ] as const) {
      const store = await storeOf(t, secure.url() + options, newBot());
      await write(store);
      assert.equal(await sql(secure.port, encrypted), how, options);
      await store.close();
      await until('the session to be gone', async () => (await sql(secure.port, encrypted)) === '');
    }
    const unknown = await storeOf(t, `${secure.url()}?sslmode=verify-full`, 1);
    await failsWhole(unknown, /certificate is not trusted.*sslmode=require/);
    await failsWhole(await storeOf(t, `${engine.url()}?sslmode=require`, 1), /SSL.*sslmode=disable/);
  });
});
