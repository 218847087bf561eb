// The password of a lease's engine is nobody's business: not of the log, the screen, the state folder, the worker.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { after, test } from 'node:test';
import { node } from '../support/bed.ts';
import { fileEngine, redisCommand, sql } from '../support/engines.ts';
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
  const at = text.search(WORDS);
  assert.equal(at, -1, `the password is in ${where}: ${text.slice(Math.max(0, at - 300), at + 100)}`);
}

/** The history is written by a shell, which outlives its supervisor for a moment: its file may be gone again. */
const filesUnder = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => !path.endsWith('.new') && statSync(path).isFile());

/** Engines that let `alice` in, by the password; the test's own calls go on as they are. */
const engines = { redis: await fileEngine('redis'), postgres: await leaseEngine('postgres') };
after(() => engines.postgres.close());
const digest = createHash('sha256').update(PASSWORD).digest('hex');
await redisCommand(engines.redis.port, 'ACL', 'SETUSER', 'alice', 'on', `#${digest}`, '~*', '&*', '+@all');
await sql(engines.postgres.port, `CREATE ROLE alice LOGIN PASSWORD '${PASSWORD.replaceAll("'", "''")}'`);
await sql(engines.postgres.port, 'GRANT ALL ON singlepoll_lease TO alice');

const urlOf = (name: keyof typeof engines, password = ENCODED, port = engines[name].port) =>
  `${name}://alice:${password}@127.0.0.1:${port}${name === 'postgres' ? '/postgres' : ''}`;

for (const name of ['redis', 'postgres'] as const) {
  test(`${name}: the password is nowhere, and the worker gets none`, async (t) => {
    const b = await leaseBed(t, engines[name]);
    await b.vacate();
    b.file('singlepoll.toml', `lease = "${urlOf(name)}"\n`);
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
    const wrong = { ...b.env, SINGLEPOLL_LEASE: urlOf(name, encodeURIComponent(`${PASSWORD}2`)) };
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
    const env = { ...b.env, SINGLEPOLL_LEASE: urlOf(name, ENCODED, 1) };
    const run = b.cli(['start', ...FAST, '--', ...SHOWN_ENV], { env });
    await run.waitFor(/out of reach/i);
    const status = await b.run(['status', '--json']);
    assert.match(status.stdout, /lease-unreachable/);
    assertNoSecret(run.stderr() + run.stdout() + status.stdout, 'the complaint');
  });
}

const WARNING = /password.*process lists.*env:NAME/i;

test('a password as a flag is warned of, and kept for reset alone, where only this user can read it; neither is shown', async (t) => {
  for (const warns of [true, false]) {
    const b = await leaseBed(t, engines.redis);
    await b.vacate();
    const url = urlOf('redis');
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
