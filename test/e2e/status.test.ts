// `status`, `stop`, `restart`: shapes and exit codes in every state.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Bed, bed, node, PYTHON } from '../support/bed.ts';
import { assertNeverTwo, assertNoControls, assertNoToken, starts } from '../support/judge.ts';
import { alive, findByEnv } from '../support/proc.ts';
import { assertStatusShape, type Status } from '../support/status.ts';
import { legacyPoller, polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

async function look(b: Bed): Promise<{ status: Status; code: number | null }> {
  const result = await b.run(['status', '--json']);
  assertNoToken(result.stdout + result.stderr, b.token);
  assert.equal(result.stdout.trim().split('\n').length >= 1, true);
  const status = JSON.parse(result.stdout) as Status;
  assertStatusShape(status);
  assert.equal(result.code === 0, status.healthy && status.state !== 'stopped', result.stdout);
  return { status, code: result.code };
}

test('status: stopped is 3, with bot and webhook all the same', async (t) => {
  const b = await bed(t);
  await b.sandbox.setWebhook('https://hooks.example.com/s3cret-path-4711');
  b.sandbox.text('waits');
  const { status, code } = await look(b);
  assert.equal(code, 3);
  assert.equal(status.state, 'stopped');
  assert.equal(status.bot?.id, b.botId);
  assert.equal(status.supervisor, null);
  assert.equal(status.worker, null);
  assert.equal(status.polling, null);
  assert.match(status.webhook?.url ?? '', /hooks\.example\.com/);
  assert.doesNotMatch(JSON.stringify(status), /4711/, 'the secret in the path is masked');
  assert.equal(status.webhook?.pendingUpdates, 1);
  const plain = await b.run(['status']);
  assert.equal(plain.code, 3);
  assert.match(plain.stdout, /not running\n {2}→ singlepoll start -- COMMAND\n/);
  assertNoControls(plain.stdout);
});

test('status: polling is 0, everything filled in', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('setsid-child.mjs')]);
  await until('its children', () => b.journal().some((entry) => entry.text?.startsWith('children')));
  const { status, code } = await until(
    'the state polling',
    async () => {
      const seen = await look(b);
      return seen.status.state === 'polling' ? seen : null;
    },
    { ms: 30_000, everyMs: 200 },
  );
  assert.equal(code, 0, JSON.stringify(status));
  const me = await b.sandbox.call<{ username: string }>('getMe');
  assert.deepEqual(status.bot, { id: b.botId, username: me.username });
  assert.equal(status.supervisor?.pid, run.pid);
  assert.equal(status.supervisor?.cwd, b.project);
  assert.deepEqual(status.supervisor?.command, node('setsid-child.mjs'));
  assert.ok(Math.abs(Date.parse(status.supervisor?.startedAt ?? '') - Date.now()) < 60_000);
  const [pid] = polledBy(b, 'setsid-child.mjs');
  assert.equal(status.worker?.pid, pid);
  assert.equal(status.worker?.spawns, 1);
  assert.equal(status.worker?.restarts, 0);
  assert.equal(status.worker?.lastExit, null);
  assert.equal(status.worker?.tree.length, 3, 'the worker and both of its children, sessions or not');
  assert.equal(status.polling?.via, 'gateway');
  assert.deepEqual(status.polling?.pollers, [{ pid, role: 'owner' }]);
  assert.equal(status.webhook?.url, '');
  assert.deepEqual(status.strays, []);
  assert.deepEqual(status.problems, []);
  assert.equal(status.healthy, true);
  const plain = await b.run(['status']);
  assert.equal(plain.code, 0);
  assert.match(plain.stdout, new RegExp(`@${me.username}`));
  assert.match(plain.stdout, new RegExp(`\\b${pid}\\b`));
  assertNoControls(plain.stdout);
  assertNoToken(plain.stdout, b.token);
  assert.equal(plain.stderr, '', 'the answer is on stdout');
});

test('status: a worker that keeps dying is degraded, 1; restarts are counted, the exit is remembered', async (t) => {
  const b = await bed(t);
  const run = b.cli(['start', '--backoff', '20s,30s', '--', ...node('exits.mjs', '4')]);
  await until('its death', () => starts(b.journal()).length >= 1, { seen: run.seen });
  const { status, code } = await until('the backoff', async () => {
    const seen = await look(b);
    return seen.status.state === 'backoff' ? seen : null;
  });
  assert.equal(code, 1);
  assert.equal(status.worker?.lastExit?.code, 4);
  assert.ok((status.worker?.restarts ?? 0) >= 1);
  assert.ok(status.problems.length > 0);
});

test('status: a stray beside nobody is shown with its grade and proof', async (t) => {
  const b = await bed(t);
  const stray = legacyPoller(b, 'production_polling_bot.py');
  await until('it to poll', () => polledBy(b, 'production_polling_bot.py').length > 0);
  const { status, code } = await look(b);
  assert.equal(code, 3);
  const shown = status.strays?.find(({ pid }) => pid === stray.pid);
  assert.ok(shown, JSON.stringify(status.strays));
  assert.equal(shown.grade, 'likely', 'nobody was asked whether it polls');
  assert.ok(shown.proof.length >= 2, String(shown.proof));
  assert.equal(shown.cwd, b.project);
  assert.match(shown.command, /production_polling_bot\.py/);
  assert.match(shown.command, new RegExp(PYTHON.split('/').pop() ?? ''));
});

test('status: works while Telegram is out of reach', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('polite.mjs')]);
  const env = { ...b.env, TELEGRAM_API_ROOT: 'http://127.0.0.1:1' };
  const result = await b.run(['status', '--json'], { env, ms: 15_000 });
  const status = JSON.parse(result.stdout) as Status;
  assertStatusShape(status);
  assert.equal(status.supervisor?.pid, run.pid);
});

test('stop: says what it stopped, 0; a second one says that nothing runs, 0 as well', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('setsid-child.mjs')]);
  const stop = await b.run(['stop']);
  assert.equal(stop.code, 0, stop.stderr);
  assert.match(stop.stdout + stop.stderr, new RegExp(`\\b${run.pid}\\b`));
  assert.equal((await run.exit()).code, 0, run.seen());
  assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
  const again = await b.run(['stop']);
  assert.equal(again.code, 0);
  assert.match(again.stdout + again.stderr, /not|no |nothing/i);
});

test('restart: a new worker, the old one asked gracefully, the same supervisor and lock', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('polite.mjs')]);
  const [old] = polledBy(b, 'polite.mjs');
  const result = await b.run(['restart']);
  assert.equal(result.code, 0, result.stderr);
  await until('the new worker', () => polledBy(b, 'polite.mjs').length === 2, { seen: run.seen });
  assert.equal(alive(old ?? -1), false);
  assert.ok(b.journal().some((entry) => entry.pid === old && entry.signal === 'SIGTERM'));
  assert.equal((await b.status()).supervisor?.pid, run.pid);
  assertNeverTwo(b);
});

test('restart: many at once, from anywhere, end with one worker; with nothing running it is no success', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('polite.mjs')]);
  const anywhere = { cwd: '/', env: { ...b.env, HOME: '/' } };
  await Promise.all(Array.from({ length: 6 }, () => b.run(['restart'], anywhere)));
  await until('polling again', async () => (await b.status()).state === 'polling', {
    ms: 30_000,
    everyMs: 200,
    seen: run.seen,
  });
  assertNeverTwo(b);
  await b.run(['stop']);
  const result = await b.run(['restart']);
  assert.notEqual(result.code, 0);
});
