// `start --detach`: returns when it polls or says why not, survives what started it, and leaves nothing half started.
import assert from 'node:assert/strict';
import { readlinkSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { allGone, bed, node, PYTHON } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { detach, leftovers, logFile, logText, serves } from '../support/detach-bed.ts';
import { assertNeverTwo, assertNoToken } from '../support/judge.ts';
import { alive, readProc } from '../support/proc.ts';
import { polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

const inPty = fileURLToPath(new URL('../fixtures/in-pty.py', import.meta.url));
const LINE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?:out|err|singlepoll) /;

test('detach: returns 0 once the worker has polled; a session of its own; a log without tokens; a second one yields', async (t) => {
  const b = await bed(t);
  const file = b.file(
    'speaks.mjs',
    `console.log('out', process.env.TELEGRAM_BOT_TOKEN); console.error('err', process.env.TELEGRAM_BOT_TOKEN);
process.stderr.write('no end'); await import(${JSON.stringify(node('polite.mjs')[1])});`,
  );
  const { finished, pid } = await detach(b, ['--', process.execPath, file]);
  assert.ok(b.sandbox.polls().length > 0, 'it has polled before the return');
  assert.match(finished.stdout, /polls: supervisor \d+, worker \d+; log \//);
  assert.match(finished.stderr, /\[lock\] taken/);
  assert.equal(readProc(pid)?.session, pid, 'a session of its own');
  for (const fd of [0, 1, 2]) assert.equal(readlinkSync(`/proc/${pid}/fd/${fd}`), '/dev/null');
  assert.equal(readlinkSync(`/proc/${pid}/cwd`), realpathSync(b.project));
  const { supervisor, healthy, log } = await b.status();
  assert.deepEqual([supervisor?.pid, healthy, log?.path], [pid, true, logFile(b)]);
  await serves(b, 'detached');
  await until('the line without an end', () => logText(b).includes('no end'));

  const before = logText(b);
  const second = await b.run(['start', '-d', '--', ...node('polite.mjs', 'second')]);
  assert.equal(second.code, 75, second.stderr);
  assert.match(second.stderr, new RegExp(`supervisor already: pid ${pid}`));
  assert.equal(second.stdout, '');
  assert.equal(logText(b), before);
  assert.deepEqual(polledBy(b, 'second'), []);

  const stopped = await b.run(['stop']);
  assert.match(stopped.stdout, new RegExp(`stopped: supervisor ${pid}`));
  await until('all to be gone', () => leftovers(b).length === 0);
  const text = logText(b);
  for (const line of text.trimEnd().split('\n')) assert.match(line, LINE);
  assert.match(text, new RegExp(`^\\S+ out out ${b.botId}:…$`, 'm'));
  assert.match(text, new RegExp(`^\\S+ err err ${b.botId}:…$`, 'm'));
  assert.match(text, /^\S+ singlepoll \[poll\] worker \d+ polls$/m);
  assertNoToken(finished.stdout + finished.stderr + text, b.token);
});

test('detach: the terminal that started it is closed: it goes on; SIGHUP is a restart', async (t) => {
  const b = await bed(t);
  const hangup = join(b.dir, 'hangup');
  const command = `${[process.execPath, PROGRAM, 'start', '-d', '--', ...node('polite.mjs')].join(' ')}; echo code $?; exec sleep 1000`;
  const terminal = b.spawn(PYTHON, [inPty, '--hangup-file', hangup, 'sh', '-c', command], {
    env: { ...b.env, TERM: 'xterm' },
  });
  await terminal.waitFor(/code 0/);
  const pid = (await b.status()).supervisor?.pid ?? 0;
  const worker = (await b.status()).worker?.pid ?? 0;
  assert.match(terminal.stdout(), /\x1b\[/, 'painted for the terminal');
  assert.doesNotMatch(logText(b), /\x1b/, 'and not in the log');
  writeFileSync(hangup, '');
  await staysTrue('supervisor and worker live', 1_500, () => alive(pid) && alive(worker));
  await serves(b, 'after the hang-up');
  rmSync(hangup);
  process.kill(pid, 'SIGHUP');
  await until('a new worker', async () => {
    const now = (await b.status()).worker?.pid;
    return now && now !== worker;
  });
  await serves(b, 'after SIGHUP');
  assert.ok(alive(pid));
  assertNeverTwo(b);
});

test('detach: a worker that ends: its code, its last lines, nothing left', async (t) => {
  const b = await bed(t);
  const fails = ['sh', '-c', 'echo ImportError: no bot; exit 7'];
  const once = await b.run(['start', '-d', '--restart', 'never', '--', ...fails]);
  assert.equal(once.code, 7, once.stderr);
  assert.match(once.stderr, /\| ImportError: no bot/);
  assert.equal(once.stdout, '');
  assert.deepEqual(leftovers(b), []);
  const loop = await b.run([
    'start',
    '-d',
    '--max-restarts',
    '1/1m',
    '--backoff',
    '10ms,20ms',
    '--',
    ...fails,
  ]);
  assert.equal(loop.code, 7, loop.stderr);
  assert.equal(loop.stderr.match(/\| ImportError/g)?.length, 1, loop.stderr);
  assert.deepEqual(leftovers(b), []);
  const well = await b.run(['start', '-d', '--restart', 'never', '--', 'true']);
  assert.equal(well.code, 69, 'an end is no start');
  assert.match(well.stderr, /not started/);
});

test('detach: what does not start ends with its code and its reason, and leaves nothing', async (t) => {
  const b = await bed(t);
  const wrong = { ...b.env, TELEGRAM_BOT_TOKEN: b.token.replace(/.$/, (last) => (last === 'x' ? 'y' : 'x')) };
  const mute = ['--start-timeout', '1s', '--', 'sh', '-c', 'echo busy; exec sleep 1000'];
  const slow = ['--start-timeout', '1s', '--backoff', '10s,10s', '--', 'sh', '-c', 'exit 9'];
  const failing = ['--backoff', '10ms,20ms', '--', 'sh', '-c', 'echo no module; exit 9'];
  for (const [words, code, seen, env = b.env] of [
    [[], 78, /no command to run/],
    [['--', ...node('polite.mjs')], 77, /refuses the token/, wrong],
    [mute, 69, /\| busy[\s\S]*has not polled within 1 s|has not polled within 1 s[\s\S]*\| busy/],
    [slow, 9, /exit 9/],
    [failing, 9, /has ended 5 times in a row without a poll/],
  ] as const) {
    const run = await b.run(['start', '-d', ...words], { env });
    assert.equal(run.code, code, run.stderr);
    assert.match(run.stderr, seen);
    assert.deepEqual(leftovers(b), []);
  }
});

for (const [name, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGKILL', null],
] as const) {
  test(`detach: ${name} before it is ready leaves nothing half started`, async (t) => {
    const b = await bed(t);
    const run = b.cli(['start', '-d', '--', 'sh', '-c', 'sleep 1000; true']);
    await run.waitFor(/\[worker\] started/);
    run.signal(name);
    assert.equal((await run.exit()).code, code, run.seen());
    await until('all to be gone', () => leftovers(b).length === 0, { seen: run.seen });
  });
}

test('detach: kill -9 takes the worker along; the next start goes on with the log', async (t) => {
  const b = await bed(t);
  const { pid } = await detach(b, ['--', ...node('polite.mjs')]);
  const worker = (await b.status()).worker?.pid ?? 0;
  process.kill(pid, 'SIGKILL');
  await allGone([pid, worker]);
  assert.match((await b.run(['stop'])).stdout, /nothing to stop/);
  await detach(b, ['--', ...node('polite.mjs')]);
  assert.equal(logText(b).match(/\[lock\] taken/g)?.length, 2);
  await serves(b, 'again');
  assertNeverTwo(b);
});

test('detach: reset starts it detached again, from any folder', async (t) => {
  const b = await bed(t);
  const { pid } = await detach(b, ['--log-file', 'my.log', '--', ...node('polite.mjs')]);
  const reset = await b.run(['reset'], { cwd: b.dir });
  assert.equal(reset.code, 0, reset.stderr);
  assert.match(reset.stdout, /polls: supervisor \d+/);
  assert.ok(!alive(pid));
  const status = await b.status();
  assert.notEqual(status.supervisor?.pid, pid);
  assert.equal(status.supervisor?.cwd, b.project);
  assert.equal(status.log?.path, join(b.project, 'my.log'));
  assert.equal((await b.run(['reset'], { cwd: b.dir })).code, 0, 'and once more');
  await serves(b, 'after reset');
});

test('detach: --wait returns once it stands by; it takes over when the holder leaves', async (t) => {
  const b = await bed(t);
  const first = await detach(b, ['--', ...node('polite.mjs')]);
  const second = await detach(b, ['--wait', '--', ...node('polite.mjs')]);
  assert.match(second.finished.stdout, /stands by/);
  assert.notEqual(second.pid, first.pid);
  assert.equal((await b.status()).supervisor?.pid, first.pid);
  await b.run(['stop']);
  await until('the second to poll', async () => {
    const status = await b.status();
    return status.supervisor?.pid === second.pid && status.state === 'polling';
  });
  await serves(b, 'taken over');
  assertNeverTwo(b);
});

test('detach: deploy mode returns once the worker runs', async (t) => {
  const b = await bed(t);
  const env = { ...b.env, POLLING_ENABLED: '0' };
  const { finished } = await detach(b, ['--', 'sleep', '1000'], { env });
  assert.match(finished.stdout, /nobody polls, as asked/);
  const status = await b.status({ env });
  assert.equal(status.state, 'disabled');
  assert.equal((await b.run(['start', '-d', '--restart', 'never', '--', 'false'], { env })).code, 1);
  assert.equal((await b.run(['stop'], { env })).code, 0);
});
