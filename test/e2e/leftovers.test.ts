// What the kernel's death signal and the run's id don't reach: a worker that changes its user, children that dropped the id and
// took a session of their own, and whose parents have ended.
import assert from 'node:assert/strict';
import { chmodSync, chownSync, copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { allGone, type Bed, bed, node, worker } from '../support/bed.ts';
import { PROGRAM, type Running } from '../support/cli.ts';
import { alive, allPids, commandOf, readProc } from '../support/proc.ts';
import { polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

const polite = worker('polite.mjs');
const setsUser = `process.setuid(65534); process.argv[1] = ${JSON.stringify(polite)}; import(process.argv[1])`;
for (const [how, command] of [
  ['setpriv', ['setpriv', '--reuid=65534', '--clear-groups', ...node('polite.mjs')]],
  ['the program itself', [process.execPath, '-e', setsUser]],
] as const) {
  test(`kill -9: a worker whose user ${how} has changed goes with its supervisor`, async (t) => {
    const b = await bed(t);
    const run = await b.polling(['--', ...command]);
    const { worker: told } = await b.status();
    const pid = told?.pid as number;
    b.own(pid);
    assert.notEqual(pid, undefined);
    run.signal('SIGKILL');
    await allGone([pid], 5_000);
  });
}

test('kill -9: a set-user-id worker goes with a supervisor that is not root', async (t) => {
  const b = await bed(t);
  const sleep = join(b.project, 'sleep');
  copyFileSync('/bin/sleep', sleep);
  chownSync(sleep, 65532, 65532);
  chmodSync(sleep, 0o4755);
  chownSync(b.stateDir, 65533, 65533);
  const user = ['--reuid=65533', '--regid=65533', '--clear-groups', process.execPath, '--', PROGRAM];
  const run = b.spawn('setpriv', [...user, 'start', '--', sleep, '1000'], { env: b.env });
  await run.waitFor(/started, pid \d+/);
  const pid = Number(/started, pid (\d+)/.exec(run.stderr())?.[1]);
  b.own(pid);
  await until('the worker to be another user', () => statSync(`/proc/${pid}`).uid === 65532);
  const children = () => allPids().filter((it) => readProc(it)?.ppid === run.pid);
  await until('the guard', () => children().some((it) => commandOf(it).endsWith('singlepoll-guard')), {
    seen: run.seen,
  });
  run.signal('SIGKILL');
  await allGone([pid], 5_000);
});

const pidIn = (b: Bed, name: string): number => Number(readFileSync(join(b.project, name), 'utf8'));

/**
 * A worker whose child dropped everything that would tell whose it is, and whose child's parent has ended while the worker's
 * first process lives on.
 */
async function withLost(t: TestContext, how: string): Promise<{ b: Bed; run: Running; lost: number }> {
  const b = await bed(t);
  const parent = `${how} sleep 1000 >/dev/null 2>&1 & echo $! >lost; while [ ! -e go ]; do sleep 0.05; done`;
  const script = [
    'if [ ! -e begun ]; then',
    `  touch begun; sh -c '${parent}' & echo $! >parent`,
    'fi',
    `exec ${node('polite.mjs').join(' ')}`,
  ];
  const file = b.file('bot.sh', `${script.join('\n')}\n`);
  const run = await b.polling(['--backoff', '10ms,20ms', '--', 'sh', file]);
  await until('the child', () => Number.isInteger(pidIn(b, 'lost')) && pidIn(b, 'lost') > 0);
  const lost = pidIn(b, 'lost');
  b.own(lost);
  await until('a session of its own', () => readProc(lost)?.session === lost);
  const parentPid = pidIn(b, 'parent');
  // Long enough to have been looked at, however busy the machine is.
  await staysTrue('the parent lives', 3_000, () => alive(parentPid));
  writeFileSync(join(b.project, 'go'), '');
  await until('the end of the parent', () => !alive(parentPid));
  assert.equal(alive(lost), true);
  return { b, run, lost };
}

for (const how of ['env -i setsid', 'setpriv --reuid=65534 --clear-groups env -i setsid']) {
  test(`stop: a child started by \`${how}\` goes with the tree`, async (t) => {
    const { b, run, lost } = await withLost(t, how);
    const stop = await b.run(['stop']);
    assert.equal(stop.code, 0, stop.stderr);
    assert.equal(alive(lost), false, run.seen());
  });
}

test('restart: a child without a trace of the run is gone before the next worker', async (t) => {
  const { b, run, lost } = await withLost(t, 'env -i setsid');
  const restart = await b.run(['restart']);
  assert.equal(restart.code, 0, restart.stderr);
  assert.equal(alive(lost), false, run.seen());
});

test('kill -9 of the worker: a child without a trace of the run is gone before the next one', async (t) => {
  const { b, run, lost } = await withLost(t, 'env -i setsid');
  const first = polledBy(b, 'polite.mjs').at(-1) as number;
  process.kill(first, 'SIGKILL');
  await until('the next worker', () => polledBy(b, 'polite.mjs').at(-1) !== first, { seen: run.seen });
  assert.equal(alive(lost), false, run.seen());
});

test('kill -9 of the supervisor: a child without a trace of the run goes, too', async (t) => {
  const { run, lost } = await withLost(t, 'env -i setsid');
  run.signal('SIGKILL');
  await allGone([lost], 5_000);
});
