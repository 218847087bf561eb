// The steps of `start` in order, what is said of each, and what the worker gets.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allGone, bed, node } from '../support/bed.ts';
import { assertInOrder, assertNeverTwo, assertNoToken, handled } from '../support/judge.ts';
import { alive } from '../support/proc.ts';
import { legacyPoller, polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

interface ShownEnv {
  argv: string[];
  cwd: string;
  env: Record<string, string>;
  tokenLength: number;
  tokenId: string;
  pid: number;
  pgid: number;
  stdinIsTerminal: boolean;
  stdinDevice: number;
  stdinFile: boolean;
}

function shownEnv(stdout: string): ShownEnv {
  const line = stdout.split('\n').find((text) => text.startsWith('ENV '));
  assert.ok(line, stdout);
  return JSON.parse(line.slice(4)) as ShownEnv;
}

test('start: bot, lock, webhook, worker in this order, updates kept, no token said', async (t) => {
  const b = await bed(t);
  await b.sandbox.setWebhook('https://hooks.example.com/hidden-path-4711/x?key=k-4711');
  const ids = ['one', 'two', 'three'].map((text) => b.sandbox.text(text));
  const stray = legacyPoller(b, 'stray_bot.py');
  await until('the stray to try', () => b.sandbox.polls().length > 0);
  const run = b.cli(['start', '--', ...node('polite.mjs')]);
  // While the webhook is set nobody can poll: the stray is seen once it takes the poll from the worker.
  await allGone([stray.pid], 30_000);
  await until('every update to be handled', () => ids.every((id) => handled(b.journal()).has(id)), {
    seen: run.seen,
  });
  await until('the worker to poll', () => polledBy(b, 'polite.mjs').length > 0, { seen: run.seen });

  const me = await b.sandbox.call<{ username: string }>('getMe');
  const text = run.stderr();
  const first = text.split('\n')[0] ?? '';
  assert.match(first, new RegExp(`@${me.username}`));
  assert.match(first, new RegExp(String(b.botId)));
  assert.match(first, /TELEGRAM_BOT_TOKEN/);
  assertInOrder(text, [new RegExp(`@${me.username}`), /lock/i, /hooks\.example\.com/, /worker/i]);
  assert.match(text, new RegExp(`stopping pid ${stray.pid} `));
  assert.ok(!text.includes('4711'), `the secret of the webhook's path is shown:\n${text}`);
  assertNoToken(text + run.stdout(), b.token);
  const info = await b.sandbox.webhookInfo();
  assert.equal(info.url, '');
  run.signal('SIGTERM');
  assert.deepEqual(await run.exit(), { code: 0, signal: null }, run.seen());
});

test('start: a stray that holds the poll is asked for and stopped after the lock and before the worker', async (t) => {
  const b = await bed(t);
  const stray = legacyPoller(b, 'stray_bot.py');
  await until('the stray to poll', () => b.sandbox.polls().length > 0);
  const run = b.cli(['start', '--', ...node('polite.mjs')]);
  await until('the worker to poll', () => polledBy(b, 'polite.mjs').length > 0, { seen: run.seen });
  assert.equal(alive(stray.pid), false, 'the stray is gone');
  assertInOrder(run.stderr(), [
    /lock/i,
    /connected to the Bot API here: asking getUpdates once/,
    new RegExp(`stopping pid ${stray.pid} \\(.*proven`),
    /gone: 1 process/,
    /\[worker\]/,
  ]);
  assertNeverTwo(b, 'polite.mjs');
});

test('start: what the worker is given', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('prints-env.mjs', '--flag', 'a b', '', '$HOME', '--', '-x')]);
  await run.waitFor('ENV ');
  const shown = shownEnv(run.stdout());
  assert.deepEqual(shown.argv, ['--flag', 'a b', '', '$HOME', '--', '-x']);
  assert.equal(shown.cwd, b.project);
  assert.equal(shown.env.POLLING_ENABLED, '1');
  assert.match(shown.env.TELEGRAM_API_ROOT ?? '', /^http:\/\/127\.0\.0\.1:\d+$/, 'the gateway');
  assert.notEqual(shown.env.TELEGRAM_API_ROOT, b.sandbox.root);
  assert.equal(shown.env.PYTHONUNBUFFERED, '1');
  assert.equal(shown.env.SINGLEPOLL_BOT, String(b.botId));
  assert.match(shown.env.SINGLEPOLL_RUN ?? '', /\S{6,}/);
  assert.equal(shown.env.SINGLEPOLL_SPAWN, '1');
  assert.equal(shown.env.SP_TEST_COOKIE, b.cookie, 'everything that singlepoll got');
  assert.equal(shown.tokenLength, b.token.length);
  for (const name of Object.keys(shown.env)) assert.doesNotMatch(name, /^NODE_CHANNEL/);
  assert.equal(shown.pgid, shown.pid, 'a process group of its own');
  assert.equal(shown.stdinIsTerminal, false);
  assert.equal(shown.stdinFile, true, 'stdin is /dev/null');
});

test('start: a new SINGLEPOLL_RUN in each run, SINGLEPOLL_SPAWN counts within it', async (t) => {
  const b = await bed(t);
  const first = await b.polling(['--backoff', '10ms,50ms', '--', ...node('prints-env.mjs')]);
  await first.waitFor('ENV ');
  const before = shownEnv(first.stdout());
  process.kill(before.pid, 'SIGKILL');
  const lines = () =>
    first
      .stdout()
      .split('\n')
      .filter((line) => line.startsWith('ENV '));
  await until('the second spawn', () => lines().length === 2, { seen: first.seen });
  const after = shownEnv(lines()[1] ?? '');
  assert.equal(after.env.SINGLEPOLL_RUN, before.env.SINGLEPOLL_RUN);
  assert.equal(after.env.SINGLEPOLL_SPAWN, '2');
  first.signal('SIGTERM');
  await first.exit();
  const second = await b.polling(['--', ...node('prints-env.mjs')]);
  await second.waitFor('ENV ');
  const next = shownEnv(second.stdout());
  assert.notEqual(next.env.SINGLEPOLL_RUN, before.env.SINGLEPOLL_RUN);
  assert.equal(next.env.SINGLEPOLL_SPAWN, '1');
  assertNeverTwo(b);
});

test('start: dry run prints the strays with their proof and changes nothing', async (t) => {
  const b = await bed(t);
  const stray = legacyPoller(b, 'stray_bot.py');
  await until('the stray to poll', () => b.sandbox.polls().length > 0);
  await b.sandbox.setWebhook('https://hooks.example.com/hook');
  b.sandbox.text('kept');
  const result = await b.run(['start', '--dry-run', '--stray', 'stray_bot', '--', ...node('polite.mjs')]);
  assert.equal(result.code, 0, result.stderr);
  const text = result.stdout + result.stderr;
  assert.match(text, new RegExp(`would stop pid ${stray.pid} .*declared.*holds the token`));
  assert.match(text, /hooks\.example\.com/);
  assertNoToken(text, b.token);
  assert.equal(alive(stray.pid), true);
  assert.equal((await b.sandbox.webhookInfo()).url, 'https://hooks.example.com/hook');
  assert.ok(!b.sandbox.methods().includes('deletewebhook'));
  assert.ok(!b.journal().some((entry) => entry.name === 'polite.mjs'), 'no worker was started');
  const other = await b.run(['status', '--json']);
  assert.equal(other.code, 3, 'nothing runs');
});

test('start: heartbeat lines at the interval asked for', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--heartbeat', '300ms', '--', ...node('polite.mjs')]);
  await until('three heartbeats', () => run.stderr().split('[hb] alive offset=').length > 3, {
    ms: 10_000,
    seen: run.seen,
  });
});
