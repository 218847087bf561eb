// The password of a lease's engine is nobody's business: not of the log, the screen, the state folder, the worker.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { node } from '../support/bed.ts';
import { type Engine, openEngine, redisCommand, sql } from '../support/engines.ts';
import { starts } from '../support/judge.ts';
import { it } from '../support/kinds.ts';
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
  const found = WORDS.exec(text);
  assert.equal(
    found,
    null,
    `the password is in ${where}: ${text.slice(Math.max(0, (found?.index ?? 0) - 300), (found?.index ?? 0) + 100)}`,
  );
}

function filesUnder(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    const stat = statSync(path);
    return stat.isDirectory() ? filesUnder(path) : stat.isFile() ? [path] : [];
  });
}

/** An engine that lets `alice` in, by the password; the test's own calls go on as they are. */
async function guarded(name: 'redis' | 'postgres'): Promise<{ engine: Engine; login: string; path: string }> {
  switch (name) {
    case 'redis': {
      const engine = await openEngine('redis');
      const digest = sha256(PASSWORD);
      await redisCommand(engine.port, 'ACL', 'SETUSER', 'alice', 'on', `#${digest}`, '~*', '&*', '+@all');
      return { engine, login: 'alice', path: '' };
    }
    default: {
      const engine = await leaseEngine('postgres');
      await sql(engine.port, `CREATE ROLE alice LOGIN PASSWORD '${PASSWORD.replaceAll("'", "''")}'`);
      await sql(engine.port, 'GRANT ALL ON singlepoll_lease TO alice');
      return { engine, login: 'alice', path: '/postgres' };
    }
  }
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

for (const name of ['redis', 'postgres'] as const) {
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
      await until('heartbeats', () => run.stderr().split('\n').length > 12, run);
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
      await run.stop();
      assertNoSecret(run.stdout() + run.stderr(), 'the output');
      for (const path of filesUnder(b.stateDir)) assertNoSecret(readFileSync(path, 'latin1'), path);
    });

    it(`${name}: wrong, or of an engine out of reach, it is not shown either`, async (b) => {
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
});
