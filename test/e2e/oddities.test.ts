// Odd surroundings: few descriptors, folders that are gone or badly named, other users' supervisors, old commands.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bed, node } from '../support/bed.ts';
import { COMMAND, PROGRAM } from '../support/cli.ts';
import { copyProgram } from '../support/program-copy.ts';
import { polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

test('few descriptors: whatever is not possible then, the program ends and the lock is free', async (t) => {
  const b = await bed(t);
  for (const limit of [30, 27, 25, 24, 23, 22]) {
    const run = b.spawn(
      '/bin/sh',
      [
        '-c',
        `ulimit -n ${limit}; exec "$0" start --max-restarts 1/1m --backoff 10ms,20ms -- sleep 0.1`,
        PROGRAM,
      ],
      { env: b.env },
    );
    await run.exit(15_000);
    const next = await b.run(['start', '--restart', 'never', '--', 'true']);
    assert.equal(next.code, 0, `after ${limit} descriptors: ${next.stderr}`);
  }
});

test('a working folder that was deleted: status and stop serve, start says so with 78', async (t) => {
  const b = await bed(t);
  const gone = join(b.dir, 'gone');
  const there = (args: string) =>
    b.spawn('/bin/sh', ['-c', `mkdir ${gone}; cd ${gone}; rmdir ${gone}; exec "$0" ${args}`, COMMAND], {
      env: b.env,
    });
  const run = await b.polling(['--', ...node('polite.mjs')]);
  const status = there('status');
  assert.equal((await status.exit()).code, 0, status.seen());
  const start = there('start -- true');
  assert.equal((await start.exit()).code, 78, start.seen());
  assert.match(start.stderr(), /working folder .*gone/);
  const stop = there('stop');
  assert.equal((await stop.exit()).code, 0, stop.seen());
  assert.equal((await run.exit()).code, 0);
});

test('a folder whose name steers the terminal is shown with escapes', async (t) => {
  const b = await bed(t);
  const cwd = join(b.project, 'a\n\x1b[31mred\x1b]0;title\x07');
  mkdirSync(cwd);
  await b.polling(['--', ...node('polite.mjs')], { cwd });
  const answers = [
    await b.run(['status'], { cwd }),
    await b.run(['who'], { cwd }),
    await b.run(['start', '--', 'true'], { cwd }),
    await b.run(['start', '--', 'missing-program'], { cwd }),
    await b.run(['start', '--dry-run', '--', 'true'], { cwd }),
  ];
  for (const { stdout, stderr } of answers) assert.doesNotMatch(stdout + stderr, /[\x1b\x07]/);
});

test("another user's supervisor: restart, who and status say whose it is, without a bug", {
  skip: process.getuid?.() === 0 ? false : 'needs root',
}, async (t) => {
  const b = await bed(t);
  await b.polling(['--', ...node('polite.mjs')]);
  const { SINGLEPOLL_DIR: _, ...env } = b.env;
  chmodSync(b.dir, 0o755);
  const program = copyProgram(join(b.dir, 'program'));
  const other = { uid: 54_321, cwd: '/', env: { ...env, SINGLEPOLL_DIR: join(b.dir, 'none') } };
  const asOther = async (command: string) => {
    const run = b.spawn(process.execPath, ['--', program, command], other);
    const { code } = await run.exit();
    return { code, stderr: run.stderr() };
  };
  const restart = await asOther('restart');
  assert.equal(restart.code, 77, restart.stderr);
  assert.match(restart.stderr, /belongs to another user/);
  for (const name of ['who', 'status']) {
    const answer = await asOther(name);
    assert.notEqual(answer.code, 70, answer.stderr);
    assert.doesNotMatch(answer.stderr, /bug/);
  }
});

test('reset twice: the options of the last start stay', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--max-restarts', '7/3m', '--', ...node('polite.mjs')]);
  let last = run;
  for (let i = 0; i < 2; i++) {
    const again = b.cli(['reset']);
    await again.waitFor(/\[worker\] started/);
    assert.match(again.stderr(), /--max-restarts "7\/3m"/, `reset number ${i + 1}`);
    assert.equal((await last.exit()).code, 0);
    last = again;
  }
});

test('reset does not go back to an older command when the last one could not be remembered', async (t) => {
  const b = await bed(t);
  assert.equal((await b.run(['start', '--restart', 'never', '--', 'true'])).code, 0);
  assert.equal((await b.run(['start', '--restart', 'never', '--', 'true', b.token])).code, 0);
  const reset = await b.run(['reset']);
  assert.equal(reset.code, 78, reset.stderr);
  assert.deepEqual(readdirSync(join(b.stateDir, String(b.botId))), []);
});

test('reset with the folder of the last start gone: 78, and nothing was stopped for it', async (t) => {
  const b = await bed(t);
  const cwd = join(b.dir, 'release-1');
  mkdirSync(cwd);
  const run = await b.polling(['--', ...node('polite.mjs')], { cwd });
  rmSync(cwd, { recursive: true });
  const reset = await b.run(['reset']);
  assert.equal(reset.code, 78, reset.stderr);
  assert.match(reset.stderr, /working folder .*release-1.* gone/);
  assert.equal(run.ended(), null);
  assert.equal(polledBy(b, 'polite.mjs').length, 1);
});

test('nohup: a hang-up that was ignored at the start stays ignored, and the worker is not told of it', async (t) => {
  const b = await bed(t);
  const run = b.spawn(
    '/bin/sh',
    ['-c', 'trap "" HUP; exec "$0" start -- "$@"', COMMAND, ...node('prints-env.mjs')],
    { env: b.env },
  );
  await run.waitFor(/\[worker\] started/);
  await until('the worker to poll', () => b.sandbox.polls().length > 0, { seen: run.seen });
  for (let i = 0; i < 3; i++) run.signal('SIGHUP');
  // A signal of a later one that is not ignored: what came before it has been dealt with.
  run.signal('SIGUSR1');
  await run.waitFor(/SIGUSR1 passed on/);
  assert.doesNotMatch(run.stderr(), /SIGHUP|terminal has gone/);
  assert.doesNotMatch(run.stdout(), /HUP_IGNORED/);
  assert.equal(run.ended(), null);
});

test('singlepoll under another name: a standby is no stray, and a hung holder can be reset', async (t) => {
  const b = await bed(t);
  const other = join(b.dir, 'onepoll');
  symlinkSync(PROGRAM, other);
  const standby = () => b.spawn(other, ['start', '--wait', '--', ...node('polite.mjs')], { env: b.env });
  const run = await b.polling(['--', ...node('polite.mjs')]);
  const first = standby();
  const second = standby();
  for (const it of [first, second]) await it.waitFor(/standing by/);
  const who = await b.run(['who']);
  assert.equal(who.code, 0, who.stdout);
  // A new worker, and a look for strays before it.
  const restart = await b.run(['restart']);
  assert.equal(restart.code, 0, restart.stderr);
  assert.deepEqual([first.ended(), second.ended()], [null, null]);
  assert.doesNotMatch(run.stderr(), /stopping pid/);
  second.signal('SIGTERM');
  await second.exit();
  run.signal('SIGTERM');
  await first.waitFor(/\[worker\] started/);
  first.signal('SIGSTOP');
  const reset = await b.run(['reset', '--no-start']);
  assert.equal(reset.code, 0, reset.stderr);
});
