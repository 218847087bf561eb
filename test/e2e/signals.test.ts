// Signals: the whole tree stops in time, the second one is now, HUP restarts, others are forwarded. What the kernel's death signal and
// the run's id don't reach goes as well: a worker that changes its user, children that dropped the id and took a session of their own,
// and whose parents have ended. And singlepoll called from inside its own worker.
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { allGone, node, worker } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { assertNeverTwo, starts } from '../support/judge.ts';
import { it, xit } from '../support/kinds.ts';
import { holdOtherUsers } from '../support/place.ts';
import { alive, allPids, commandOf, findByEnv, readProc } from '../support/proc.ts';
import { polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

it('SIGTERM stops the whole tree, other sessions included, and ends with 0', async (b) => {
  const run = await b.polling(['--', ...node('setsid-child.mjs')]);
  const children = () => b.journal().find((entry) => entry.text?.startsWith('children'))?.text;
  const line = await until('the children', children);
  const pids = [...line.split(' ').slice(1).map(Number), starts(b.journal())[0]?.pid ?? -1];
  assert.ok(pids.length === 3 && pids.every(alive));
  run.signal('SIGTERM');
  await run.ends(0);
  assert.deepEqual(pids.filter(alive), []);
  assert.ok(b.journal().some((entry) => entry.ev === 'signal' && entry.signal === 'SIGTERM'));
  assert.match(run.stdout(), /leaving/, 'its last words came through');
});

it('a worker that ignores SIGTERM, or is stopped, is killed after --stop-timeout; a second signal kills it at once', async (b) => {
  for (const how of ['ignores', 'is stopped', 'second'] as const) {
    const before = b.journal().length;
    const timeout = how === 'second' ? '600s' : '1s';
    const run = await b.polling(['--stop-timeout', timeout, '--', ...node('ignores-term.mjs')]);
    const pid = polledBy(b, 'ignores-term.mjs').at(-1) ?? -1;
    if (how === 'is stopped') process.kill(pid, 'SIGSTOP');
    const begun = performance.now();
    run.signal('SIGTERM');
    if (how === 'second') {
      const isTold = () =>
        b
          .journal()
          .slice(before)
          .some((entry) => entry.ev === 'signal');
      await until('the worker to see the first', isTold, run);
      assert.equal(run.ended(), null);
      run.signal('SIGINT');
    }
    await run.ends([0, 137]);
    if (how !== 'second') assert.ok(performance.now() - begun > 800, how);
    assert.equal(alive(pid), false);
    assert.deepEqual(findByEnv('SP_TEST_COOKIE', b.cookie), []);
  }
});

it('SIGHUP restarts the worker gracefully; in quick succession too, which leaves one worker and no descriptors', async (b) => {
  const run = await b.polling();
  const [old] = polledBy(b, 'polite.mjs');
  for (let round = 0; round < 10; round++) run.signal('SIGHUP');
  await until('a new worker', () => polledBy(b, 'polite.mjs').length >= 2, run);
  assert.ok(b.journal().some((entry) => entry.pid === old && entry.signal === 'SIGTERM'));
  await b.serves(run);
  const count = () => readdirSync(`/proc/${run.pid}/fd`).length;
  const before = count();
  for (let round = 0; round < 16; round++) {
    const spawned = starts(b.journal()).length;
    run.signal('SIGHUP');
    await until('the next worker', () => starts(b.journal()).length > spawned, run);
  }
  // What comes and goes: pipes and endpoint of the next worker, connections of a poll. One left by each would be 16.
  const seen = () => `${before} before, ${count()} now`;
  await until('about as many descriptors as before', () => count() <= before + 12, { seen });
  assert.equal(run.ended(), null, run.seen());
  assertNeverTwo(b);
});

it('QUIT, USR1 and USR2 reach the worker and nothing else happens', async (b) => {
  const run = await b.polling();
  for (const signal of ['SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const) {
    run.signal(signal);
    await until(`${signal} at the worker`, () => b.journal().some((entry) => entry.signal === signal), run);
  }
  assert.equal(run.ended(), null);
  assert.equal(polledBy(b, 'polite.mjs').length, 1);
  assert.doesNotMatch(run.stderr(), /debugger/i, 'SIGUSR1 opens no debugger of Node');
});

xit('SIGTERM at ten moments of the start: always an end, never an orphan; during the back-off, too', async (b) => {
  for (let round = 0; round < 10; round++) {
    const run = b.start();
    // Spread over the start-up: Node loads, getMe, lock, strays, webhook, spawn.
    await staysTrue('a moment goes by', 30 + round * 45, () => true);
    run.signal('SIGTERM');
    const exit = await run.exit();
    // Before its handlers are installed the signal itself ends it.
    assert.ok(exit.code === 0 || exit.signal === 'SIGTERM', run.seen());
    await allGone(findByEnv('SP_TEST_COOKIE', b.cookie));
  }
  assertNeverTwo(b);
  const run = b.start(['--backoff', '600s,900s', '--', ...node('exits.mjs', '1')]);
  await run.waitFor(/starting it again in /);
  await run.stop();
});

const setsUser = `process.setuid(65534); process.argv[1] = ${JSON.stringify(worker('polite.mjs'))}; import(process.argv[1])`;
for (const [how, command] of [
  ['setpriv', ['setpriv', '--reuid=65534', '--clear-groups', ...node('polite.mjs')]],
  ['the program itself', [process.execPath, '-e', setsUser]],
] as const)
  it(`kill -9: a worker whose user ${how} has changed goes with its supervisor`, async (b) => {
    const run = await b.polling(['--', ...command]);
    const pid = (await b.status()).worker?.pid ?? -1;
    assert.ok(pid > 0);
    b.own(pid);
    run.signal('SIGKILL');
    await allGone([pid]);
  });

xit('kill -9: a set-user-id worker goes with a supervisor that is not root', async (b) => {
  const sleep = join(b.project, 'sleep');
  copyFileSync('/bin/sleep', sleep);
  chownSync(sleep, 65532, 65532);
  chmodSync(sleep, 0o4755);
  chownSync(b.stateDir, 65533, 65533);
  const user = ['--reuid=65533', '--regid=65533', '--clear-groups', process.execPath, '--', PROGRAM];
  await holdOtherUsers(b.t);
  const run = b.spawn('setpriv', [...user, 'start', '--', sleep, '1000'], { env: b.env });
  await run.waitFor(/started, pid \d+/);
  const pid = Number(/started, pid (\d+)/.exec(run.stderr())?.[1]);
  b.own(pid);
  await until('the worker to be another user', () => statSync(`/proc/${pid}`).uid === 65532);
  run.signal('SIGKILL');
  await allGone([pid]);
});

it('kill -9: a worker goes with its supervisor, also after somebody has ended the guard', async (b) => {
  const run = await b.polling();
  const isGuard = (pid: number) =>
    readProc(pid)?.ppid === run.pid && commandOf(pid).endsWith('singlepoll-guard');
  const guard = allPids().find(isGuard) ?? -1;
  assert.ok(guard > 0, 'it is there before the worker');
  process.kill(guard, 'SIGKILL');
  const again = await until(
    'another guard',
    () => allPids().find((pid) => pid !== guard && isGuard(pid)),
    run,
  );
  run.signal('SIGKILL');
  await allGone([polledBy(b, 'polite.mjs').at(-1) ?? -1, again]);
});

/** What the worker's child drops so that nothing tells whose it is, and what is done then. */
for (const [how, act] of [
  ['setpriv --reuid=65534 --clear-groups env -i setsid', 'restart'],
  ['env -i setsid', 'kill -9 of the supervisor'],
] as const)
  it(`${act}: a child started by \`${how}\`, whose parent has ended, goes, too`, async (b) => {
    const parent = `${how} sleep 1000 >/dev/null 2>&1 & echo $! >lost; while [ ! -e go ]; do sleep 0.05; done`;
    const script = `if [ ! -e begun ]; then
  touch begun; sh -c '${parent}' & echo $! >parent
fi
exec ${node('polite.mjs').join(' ')}
`;
    for (const name of ['lost', 'parent']) b.file(name, '');
    const pidIn = (name: string) => Number(readFileSync(join(b.project, name), 'utf8'));
    const run = await b.polling(['--backoff', '10ms,20ms', '--', 'sh', b.file('bot.sh', script)]);
    await until('the child', () => pidIn('lost') > 0);
    const lost = pidIn('lost');
    b.own(lost);
    await until('a session of its own', () => readProc(lost)?.session === lost);
    // Long enough to have been looked at, however busy the machine is.
    await staysTrue('the parent lives', 2_500, () => alive(pidIn('parent')));
    writeFileSync(join(b.project, 'go'), '');
    await until('the end of the parent', () => !alive(pidIn('parent')));
    assert.equal(alive(lost), true);
    if (act === 'kill -9 of the supervisor') {
      run.signal('SIGKILL');
      return void (await allGone([lost]));
    }
    await b.exits(0, act);
    assert.equal(alive(lost), false, run.seen());
  });

for (const command of ['restart', 'stop'] as const)
  it(`a worker that runs \`${command}\` itself`, async (b) => {
    b.file('Procfile', 'worker: sleep 1000\n');
    const run = await b.polling(['--', ...node('restarts-itself.mjs', PROGRAM, command)]);
    const pids = () => polledBy(b, 'restarts-itself.mjs');
    b.sandbox.text('/admin');
    if (command === 'stop') {
      await run.ends(0);
      assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
      return;
    }
    await until('another worker', () => pids().length === 2, run);
    await staysTrue('worker and supervisor live', 300, () => alive(pids().at(-1) ?? -1) && !run.ended());
    assert.equal(pids().length, 2);
    assertNeverTwo(b, 'restarts-itself.mjs');
  });

xit("shells and standbys with a worker's variables are not taken for strays", async (b) => {
  const inherited = { SINGLEPOLL_BOT: String(b.botId), SINGLEPOLL_RUN: 'old-run', SINGLEPOLL_SPAWN: '1' };
  const env = { ...b.env, ...inherited };
  const start = ['sh', process.execPath, PROGRAM, 'start', '--', ...node('polite.mjs')];
  const shell = b.spawn('sh', ['-c', '"$@"; echo "shell lives, $?"', ...start], { env });
  await until('the worker', () => polledBy(b, 'polite.mjs').length === 1, shell);
  const standby = b.start('--wait', { env });
  await standby.waitFor(/stand|wait/i);
  // A look for strays before the next worker.
  await b.exits(0, 'restart');
  assert.deepEqual([shell.ended(), standby.ended()], [null, null], shell.seen() + standby.seen());
  const before = polledBy(b, 'polite.mjs');
  process.kill((await b.status()).supervisor?.pid ?? -1, 'SIGTERM');
  await shell.waitFor('shell lives, 0');
  const isNew = () => polledBy(b, 'polite.mjs').some((pid) => !before.includes(pid));
  await until('the worker of the standby', isNew, standby);
  assertNeverTwo(b);
});
