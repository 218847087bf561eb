// Which bot is meant, from any folder: the only one that runs, --bot, or a question; and the list of all.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bed, node } from '../support/bed.ts';
import { detach, logText, nowhere } from '../support/detach-bed.ts';
import { assertStatusShape, type Status } from '../support/status.ts';
import { until } from '../support/wait.ts';

test('which bot: the only one that runs, from any folder', async (t) => {
  const b = await bed(t);
  const { pid } = await detach(b, ['--', ...node('polite.mjs')]);
  const away = nowhere(b);
  const worker = (await b.status()).worker?.pid;
  const status = await b.status(away);
  assert.equal(status.supervisor?.pid, pid);
  assert.match((await b.run(['restart'], away)).stdout, new RegExp(`in place of ${worker}`));
  assert.match((await b.run(['logs', '-n', '1000'], away)).stdout, /\[lock\] taken/);
  assert.match((await b.run(['stop'], away)).stdout, new RegExp(`supervisor ${pid}`));
  assert.match((await b.run(['logs', '-n', '1'], away)).stdout, /have ended/, 'also after its end');
  assert.match((await b.run(['stop'], away)).stdout, /nothing to stop/);
  assert.equal((await b.run(['restart'], away)).code, 3);
});

test('which bot: of several they ask, and --bot names one by id or username', async (t) => {
  const one = await bed(t);
  const two = await bed(t);
  two.env.SINGLEPOLL_DIR = one.stateDir;
  const away = nowhere(one);
  const first = await detach(one, ['--', ...node('polite.mjs')]);
  const second = await detach(two, ['--', ...node('polite.mjs')]);
  const username = (await two.status()).bot?.username ?? '';
  for (const command of ['stop', 'restart', 'status', 'logs']) {
    const asked = await one.run([command], away);
    assert.equal(asked.code, 64, command);
    for (const text of [`${one.botId} @`, `${two.botId} @${username}`, one.project, two.project, '--bot ID'])
      assert.ok(asked.stderr.includes(text), `${command}: ${text}\n${asked.stderr}`);
  }
  const all = await one.run(['status', '--all', '--json'], away);
  const docs = JSON.parse(all.stdout) as Status[];
  assert.equal(all.code, 0);
  for (const doc of docs) assertStatusShape(doc);
  assert.deepEqual(new Set(docs.map((doc) => doc.supervisor?.pid)), new Set([first.pid, second.pid]));
  const named = await one.run(['status', '--json', '--bot', `@${username.toUpperCase()}`], away);
  assert.equal((JSON.parse(named.stdout) as Status).supervisor?.pid, second.pid);
  // It goes before the token that is configured here.
  assert.match(
    (await one.run(['logs', '-n', '99', '--bot', String(two.botId)])).stdout,
    new RegExp(`id ${two.botId}`),
  );
  assert.match((await one.run(['restart', '--bot', username], away)).stdout, /^restarted/);
  assert.match(
    (await one.run(['stop', '--bot', `${two.botId}`], away)).stdout,
    new RegExp(`supervisor ${second.pid}`),
  );
  const table = await one.run(['status', '--all'], away);
  assert.equal(table.code, 0);
  assert.match(table.stdout, new RegExp(`@\\w+ \\(${one.botId}\\) +polling +${first.pid}`));
  assert.match(table.stdout, new RegExp(`@${username} \\(${two.botId}\\) +not running`));
  const gone = await one.run(['status', '--bot', username], away);
  assert.equal(gone.code, 3);
  assert.match((await one.run(['stop', '--bot', username], away)).stdout, /nothing to stop/);
  await one.run(['stop']);
  assert.equal((await one.run(['status', '--all'], away)).code, 3);
  assert.match((await one.run(['logs'], away)).stderr, /several bots have been run/);
});

test('which bot: --bot of nobody, of nonsense, of a token; --all with others', async (t) => {
  const b = await bed(t);
  const nobody = await b.run(['stop', '--bot', '@nobody_bot']);
  assert.equal(nobody.code, 64);
  assert.match(nobody.stderr, /no bot @nobody_bot has been run/);
  for (const name of ['', '../x', b.token]) {
    const wrong = await b.run(['stop', '--bot', name]);
    assert.equal(wrong.code, 64);
    assert.ok(!wrong.stderr.includes(b.token.split(':')[1] ?? ''));
  }
  assert.equal((await b.run(['status', '--all', '--watch'])).code, 64);
  assert.match((await b.run(['status', '--all'])).stdout, /no bot has been run/);
});

test('which bot: one that hangs is shown as such by status --all', async (t) => {
  const b = await bed(t);
  const { pid } = await detach(b, ['--', ...node('polite.mjs')]);
  process.kill(pid, 'SIGSTOP');
  const all = await b.run(['status', '--all', '--json']);
  process.kill(pid, 'SIGCONT');
  const [doc] = JSON.parse(all.stdout) as Status[];
  assert.equal(doc?.problems[0]?.code, 'supervisor-hung');
  assert.equal(all.code, 1);
});

test('which bot: two in deploy mode without a token keep their logs apart', async (t) => {
  const b = await bed(t);
  const other = join(b.dir, 'other');
  mkdirSync(other);
  const { env } = nowhere(b);
  const deploy = { ...env, POLLING_ENABLED: '0' };
  const run = (cwd: string) => detach(b, ['--', 'sh', '-c', 'pwd; exec sleep 1000'], { cwd, env: deploy });
  const [one, two] = await Promise.all([run(b.project), run(other)]);
  const path = (text: string) => /log (\S+)/.exec(text)?.[1] ?? '';
  assert.notEqual(path(one.finished.stdout), path(two.finished.stdout));
  await until('its own output', () => logText(b, path(one.finished.stdout)).includes(` out ${b.project}\n`));
  assert.ok(!logText(b, path(one.finished.stdout)).includes(`out ${other}`));
});
