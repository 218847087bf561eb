// Strays by what their process is: daemons, masters with workers, leftovers; all go with their trees, also many at once.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { allGone, type Bed, bed, node, PYTHON, worker } from '../support/bed.ts';
import { assertNoToken, handled } from '../support/judge.ts';
import { alive } from '../support/proc.ts';
import { legacyPoller, orphanedGunicorn, polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

/** After `start`, the worker alone polls: none of `strays` lives, and no poll of another comes in. */
async function onlyTheWorkerPolls(b: Bed, strays: readonly number[], args: string[] = []): Promise<string> {
  const run = b.cli(['start', '--stop-timeout', '3s', ...args, '--', ...node('polite.mjs')]);
  // One at a time holds the poll: the others go while the worker runs, each at its own next one.
  await allGone(strays, 90_000);
  await until('the worker to poll', () => polledBy(b, 'polite.mjs').length === 1, {
    ...{ ms: 60_000, seen: run.seen },
  });
  const pid = polledBy(b, 'polite.mjs')[0];
  const before = b.sandbox.polls().length;
  const id = b.sandbox.text('after');
  await until('the worker to get the update', () => handled(b.journal()).has(id), { seen: run.seen });
  await staysTrue('only the worker polls', 1500, () =>
    b.sandbox
      .polls()
      .slice(before)
      .every((poll) => poll.pid === pid),
  );
  assert.equal(run.ended(), null, run.seen());
  assertNoToken(run.stderr(), b.token);
  return run.stderr();
}

test('guilty: all kinds together, none needs a pattern', async (t) => {
  const b = await bed(t);
  const other = join(b.dir, 'elsewhere');
  const fromEnvFile = join(b.dir, 'with-env-file');
  for (const folder of [other, fromEnvFile]) mkdirSync(folder);
  writeFileSync(join(fromEnvFile, '.env'), `LEGACY_TOKEN=${b.token}\nLEGACY_ROOT=${b.sandbox.root}\n`);
  const names = ['production_polling_bot.py', 'working_polling_bot.py', 'simple_polling_bot.py'];
  const direct = [
    ...names.map((name) => legacyPoller(b, name)),
    legacyPoller(b, 'stubborn_bot.py', { args: ['--ignore-term'] }),
    legacyPoller(b, 'env_file_bot.py', { args: ['--env-file'], cwd: fromEnvFile, env: {} }),
    legacyPoller(b, 'elsewhere_bot.py', { cwd: other }),
  ];
  legacyPoller(b, 'daemon_bot.py', { args: ['--daemonise'] });
  const gunicorn = await orphanedGunicorn(b, join(b.dir, 'web'), b.token, 2);
  const polled = [
    ...names,
    'stubborn_bot.py',
    'env_file_bot.py',
    'elsewhere_bot.py',
    'daemon_bot.py',
    'app.py',
  ];
  await until('all to poll', () => polled.every((name) => polledBy(b, name).length > 0), { ms: 30_000 });
  const daemon = polledBy(b, 'daemon_bot.py');
  const all = [...direct.map((run) => run.pid), ...daemon, ...gunicorn];
  assert.equal(all.length, 6 + 1 + 3);
  const text = await onlyTheWorkerPolls(b, all);
  for (const pid of [...direct.map((run) => run.pid), ...daemon]) {
    assert.match(text, new RegExp(`\\b${pid}\\b`), 'each is named');
  }
  assert.ok(
    gunicorn.some((pid) => new RegExp(`\\b${pid}\\b`).test(text)),
    'gunicorn is named',
  );
});

test('guilty: --stray-scope any reaches a poller in another folder that holds no visible token', async (t) => {
  const b = await bed(t);
  const other = join(b.dir, 'elsewhere');
  mkdirSync(other);
  const name = `bot_${b.cookie}.py`;
  const source = readFileSync(worker('poller.py'), 'utf8')
    .replace(/^token = .*$/m, `token = "${b.token}"`)
    .replace(/^root = .*$/m, `root = "${b.sandbox.root}"`);
  writeFileSync(join(other, name), source);
  const stray = b.spawn(PYTHON, [name], { cwd: other });
  await until('it to poll', () => polledBy(b, name).length === 1);
  await onlyTheWorkerPolls(b, [stray.pid], ['--stray', `bot_${b.cookie}`, '--stray-scope', 'any']);
});

test('guilty: what a killed supervisor left in another session, ignoring nothing but its parent', async (t) => {
  const b = await bed(t);
  const first = b.cli(['start', '--', ...node('forks-and-stays.mjs')]);
  await until('the daemonised grandchild to poll', () => polledBy(b, 'polite.mjs').length > 0, {
    seen: first.seen,
  });
  first.signal('SIGKILL');
  const left = polledBy(b, 'polite.mjs');
  const next = b.cli(['start', '--', ...node('retries-on-409.mjs')]);
  await until('the new worker to poll', () => polledBy(b, 'retries-on-409.mjs').length === 1, {
    seen: next.seen,
  });
  for (const pid of left) assert.equal(alive(pid), false, 'gone before the new one polled');
  assert.match(next.stderr(), /\bown\b/);
});

test('guilty: without a gateway a late stray kills a worker that ends on 409; it is stopped, and a worker stays', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--no-gateway', '--', ...node('ends-on-409.mjs')]);
  const stray = legacyPoller(b, 'late_bot.py');
  await allGone([stray.pid], 60_000);
  const id = b.sandbox.text('after');
  await until('the update', () => b.journal().some((entry) => entry.id === id), {
    ...{ ms: 60_000, seen: run.seen },
  });
  assert.equal(run.ended(), null, run.seen());
});

test('guilty: a child of a stray in another session goes with it', async (t) => {
  const b = await bed(t);
  const run = b.spawn(process.execPath, [worker('setsid-child.mjs')], {
    env: { TELEGRAM_BOT_TOKEN: b.token, TELEGRAM_API_ROOT: b.sandbox.root },
  });
  const children = await until('its children', () => {
    const line = b.journal().find((entry) => entry.text?.startsWith('children'))?.text;
    return line?.split(' ').slice(1).map(Number);
  });
  assert.equal(children.length, 2);
  await onlyTheWorkerPolls(b, [run.pid, ...children]);
});
