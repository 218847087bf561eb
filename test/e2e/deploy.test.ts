// Deploy mode: POLLING_ENABLED other than exactly `1`. The worker runs supervised, nobody polls, nothing is touched.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bed, node, PYTHON, worker } from '../support/bed.ts';
import { starts } from '../support/judge.ts';
import { alive } from '../support/proc.ts';
import { assertStatusShape } from '../support/status.ts';
import { staysTrue, until } from '../support/wait.ts';

const INIT = '[INIT] Polling disabled by env (POLLING_ENABLED!=1)';

for (const value of ['0', 'true', '', 'on', 'yes', ' 1', '01', 'false']) {
  test(`deploy: POLLING_ENABLED=${JSON.stringify(value)}`, async (t) => {
    const b = await bed(t);
    const stray = b.spawn(PYTHON, [worker('poller.py')], {
      env: { LEGACY_TOKEN: b.token, LEGACY_ROOT: b.sandbox.root },
    });
    await until('the stray to poll', () => b.sandbox.polls().length > 0);
    await b.sandbox.setWebhook('https://hooks.example.com/a');
    const before = b.sandbox.requests().length;
    const run = b.cli(['start', '--', ...node('prints-env.mjs')], {
      env: { ...b.env, POLLING_ENABLED: value },
    });
    await run.waitFor('ENV ');
    await run.waitFor(INIT);
    const shown = JSON.parse(run.stdout().split('ENV ')[1]?.split('\n')[0] ?? '') as {
      env: Record<string, string>;
    };
    assert.equal(shown.env.POLLING_ENABLED, '0', 'the worker is told so plainly');
    if (['true', 'on', 'yes'].includes(value)) {
      assert.match(run.stderr(), new RegExp(`${value}[^]*only.*1|only.*1[^]*${value}`, 'i'));
    }
    const asked = () =>
      b.sandbox
        .requests()
        .slice(before)
        .filter((request) => !request.userAgent.includes('poller.py'));
    await staysTrue(
      'Telegram is asked nothing and the stray lives',
      600,
      () => asked().length === 0 && alive(stray.pid),
    );
    run.signal('SIGTERM');
    assert.equal((await run.exit()).code, 0, run.seen());
    assert.equal((await b.sandbox.webhookInfo()).url, 'https://hooks.example.com/a');
    assert.ok(alive(stray.pid));
  });
}

test('deploy: needs no token, and takes the setting from the env file too', async (t) => {
  const b = await bed(t);
  const { TELEGRAM_BOT_TOKEN: _, ...env } = b.env;
  b.file('.env', 'POLLING_ENABLED=0\n');
  const run = b.cli(['start', '--', ...node('polite.mjs')], { env });
  await run.waitFor(INIT);
  await until('the worker', () => starts(b.journal()).length === 1, { seen: run.seen });
  assert.deepEqual(b.sandbox.requests(), []);
  run.signal('SIGINT');
  assert.equal((await run.exit()).code, 0);
});

test('deploy: needs no lock: beside a polling supervisor of the same bot, and twice', async (t) => {
  const b = await bed(t);
  const polling = await b.polling(['--', ...node('polite.mjs')]);
  const off = { env: { ...b.env, POLLING_ENABLED: '0' } };
  const first = b.cli(['start', '--', 'sh', '-c', 'echo first up; exec sleep 1000'], off);
  const second = b.cli(['start', '--', 'sh', '-c', 'echo second up; exec sleep 1000'], off);
  await first.waitFor('first up');
  await second.waitFor('second up');
  const worker = starts(b.journal())[0]?.pid ?? -1;
  await staysTrue(
    'all three run',
    500,
    () => !polling.ended() && !first.ended() && !second.ended() && alive(worker),
  );
});

test('deploy: the worker is restarted, and given up on a crash loop with its code', async (t) => {
  const b = await bed(t);
  const off = { env: { ...b.env, POLLING_ENABLED: '0' } };
  const result = await b.run(
    ['start', '--max-restarts', '2/1m', '--backoff', '10ms,20ms', '--', ...node('exits.mjs', '5')],
    off,
  );
  assert.equal(result.code, 5, result.stderr);
  assert.equal(starts(b.journal()).length, 3);
});

test('deploy: status says disabled and healthy, exit 0', async (t) => {
  const b = await bed(t);
  const off = { env: { ...b.env, POLLING_ENABLED: '0' } };
  const run = b.cli(['start', '--', 'sh', '-c', 'echo up; exec sleep 1000'], off);
  await run.waitFor('up\n');
  const result = await b.run(['status', '--json'], off);
  const status = JSON.parse(result.stdout);
  assertStatusShape(status);
  assert.equal(status.state, 'disabled');
  assert.equal(status.healthy, true);
  assert.equal(result.code, 0, result.stdout);
  assert.equal(status.supervisor.pid, run.pid);
  const stop = await b.run(['stop'], off);
  assert.equal(stop.code, 0, stop.stderr);
  assert.equal((await run.exit()).code, 0);
});

test('deploy: a polling supervisor of the same bot leaves the worker of a deploy-mode one alone', async (t) => {
  const b = await bed(t);
  const deployed = b.cli(['start', '--', ...node('prints-env.mjs')], {
    env: { ...b.env, POLLING_ENABLED: '0' },
  });
  await deployed.waitFor('ENV ');
  const { pid } = JSON.parse(deployed.stdout().split('ENV ')[1]?.split('\n')[0] ?? '') as { pid: number };
  const run = await b.polling(['--', ...node('polite.mjs')]);
  await staysTrue('the deployed worker lives', 1_000, () => alive(pid));
  for (const it of [run, deployed]) {
    it.signal('SIGTERM');
    assert.equal((await it.exit()).code, 0, it.seen());
  }
});
