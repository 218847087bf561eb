// `reset`: the emergency. Survives a supervisor that hangs and one that died, takes strays, verifies, starts again.
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { allGone, bed, node } from '../support/bed.ts';
import { assertNeverTwo, assertNoToken } from '../support/judge.ts';
import { alive, findByEnv } from '../support/proc.ts';
import { legacyPoller, polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

for (const state of ['healthy', 'hung', 'died'] as const) {
  test(`reset: a supervisor that is ${state}; the last command runs again`, async (t) => {
    const b = await bed(t);
    const old = await b.polling(['--stop-timeout', '2s', '--', ...node('polite.mjs')]);
    const workers = polledBy(b, 'polite.mjs');
    if (state === 'hung') old.signal('SIGSTOP');
    if (state === 'died') old.signal('SIGKILL');
    const next = b.cli(['reset', '--stop-timeout', '2s']);
    await until(
      'a new worker to poll',
      () => polledBy(b, 'polite.mjs').some((pid) => !workers.includes(pid)),
      {
        ms: 40_000,
        seen: next.seen,
      },
    );
    assert.equal(alive(old.pid), false, 'the old supervisor is gone');
    await allGone(workers);
    const status = await b.run(['status', '--json']);
    assert.equal(status.code, 0, status.stdout);
    assertNoToken(next.stdout() + next.stderr() + status.stdout, b.token);
    assertNeverTwo(b);
    if (state === 'healthy') assert.equal((await old.exit()).code, 0, old.seen());
  });
}

test('reset: with a command given that one runs, the last one does not', async (t) => {
  const b = await bed(t);
  await b.polling(['--', ...node('polite.mjs')]);
  const before = polledBy(b, 'polite.mjs').length;
  const next = b.cli(['reset', '--', ...node('retries-on-409.mjs')]);
  await until('the given worker', () => polledBy(b, 'retries-on-409.mjs').length === 1, { seen: next.seen });
  assert.equal(polledBy(b, 'polite.mjs').length, before);
});

test('reset --no-start: supervisor, worker, strays and webhook are gone, exit 0, nothing is left', async (t) => {
  const b = await bed(t);
  const old = await b.polling(['--stop-timeout', '2s', '--', ...node('setsid-child.mjs')]);
  old.signal('SIGSTOP');
  const stray = legacyPoller(b, 'production_polling_bot.py');
  await until('the stray to poll', () => polledBy(b, 'production_polling_bot.py').length > 0);
  await b.sandbox.setWebhook('https://hooks.example.com/s3cret-path-4711');
  const pending = (await b.sandbox.webhookInfo()).pending_update_count;
  const result = await b.run(['reset', '--no-start', '--stop-timeout', '2s'], { ms: 60_000 });
  assert.equal(result.code, 0, result.stderr);
  const text = result.stdout + result.stderr;
  // The hung one may wake at the SIGTERM and stop the stray itself on its way out: either says so.
  assert.match(text + old.stderr(), new RegExp(`\\b${stray.pid}\\b`));
  assert.doesNotMatch(text, /4711/);
  assertNoToken(text, b.token);
  assert.equal(alive(old.pid), false);
  assert.equal(alive(stray.pid), false);
  assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
  const info = await b.sandbox.webhookInfo();
  assert.equal(info.url, '');
  assert.equal(info.pending_update_count, pending, 'updates are kept');
  assert.equal((await b.run(['status'])).code, 3);
});

test('reset --no-start where nothing runs is 0', async (t) => {
  const b = await bed(t);
  const result = await b.run(['reset', '--no-start']);
  assert.equal(result.code, 0, result.stderr);
});

test('reset: without a last start and without a command it is 78 and shows how', async (t) => {
  const b = await bed(t);
  const result = await b.run(['reset']);
  assert.equal(result.code, 78, result.stderr);
});

test('reset: from another folder the last command runs in its own folder again; flags mean files of this folder', async (t) => {
  const b = await bed(t);
  const old = await b.polling(['--', ...node('prints-env.mjs')]);
  old.signal('SIGKILL');
  writeFileSync(join(b.dir, 'here.env'), 'FROM_HERE=yes\n');
  const next = b.cli(['reset', '--env-file', 'here.env', '--log-file', 'here.log'], { cwd: b.dir });
  await until('the worker', () => next.stdout().includes('ENV '), { ms: 40_000, seen: next.seen });
  const shown = next.stdout().split('ENV ')[1]?.split('\n')[0] ?? '';
  assert.equal(JSON.parse(shown).cwd, b.project);
  assert.match(shown, /"FROM_HERE":"yes"/);
  assert.ok(existsSync(join(b.dir, 'here.log')));
});
