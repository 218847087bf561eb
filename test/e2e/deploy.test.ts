// Deploy mode: POLLING_ENABLED other than exactly `1`. The worker runs supervised, nobody polls, nothing is touched.
import assert from 'node:assert/strict';
import { type Bed, node, PYTHON, worker } from '../support/bed.ts';
import { starts } from '../support/judge.ts';
import { it } from '../support/kinds.ts';
import { alive } from '../support/proc.ts';
import { assertStatusShape } from '../support/status.ts';
import { pollingStray } from '../support/strays.ts';
import { until } from '../support/wait.ts';

const INIT = '[INIT] Polling disabled by env (POLLING_ENABLED!=1)';
const off = (b: Bed, value = '0') => ({ env: { ...b.env, POLLING_ENABLED: value } });

it('any value but exactly 1: the worker is told 0, Telegram is asked nothing, webhook and strays stay; a crash loop is one', async (b) => {
  const stray = await pollingStray(b, 'poller.py');
  await b.sandbox.setWebhook('https://hooks.example.com/a');
  const asked = () => b.sandbox.requests().filter(({ userAgent }) => !userAgent.includes('poller.py')).length;
  const before = asked();
  for (const value of ['0', 'true', '', ' 1', '01']) {
    const run = b.start(['--', ...node('prints-env.mjs')], off(b, value));
    await run.waitFor('ENV ');
    assert.match(
      run.stderr(),
      new RegExp(`^\\[bot\\] bot ${b.botId}, token from TELEGRAM_BOT_TOKEN in the env`),
    );
    await run.waitFor(`${INIT}\n[INIT] deploy mode: the worker runs, nobody polls`);
    const { env } = JSON.parse(run.stdout().split('ENV ')[1]?.split('\n')[0] ?? '');
    assert.equal(env.POLLING_ENABLED, '0', 'the worker is told so plainly');
    if (value === 'true') assert.match(run.stderr(), /true[\s\S]*only.*1|only.*1[\s\S]*true/i);
    await run.stop();
  }
  const crash = ['--max-restarts', '2/1m', '--backoff', '10ms,20ms', '--', ...node('exits.mjs', '5')];
  await b.exits(5, ['start', ...crash], off(b));
  assert.equal(starts(b.journal()).filter(({ name }) => name === 'exits.mjs').length, 3);
  assert.equal(asked(), before, 'Telegram is asked nothing');
  assert.ok(alive(stray.pid));
  assert.equal((await b.sandbox.webhookInfo()).url, 'https://hooks.example.com/a');
});

it('needs no token, takes the setting from the env file too; status says disabled and healthy, exit 0', async (b) => {
  const { TELEGRAM_BOT_TOKEN: _, ...env } = b.env;
  b.file('.env', 'POLLING_ENABLED=0\n');
  const run = b.start([], { env });
  await run.waitFor(INIT);
  await until('the worker', () => starts(b.journal()).length === 1, run);
  assert.deepEqual(b.sandbox.requests(), []);
  const status = JSON.parse((await b.exits(0, 'status --json', { env })).stdout);
  assertStatusShape(status);
  assert.deepEqual([status.state, status.healthy, status.supervisor.pid], ['disabled', true, run.pid]);
  // An empty variable as the name is not the bot that has none.
  for (const name of ['', '@']) await b.exits(64, ['stop', name], { env });
  assert.equal(run.ended(), null);
  await b.exits(0, 'stop', { env });
  await run.ends(0);
});

it('needs no lock: beside a polling supervisor of the same bot, and twice; nobody takes its worker for a stray', async (b) => {
  const first = b.start(['--', ...node('prints-env.mjs')], off(b));
  await first.waitFor('ENV ');
  const { pid } = JSON.parse(first.stdout().split('ENV ')[1]?.split('\n')[0] ?? '');
  const polling = await b.polling();
  const second = b.start(['--', 'sh', '-c', 'echo second up; exec sleep 1000'], off(b));
  await second.waitFor('second up');
  // A look for strays before the next worker.
  await b.exits(0, `restart --bot ${b.botId}`);
  assert.ok(alive(pid), first.seen());
  for (const it of [polling, first, second]) {
    assert.equal(it.ended(), null);
    await it.stop();
  }
});

it('a worker that polls all the same is named, with its supervisor, by start, reset and who --probe; it is not stopped', async (b) => {
  const deployed = b.start(['--', PYTHON, worker('poller.py')], off(b));
  await until('a poll', () => b.sandbox.polls().length > 0, deployed);
  const words = new RegExp(
    `deploy mode\\): pid ${deployed.pid}, with worker pid \\d+ [\\s\\S]*→ kill ${deployed.pid} `,
  );
  assert.match((await b.exits(75, 'reset --no-start')).stderr, words);
  assert.match((await b.exits(75, ['start', '--', ...node('polite.mjs')])).stderr, words);
  const probed = await b.exits(1, `who --bot ${b.botId} --probe=12`);
  assert.match(probed.stdout, /^may poll: pid \d+ .*poller\.py/m);
  assert.doesNotMatch(probed.stdout, /elsewhere \(/, 'nobody is told to look on other machines');
  assert.equal(deployed.ended(), null);
  await deployed.stop();
});
