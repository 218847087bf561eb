// Real libraries and a gunicorn app through `start` on the stand-in: killed, another takes over; deploy mode serves and never polls. What a
// bot does all day is in gateway-bots.test.ts.
import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bed, botFixture, PYTHON, worker } from '../support/bed.ts';
import { findByEnv } from '../support/proc.ts';
import { freePort } from '../support/strays.ts';
import { until } from '../support/wait.ts';

for (const [name, command] of [
  ['grammY', [process.execPath, botFixture('grammy.mjs')]],
  ['Telegraf', [process.execPath, botFixture('telegraf.mjs')]],
  ['node-telegram-bot-api', [process.execPath, botFixture('ntba.mjs')]],
  ['python-telegram-bot', [PYTHON, botFixture('ptb.py')]],
] as const)
  test(`${name} killed: another takes over and answers`, async (t) => {
    const b = await bed(t);
    await b.sandbox.setWebhook('https://hooks.example.com/a');
    const run = await b.polling(['--backoff', '10ms,100ms', '--', ...command], { ms: 60_000 });
    process.kill((await b.status()).worker?.pid ?? -1, 'SIGKILL');
    b.sandbox.text('/ping');
    const isAnswered = () => b.sandbox.sentTexts().includes('pong');
    await until('the answer of the next one', isAnswered, { ms: 60_000, seen: run.seen });
    assert.equal((await b.status()).worker?.spawns, 2);
  });

for (const polling of ['1', '0'])
  test(`gunicorn with a polling thread, POLLING_ENABLED=${polling}: serves, polls only if asked, stops with its workers`, async (t) => {
    const b = await bed(t);
    copyFileSync(worker('gunicorn/app.py'), join(b.project, 'app.py'));
    const port = await freePort();
    const command = ['--', 'gunicorn', 'app:app', '--workers=1', '--bind', `127.0.0.1:${port}`];
    const run = b.start(command, { env: { ...b.env, POLLING_ENABLED: polling } });
    const page = () =>
      fetch(`http://127.0.0.1:${port}/`).then(
        (answer) => answer.text(),
        () => '',
      );
    assert.equal(await until('the page', page, run), `polling=${polling}`);
    if (polling === '1') {
      await b.serves(run);
      assert.ok(((await b.status()).worker?.tree.length ?? 0) >= 2, 'master and worker');
    } else assert.equal(b.sandbox.requests().length, 0);
    run.signal('SIGTERM');
    await run.ends(0);
    assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
  });
