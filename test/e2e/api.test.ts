// singlepoll from code, as the package exports it: dist/index.js.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import type * as Api from '../../src/api/index.ts';
import { type Bed, bed, node, worker } from '../support/bed.ts';
import { assertNoToken } from '../support/judge.ts';
import { alive, findByEnv } from '../support/proc.ts';
import { polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

const INDEX = pathToFileURL('dist/index.js').href;
const api = (await import(INDEX)) as typeof Api;

const start = (b: Bed, options: Api.StartOptions = {}) =>
  api.start({ command: node('polite.mjs'), cwd: b.project, env: b.env, output: 'ignore', ...options });

/** What the error of a promise that must fail says. */
const failure = (promise: Promise<unknown>): Promise<Api.SinglepollError> =>
  promise.then(
    () => assert.fail('it did not fail'),
    (error: Api.SinglepollError) => {
      assert.equal(error.name, 'SinglepollError', error.stack);
      return error;
    },
  );

/** A program of its own that starts a supervisor, and the pid of that. */
async function program(b: Bed, options: string, detached = false) {
  const file = b.file(
    'program.mjs',
    `import { start } from ${JSON.stringify(INDEX)};
     const supervisor = await start({ command: ${JSON.stringify(node('polite.mjs'))}, output: 'inherit', ${options} });
     console.log('supervisor', supervisor.pid, supervisor.state);
     console.log('ended', JSON.stringify(await supervisor.ended));`,
  );
  const running = b.spawn(process.execPath, [file], { env: b.env, detached });
  await running.waitFor(/^supervisor \d+ /m);
  const pid = Number(/^supervisor (\d+) /m.exec(running.stdout())?.[1]);
  return { running, pid };
}

test('start, status, restart, stop', async (t) => {
  const b = await bed(t);
  const states: string[] = [];
  const log = `${b.dir}/log`;
  const run = await start(b, { onState: (state) => states.push(state), logFile: log, stopTimeout: '5s' });
  assert.equal(run.state, 'polling');
  assert.ok(polledBy(b, 'polite.mjs').length === 1, 'it resolves once the worker has polled');
  const before = await run.status();
  assert.equal(before.supervisor?.pid, run.pid);
  assert.equal(before.healthy, true);
  assert.deepEqual(
    (await api.status({ cwd: b.project, env: b.env })).worker?.pid,
    before.worker?.pid,
    'the same for whoever asks',
  );
  assert.equal((await api.status({ bot: b.botId, env: b.env })).supervisor?.pid, run.pid);

  const second = await failure(start(b));
  assert.equal(second.exitCode, 75);
  assert.match(second.message, new RegExp(`pid ${run.pid}`));
  assert.match(second.hint ?? '', /singlepoll|--takeover/);
  // One that waits stands by, and ends when it is asked to.
  const other = await start(b, { wait: true });
  assert.equal(other.state, 'standby');
  assert.equal((await other.status()).state, 'standby');
  assert.equal((await other.stop()).code, 0);

  const pid = await run.restart();
  assert.notEqual(pid, before.worker?.pid);
  assert.ok(alive(pid));
  const end = await run.stop();
  assert.equal(end.code, 0);
  assert.deepEqual(await run.ended, end);
  assert.equal(run.state, 'stopped');
  assert.equal((await run.status()).state, 'stopped');
  assert.equal((await failure(run.restart())).exitCode, 3);
  assert.equal(alive(run.pid) || alive(pid), false);
  assert.equal((await api.status({ cwd: b.project, env: b.env })).state, 'stopped');
  assert.equal(states[0], 'polling', states.join());
  assert.deepEqual(states.slice(-2), ['stopping', 'stopped']);
  assert.match(readFileSync(log, 'utf8'), /\[poll\] worker \d+ polls/);
});

test('a start that fails rejects as the command ends, and leaves nothing', async (t) => {
  const b = await bed(t);
  const [nothing, unknown, wrong, crash] = await Promise.all([
    failure(start(b, { command: [] })),
    failure(start(b, { stopTimout: 3 } as never)),
    failure(start(b, { stopTimeout: 'soon' })),
    failure(start(b, { command: node('exits.mjs', '7'), restart: 'never', wait: true })),
  ]);
  assert.equal(nothing.exitCode, 78);
  assert.match(nothing.message, /command/);
  assert.equal(unknown.exitCode, 64);
  assert.match(unknown.message, /--stop-timout/);
  assert.match(unknown.message, /--stop-timeout\?/);
  assert.equal(wrong.exitCode, 78);
  assert.match(wrong.message, /stop-timeout/);
  assert.equal(crash.exitCode, 7, crash.message);
  assert.equal((await failure(start(b, { cwd: `${b.dir}/none` }))).exitCode, 78);
  const named = await failure(api.status({ bot: '@nobody', env: b.env }));
  assert.equal(named.exitCode, 64);
  assert.match(named.hint ?? '', /status --all/);
  for (const { message, hint } of [nothing, unknown, wrong, crash, named])
    assertNoToken(`${message}${hint}`, b.token);
  assert.deepEqual(findByEnv('SP_TEST_COOKIE', b.cookie), []);
});

test('whoever kills the program: supervisor and worker go with it, gracefully', async (t) => {
  const b = await bed(t);
  const { running, pid } = await program(b, '');
  running.signal('SIGKILL');
  await until('the supervisor to be gone', () => !alive(pid), { seen: running.seen });
  assert.deepEqual(findByEnv('SP_TEST_COOKIE', b.cookie), []);
  assert.ok(b.journal().some(({ ev, signal }) => ev === 'signal' && signal === 'SIGTERM'));
  assert.match(running.stderr(), /the program that it belongs to has gone/);
});

/** Takes 700 ms to end. */
const slowWorker = (b: Bed) =>
  b.file(
    'slow.mjs',
    `import { note, poll } from ${JSON.stringify(worker('poll.mjs'))};
     process.on('SIGTERM', () => setTimeout(() => { note({ ev: 'end' }); process.exit(0); }, 700));
     await poll();`,
  );

const hasEnded = (b: Bed) => b.journal().some(({ ev }) => ev === 'end');

test('Ctrl-C means both, and gives the worker the time that it needs', async (t) => {
  const b = await bed(t);
  const { running, pid } = await program(b, `command: ['node', ${JSON.stringify(slowWorker(b))}]`, true);
  process.kill(-running.pid, 'SIGINT');
  await until('the supervisor to be gone', () => !alive(pid), { seen: running.seen });
  assert.deepEqual(findByEnv('SP_TEST_COOKIE', b.cookie), []);
  assert.ok(hasEnded(b), running.stderr());
});

test('Ctrl-C that ends the program first is one ask; only another one kills', async (t) => {
  for (const signals of [1, 2]) {
    const b = await bed(t);
    const { running, pid } = await program(b, `command: ['node', ${JSON.stringify(slowWorker(b))}]`);
    running.signal('SIGKILL');
    await running.waitFor('[stop] stopping: the program that it belongs to has gone');
    // Signals that wait together are one.
    process.kill(pid, 'SIGINT');
    if (signals === 2) process.kill(pid, 'SIGTERM');
    await until('the supervisor to be gone', () => !alive(pid), { seen: running.seen });
    assert.deepEqual(findByEnv('SP_TEST_COOKIE', b.cookie), []);
    assert.equal(hasEnded(b), signals === 1, running.stderr());
    assert.equal(running.stderr().includes('asked again: killing now'), signals === 2, running.stderr());
  }
});
