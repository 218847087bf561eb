// The bot step: who the token is, refused tokens, an API out of reach; nothing is stopped or cleared before.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { type Bed, bed, node, PYTHON, randomToken, worker } from '../support/bed.ts';
import { assertNoToken } from '../support/judge.ts';
import { alive } from '../support/proc.ts';
import { until } from '../support/wait.ts';

/** A port of this machine at which nobody listens. */
async function closedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address ? address.port : 1;
}

async function strayThatPolls(b: Bed) {
  const stray = b.spawn(PYTHON, [worker('poller.py')], {
    env: { LEGACY_TOKEN: b.token, LEGACY_ROOT: b.sandbox.root },
  });
  await until('the stray to poll', () => b.sandbox.polls().length > 0);
  return stray;
}

test('bot: a token that Telegram refuses is 77, names its source, touches nothing', async (t) => {
  const b = await bed(t);
  const stray = await strayThatPolls(b);
  await b.sandbox.setWebhook('https://hooks.example.com/a');
  const wrong = randomToken(b.botId);
  const { TELEGRAM_BOT_TOKEN: _, ...env } = b.env;
  const result = await b.run(['start', '--', ...node('polite.mjs')], { env: { ...env, BOT_TOKEN: wrong } });
  assert.equal(result.code, 77, result.stderr);
  assert.match(result.stderr, /\bBOT_TOKEN\b/);
  assertNoToken(result.stderr, wrong);
  assert.equal(alive(stray.pid), true);
  assert.notEqual((await b.sandbox.webhookInfo()).url, '');
  assert.equal(b.journal().filter((entry) => entry.name === 'polite.mjs').length, 0);
});

test('bot: 404 at a wrong API root is 77 too', async (t) => {
  const b = await bed(t);
  const result = await b.run(['start', '--', ...node('polite.mjs')], {
    env: { ...b.env, TELEGRAM_API_ROOT: `${b.sandbox.root}/nowhere` },
  });
  assert.equal(result.code, 77, result.stderr);
});

test('bot: an API out of reach is 69 after announced retries, and nothing was touched', async (t) => {
  const b = await bed(t);
  const stray = await strayThatPolls(b);
  const begin = performance.now();
  const run = b.cli(['start', '--', ...node('polite.mjs')], {
    env: { ...b.env, TELEGRAM_API_ROOT: `http://127.0.0.1:${await closedPort()}` },
  });
  const exit = await run.exit(150_000);
  assert.equal(exit.code, 69, run.seen());
  assert.ok(performance.now() - begin > 1000, 'it has retried');
  assert.match(run.stderr(), /retr|again/i);
  assert.match(run.stderr(), /\d+ ?(ms|s|m)\b/, 'for a time that is announced');
  assertNoToken(run.stderr(), b.token);
  assert.equal(alive(stray.pid), true);
  assert.equal(b.journal().filter((entry) => entry.name === 'polite.mjs').length, 0);
});

test('bot: trouble that passes is lived through: 502 pages, resets, 429, garbage', async (t) => {
  const b = await bed(t);
  b.sandbox.raw.fault({ kind: 'html', method: 'getMe', status: 502, count: 1 });
  b.sandbox.raw.fault({ kind: 'reset', method: 'getMe', count: 1 });
  b.sandbox.raw.fault({ kind: 'retry-after', method: 'getMe', retryAfter: 1, count: 1 });
  b.sandbox.raw.fault({ kind: 'garbage', method: 'getMe', count: 1 });
  const run = await b.polling(['--', ...node('polite.mjs')], { ms: 60_000 });
  const first = b.sandbox.methods().findIndex((name) => name !== 'getme');
  assert.equal(first, 5, 'asked until it was answered, and nothing else before');
  assertNoToken(run.stderr(), b.token);
});

test('bot: SIGTERM while it retries ends it at once with 0', async (t) => {
  const b = await bed(t);
  const run = b.cli(['start', '--', ...node('polite.mjs')], {
    env: { ...b.env, TELEGRAM_API_ROOT: `http://127.0.0.1:${await closedPort()}` },
  });
  await until('its first words of retrying', () => /retr|again/i.test(run.stderr()), { seen: run.seen });
  run.signal('SIGTERM');
  const exit = await run.exit(3000);
  assert.equal(exit.code, 0, run.seen());
});

test('bot: a getMe that hangs does not hang start for ever', async (t) => {
  const b = await bed(t);
  b.sandbox.raw.fault({ kind: 'hang', method: 'getMe', count: 1 });
  await b.polling(['--', ...node('polite.mjs')], { ms: 60_000 });
});
