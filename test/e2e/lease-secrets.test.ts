// The password of a lease's engine is nobody's business: not of the log, the screen, the state folder, the worker.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { bed, node } from '../support/bed.ts';
import type { Running } from '../support/cli.ts';
import { type Engine, type EngineName, openEngine, redisCommand, sql } from '../support/engines.ts';
import { starts } from '../support/judge.ts';
import { FAST, leaseBed, leaseEngine, leaseOf } from '../support/lease-bed.ts';
import { commandOf, environOf, findByEnv } from '../support/proc.ts';
import { until } from '../support/wait.ts';

/** Every character that a URL, a shell or a pattern could stumble over; its words may not stand anywhere, encoded or not. */
const PASSWORD = `Gehe1m $&'()*+;=:/?#[]@ Wo%rt "ü`;
const WORDS = /Gehe1m|Wo(?:%25|%)rt/i;
const ENCODED = encodeURIComponent(PASSWORD);
const SHOWN_ENV = node('prints-env.mjs');
const ALL_LOOKS = [['status'], ['status', '--json'], ['who'], ['who', '--json']];

function assertNoSecret(text: string, where: string): void {
  const found = WORDS.exec(text) ?? new RegExp(BASE64.join('|')).exec(text);
  assert.equal(
    found,
    null,
    `the password is in ${where}: ${text.slice(Math.max(0, (found?.index ?? 0) - 300), (found?.index ?? 0) + 100)}`,
  );
}

/** As HTTP's Authorization would carry it. */
const BASE64 = ['alice', 'root', 'postgres', ''].map((user) =>
  Buffer.from(`${user}:${PASSWORD}`).toString('base64').slice(-30).replace(/[+/=]/g, '.'),
);

function filesUnder(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    const stat = statSync(path);
    return stat.isDirectory() ? filesUnder(path) : stat.isFile() ? [path] : [];
  });
}

/** An engine that lets `alice` in, by the password; the test's own calls go on as they are. */
async function guarded(name: EngineName): Promise<{ engine: Engine; login: string; path: string }> {
  switch (name) {
    case 'redis': {
      const engine = await openEngine('redis');
      const digest = sha256(PASSWORD);
      await redisCommand(engine.port, 'ACL', 'SETUSER', 'alice', 'on', `#${digest}`, '~*', '&*', '+@all');
      return { engine, login: 'alice', path: '' };
    }
    case 'postgres': {
      const engine = await leaseEngine('postgres');
      await sql(engine.port, `CREATE ROLE alice LOGIN PASSWORD '${PASSWORD.replaceAll("'", "''")}'`);
      await sql(engine.port, 'GRANT ALL ON singlepoll_lease TO alice');
      return { engine, login: 'alice', path: '/postgres' };
    }
    default: {
      const engine = await openEngine('etcd');
      const call = (path: string, body: object, token?: string) =>
        fetch(`http://127.0.0.1:${engine.port}/v3/${path}`, {
          method: 'POST',
          body: JSON.stringify(body),
          ...(token && { headers: { authorization: token } }),
        }).then((answer) => answer.json() as Promise<{ token?: string }>);
      await call('auth/user/add', { name: 'root', password: PASSWORD });
      await call('auth/role/add', { name: 'root' });
      await call('auth/user/grant', { user: 'root', role: 'root' });
      await call('auth/enable', {});
      const { token } = await call('auth/authenticate', { name: 'root', password: PASSWORD });
      const base64 = (text: string) => Buffer.from(text).toString('base64');
      const put = async (botId: number, text: string) => {
        await call('kv/put', { key: base64(`singlepoll/${botId}`), value: base64(text) }, token);
      };
      return { engine: Object.assign(Object.create(engine) as Engine, { put }), login: 'root', path: '' };
    }
  }
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

for (const name of ['redis', 'postgres', 'etcd'] as const) {
  describe(`secrets of a lease in ${name}`, () => {
    let place: Awaited<ReturnType<typeof guarded>>;
    before(async () => {
      place = await guarded(name);
    });
    after(() => place?.engine.close());
    const urlOf = (password: string, port = place.engine.port) =>
      `${name}://${place.login}:${password}@127.0.0.1:${port}${place.path}`;

    test(`${name}: the password is nowhere, and the worker gets none`, async (t) => {
      const b = await leaseBed(t, place.engine);
      await b.vacate();
      b.file('singlepoll.toml', `lease = "${urlOf(ENCODED)}"\n`);
      const run = await b.polling([
        ...['--log-format', 'json', '--heartbeat', '100ms', ...FAST],
        ...['--', ...SHOWN_ENV],
      ]);
      await until('heartbeats', () => run.stderr().split('\n').length > 12, { seen: run.seen });
      assert.equal(leaseOf(await b.status()).engine, name);
      const refused = await b.run(['start', ...FAST, '--', ...SHOWN_ENV]);
      assert.equal(refused.code, 75, refused.stderr);
      const answers = [refused];
      for (const args of ALL_LOOKS) answers.push(await b.run(args));
      for (const answer of answers) assertNoSecret(answer.stdout + answer.stderr, 'an answer');
      assert.ok(findByEnv('SP_TEST_COOKIE', b.cookie).length >= 2, 'the supervisor and its worker');
      for (const pid of findByEnv('SP_TEST_COOKIE', b.cookie)) {
        assertNoSecret(commandOf(pid), `the arguments of pid ${pid}`);
        assertNoSecret((environOf(pid) ?? []).join('\n'), `the environment of pid ${pid}`);
      }
      run.signal('SIGTERM');
      assert.equal((await run.exit()).code, 0, run.seen());
      assertNoSecret(run.stdout() + run.stderr(), 'the output');
      for (const path of filesUnder(b.stateDir)) assertNoSecret(readFileSync(path, 'latin1'), path);
    });

    test(`${name}: wrong, or of an engine out of reach, it is not shown either`, async (t) => {
      const b = await bed(t);
      const wrong = { ...b.env, SINGLEPOLL_LEASE: urlOf(encodeURIComponent(`${PASSWORD}2`)) };
      // Time for the first look on a busy machine too: later ones end nothing.
      const result = await b.run(['start', '--lease-profile', 'frugal', '--', ...SHOWN_ENV], { env: wrong });
      assert.equal(result.code, 78, result.stderr);
      assert.equal(starts(b.journal()).length, 0);
      const answers = [result.stderr + result.stdout];
      for (const args of ALL_LOOKS) answers.push((await b.run(args, { env: wrong })).stdout);
      for (const text of answers) {
        assertNoSecret(text, 'an answer');
        assert.match(text, /password|credential|authenti|WRONGPASS/i);
      }
      const env = { ...b.env, SINGLEPOLL_LEASE: urlOf(ENCODED, 1) };
      const run = b.cli(['start', ...FAST, '--', ...SHOWN_ENV], { env });
      await run.waitFor(/out of reach/i);
      const status = await b.run(['status', '--json']);
      assert.match(status.stdout, /lease-unreachable/);
      assertNoSecret(run.stderr() + run.stdout() + status.stdout, 'the complaint');
    });
  });
}

describe('secrets on the command line', () => {
  let engine: Engine;
  before(async () => {
    engine = (await guarded('redis')).engine;
  });
  after(() => engine?.close());
  const WARNING = /password.*process lists.*env:NAME/i;

  test('a password as a flag is warned of, and kept for reset alone, where only this user can read it; neither is shown', async (t) => {
    for (const warns of [true, false]) {
      const b = await leaseBed(t, engine);
      await b.vacate();
      const url = `redis://alice:${ENCODED}@127.0.0.1:${engine.port}`;
      const run = await b.polling(['--lease', warns ? url : 'env:SHARED_URL', ...FAST, '--', ...SHOWN_ENV], {
        env: warns ? b.env : { ...b.env, SHARED_URL: url },
      });
      assert.equal(WARNING.test(run.stderr()), warns, run.stderr());
      // The variable is the user's, and stays the worker's.
      assert.equal(run.stdout().includes('SHARED_URL'), !warns);
      const status = await b.run(['status', '--json']);
      run.signal('SIGTERM');
      await run.exit();
      assertNoSecret(run.stderr() + status.stdout, 'the talk');
      for (const path of filesUnder(b.stateDir)) {
        const isKept = warns && basename(path) === 'last-start.json';
        if (isKept) assert.equal(statSync(path).mode & 0o077, 0);
        else assertNoSecret(readFileSync(path, 'latin1'), path);
      }
      const reset = await b.run(['reset', '--no-start']);
      assert.equal(reset.code, 0);
      assertNoSecret(reset.stdout + reset.stderr, 'reset');
    }
  });

  test('a password that is changed while holding: told, not shown, and good again when it is back', async (t) => {
    const b = await leaseBed(t, engine);
    await b.vacate();
    const digest = sha256(PASSWORD);
    const user = `bob${b.botId}`;
    const acl = (...rules: string[]) => redisCommand(engine.port, 'ACL', 'SETUSER', user, ...rules);
    await acl('on', `#${digest}`, '~*', '&*', '+@all');
    const env = { ...b.env, SHARED_URL: `redis://${user}:${ENCODED}@127.0.0.1:${engine.port}` };
    const run: Running = await b.polling(
      ['--lease', 'env:SHARED_URL', ...FAST, '--', ...node('polite.mjs')],
      { env },
    );
    await acl('resetpass', '>other');
    await redisCommand(engine.port, 'CLIENT', 'KILL', 'USER', user);
    const problem = await until(
      'the problem',
      async () => {
        const { problems } = await b.status();
        return problems.find(({ code }) => code === 'lease-unreachable');
      },
      { everyMs: 100, seen: run.seen },
    );
    assert.match(problem.message, /password|WRONGPASS|credential/i);
    await acl('resetpass', `#${digest}`);
    await run.waitFor(/answers again/i);
    assert.equal(run.ended(), null);
    await until('healthy', async () => (await b.status()).healthy, { everyMs: 100, seen: run.seen });
    assertNoSecret(run.stdout() + run.stderr() + problem.message, 'the talk');
  });
});
