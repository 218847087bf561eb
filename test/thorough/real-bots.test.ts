// Real libraries and a gunicorn app through `start` on the stand-in: each polls, answers /ping, stops cleanly.
import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bed, botFixture, PYTHON, worker } from '../support/bed.ts';
import { assertNoToken } from '../support/judge.ts';
import { findByEnv } from '../support/proc.ts';
import { freePort } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

const BOTS: [string, string[]][] = [
  ['grammY', [process.execPath, botFixture('grammy.mjs')]],
  ['Telegraf', [process.execPath, botFixture('telegraf.mjs')]],
  ['node-telegram-bot-api', [process.execPath, botFixture('ntba.mjs')]],
  ['python-telegram-bot', [PYTHON, botFixture('ptb.py')]],
];

for (const [name, command] of BOTS) {
  test(`real bots: ${name} polls, answers /ping, stops cleanly`, async (t) => {
    const b = await bed(t);
    await b.sandbox.setWebhook('https://hooks.example.com/a');
    b.sandbox.text('/ping');
    const run = await b.polling(['--', ...command], { ms: 30_000 });
    await until('the answer', () => b.sandbox.sentTexts().includes('pong'), { ms: 30_000, seen: run.seen });
    const conflicts = () => b.sandbox.polls().filter((poll) => poll.status === 409).length;
    assert.equal(conflicts(), 0);
    b.sandbox.text('again');
    await until('a second answer', () => b.sandbox.sentTexts().includes('echo again'), { seen: run.seen });
    assert.equal((await b.status()).worker?.spawns, 1, run.seen());
    run.signal('SIGTERM');
    assert.equal((await run.exit(25_000)).code, 0, run.seen());
    assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
    assertNoToken(run.stdout() + run.stderr(), b.token);
  });

  test(`real bots: ${name} killed: another takes over and answers`, async (t) => {
    const b = await bed(t);
    const run = await b.polling(['--backoff', '10ms,100ms', '--', ...command], { ms: 30_000 });
    const pid = (await b.status()).worker?.pid;
    assert.ok(pid);
    process.kill(pid, 'SIGKILL');
    b.sandbox.text('/ping');
    await until('the answer of the next one', () => b.sandbox.sentTexts().includes('pong'), {
      ms: 30_000,
      seen: run.seen,
    });
    assert.equal((await b.status()).worker?.spawns, 2);
  });
}

test('real bots: gunicorn with a polling thread serves and polls, then stops with its workers', async (t) => {
  const b = await bed(t);
  copyFileSync(worker('gunicorn/app.py'), join(b.project, 'app.py'));
  const port = await freePort();
  const run = await b.polling(['--', 'gunicorn', 'app:app', '--workers=1', '--bind', `127.0.0.1:${port}`]);
  b.sandbox.text('/ping');
  await until('the answer', () => b.sandbox.sentTexts().includes('pong'), { seen: run.seen });
  assert.equal(await (await fetch(`http://127.0.0.1:${port}/`)).text(), 'polling=1');
  assert.ok(((await b.status()).worker?.tree.length ?? 0) >= 2, 'master and worker');
  run.signal('SIGTERM');
  assert.equal((await run.exit()).code, 0, run.seen());
  assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
});

test('real bots: the same gunicorn in deploy mode serves and never polls', async (t) => {
  const b = await bed(t);
  copyFileSync(worker('gunicorn/app.py'), join(b.project, 'app.py'));
  const port = await freePort();
  const run = b.cli(['start', '--', 'gunicorn', 'app:app', '--workers=1', '--bind', `127.0.0.1:${port}`], {
    env: { ...b.env, POLLING_ENABLED: '0' },
  });
  const page = await until(
    'the page',
    () =>
      fetch(`http://127.0.0.1:${port}/`).then(
        (r) => r.text(),
        () => '',
      ),
    {
      seen: run.seen,
    },
  );
  assert.equal(page, 'polling=0');
  await staysTrue('nobody polls', 700, () => b.sandbox.requests().length === 0);
  run.signal('SIGTERM');
  assert.equal((await run.exit()).code, 0);
});
