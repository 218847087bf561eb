// A gunicorn app through `start` on the stand-in; deploy mode serves and never polls. What a bot does all day is in gateway-bots.test.ts.
import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { worker } from '../support/bed.ts';
import { xit } from '../support/kinds.ts';
import { findByEnv } from '../support/proc.ts';
import { freePort } from '../support/strays.ts';
import { until } from '../support/wait.ts';

for (const polling of ['1', '0'])
  xit(`gunicorn with a polling thread, POLLING_ENABLED=${polling}: serves, polls only if asked, stops with its workers`, async (b) => {
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
    await run.stop();
    assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
  });
