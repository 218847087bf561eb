// singlepoll called from inside: from its own worker, and from shells that carry a worker's variables.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bed, node } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { assertNeverTwo } from '../support/judge.ts';
import { alive, findByEnv } from '../support/proc.ts';
import { polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

test('nested: a worker that runs `restart` is replaced, the supervisor stays', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('restarts-itself.mjs', PROGRAM, 'restart')]);
  b.sandbox.text('/admin');
  await until('another worker', () => polledBy(b, 'restarts-itself.mjs').length === 2, { seen: run.seen });
  assert.equal(run.ended(), null, run.seen());
  assertNeverTwo(b, 'restarts-itself.mjs');
});

test('nested: a worker that runs `stop` ends everything, 0', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('restarts-itself.mjs', PROGRAM, 'stop')]);
  b.sandbox.text('/admin');
  assert.equal((await run.exit()).code, 0, run.seen());
  assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
});

test('nested: `start` inside a worker of the same bot yields with 75 and the worker lives', async (t) => {
  const b = await bed(t);
  b.file('Procfile', 'worker: sleep 1000\n');
  const run = await b.polling(['--', ...node('restarts-itself.mjs', PROGRAM, 'start')]);
  const [pid] = polledBy(b, 'restarts-itself.mjs');
  b.sandbox.text('/admin');
  await run.waitFor(new RegExp(`\\b${run.pid}\\b`));
  await staysTrue('worker and supervisor live', 1500, () => alive(pid ?? -1) && !run.ended());
  assert.equal(polledBy(b, 'restarts-itself.mjs').length, 1);
});

test("nested: shells and standbys with a worker's variables are not taken for strays", async (t) => {
  const b = await bed(t);
  const inherited = {
    ...b.env,
    SINGLEPOLL_BOT: String(b.botId),
    SINGLEPOLL_RUN: 'old-run',
    SINGLEPOLL_SPAWN: '1',
  };
  const shell = b.spawn(
    'sh',
    [
      '-c',
      '"$@"; echo "shell lives, $?"',
      'sh',
      process.execPath,
      PROGRAM,
      'start',
      '--',
      ...node('polite.mjs'),
    ],
    { env: inherited },
  );
  await until('the worker', () => polledBy(b, 'polite.mjs').length === 1, { seen: shell.seen });
  const standby = b.cli(['start', '--wait', '--', ...node('polite.mjs')], { env: inherited });
  await standby.waitFor(/stand|wait/i);
  await staysTrue('all live', 3000, () => {
    assert.equal(shell.ended(), null, shell.seen());
    assert.equal(standby.ended(), null, `the standby is gone\n${standby.seen()}\n${shell.seen()}`);
    return true;
  });
  const [pid] = polledBy(b, 'polite.mjs');
  const supervisor = (await b.status()).supervisor?.pid ?? -1;
  process.kill(supervisor, 'SIGTERM');
  await shell.waitFor('shell lives, 0');
  await until('the worker of the standby', () => polledBy(b, 'polite.mjs').some((other) => other !== pid), {
    seen: standby.seen,
  });
  assertNeverTwo(b);
});
