// singlepoll from code, as the package exports it: dist/index.js.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import type * as Api from '../../src/api/index.ts';
import { type Bed, node, worker } from '../support/bed.ts';
import { assertNoToken } from '../support/judge.ts';
import { it, xit } from '../support/kinds.ts';
import { alive, findByEnv } from '../support/proc.ts';
import { polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

const INDEX = pathToFileURL('dist/index.js').href;
const api = (await import(INDEX)) as typeof Api;

const start = (b: Bed, options: Api.StartOptions = {}) =>
  api.start({ command: node('polite.mjs'), cwd: b.project, env: b.env, output: 'ignore', ...options });

/** The error of a promise that must fail with this code. */
async function failure(
  promise: Promise<unknown>,
  exitCode: number,
  words: RegExp,
): Promise<Api.SinglepollError> {
  const error = await promise.then(
    () => assert.fail('it did not fail'),
    (it: Api.SinglepollError) => it,
  );
  assert.deepEqual([error.name, error.exitCode], ['SinglepollError', exitCode], error.stack);
  assert.match(error.message, words);
  return error;
}

/** A program of its own that starts a supervisor, and the pid of that. */
async function program(b: Bed, options: string, detached = false, env = {}) {
  const command = JSON.stringify(node('polite.mjs'));
  const file = b.file(
    'program.mjs',
    `import { start } from ${JSON.stringify(INDEX)};
     const supervisor = await start({ command: ${command}, output: 'inherit', ${options} });
     if (process.env.SP_STOPS) process.on('SIGINT', () => supervisor.stop());
     console.log('supervisor', supervisor.pid, supervisor.state);
     console.log('ended', JSON.stringify(await supervisor.ended));`,
  );
  const running = b.spawn(process.execPath, [file], { env: { ...b.env, ...env }, detached });
  await running.waitFor(/^supervisor \d+ /m);
  return { running, pid: Number(/^supervisor (\d+) /m.exec(running.stdout())?.[1]) };
}

it('start, status, restart, stop', async (b) => {
  const states: string[] = [];
  const log = `${b.dir}/log`;
  const run = await start(b, { onState: (state) => states.push(state), logFile: log, stopTimeout: '5s' });
  assert.equal(run.state, 'polling');
  assert.equal(polledBy(b, 'polite.mjs').length, 1, 'it resolves once the worker has polled');
  const before = await run.status();
  assert.deepEqual([before.supervisor?.pid, before.healthy], [run.pid, true]);
  const here = { cwd: b.project, env: b.env };
  assert.equal((await api.status(here)).worker?.pid, before.worker?.pid, 'the same for whoever asks');
  assert.equal((await api.status({ bot: b.botId, env: b.env })).supervisor?.pid, run.pid);
  const second = await failure(start(b), 75, new RegExp(`pid ${run.pid}`));
  assert.match(second.hint ?? '', /singlepoll|--takeover/);
  // One that waits stands by, and ends when it is asked to.
  const other = await start(b, { wait: true });
  assert.deepEqual([other.state, (await other.status()).state], ['standby', 'standby']);
  assert.equal((await other.stop()).code, 0);
  const pid = await run.restart();
  assert.notEqual(pid, before.worker?.pid);
  assert.ok(alive(pid));
  const end = await run.stop();
  assert.equal(end.code, 0);
  assert.deepEqual(await run.ended, end);
  assert.deepEqual(
    [run.state, (await run.status()).state, (await api.status(here)).state],
    Array(3).fill('stopped'),
  );
  await failure(run.restart(), 3, /./);
  assert.equal(alive(run.pid) || alive(pid), false);
  assert.deepEqual([states[0], ...states.slice(-2)], ['polling', 'stopping', 'stopped'], states.join());
  assert.match(readFileSync(log, 'utf8'), /\[poll\] worker \d+ polls/);
});

it('a start that fails rejects as the command ends, and leaves nothing', async (b) => {
  const crash = { command: node('exits.mjs', '7'), restart: 'never', wait: true } as const;
  const errors = await Promise.all([
    failure(start(b, { command: [] }), 78, /command/),
    failure(start(b, { stopTimout: 3 } as never), 64, /--stop-timout[\s\S]*--stop-timeout\?/),
    failure(start(b, { stopTimeout: 'soon' }), 78, /stop-timeout/),
    failure(start(b, crash), 7, /./),
    failure(start(b, { command: 'node bot.js' as never }), 64, /command is "node bot.js", not an array/),
    failure(start(b, { cwd: `${b.dir}/none` }), 78, /./),
    failure(api.status({ bot: '@nobody', env: b.env }), 64, /nobody/),
  ]);
  await failure(start(b, { ...crash, command: ['true'] }), 69, /the worker ended/);
  for (const { message, hint } of errors) assertNoToken(`${message}${hint}`, b.token);
  assert.match(errors.at(-1)?.hint ?? '', /status --all/);
  assert.deepEqual(findByEnv('SP_TEST_COOKIE', b.cookie), []);
});

xit('whoever kills the program: supervisor and worker go with it, gracefully', async (b) => {
  const { running, pid } = await program(b, '');
  running.signal('SIGKILL');
  await until('the supervisor to be gone', () => !alive(pid), running);
  assert.deepEqual(findByEnv('SP_TEST_COOKIE', b.cookie), []);
  assert.ok(b.journal().some(({ ev, signal }) => ev === 'signal' && signal === 'SIGTERM'));
  assert.match(running.stderr(), /the program that it belongs to has gone/);
});

for (const how of ['means both', 'means both, also where the program calls stop()', 'twice kills'] as const)
  xit(`Ctrl-C ${how}: the worker has the time that it needs, unless it is asked again`, async (b) => {
    // Takes 700 ms to end.
    const slow = `import { note, poll } from ${JSON.stringify(worker('poll.mjs'))};
process.on('SIGTERM', () => setTimeout(() => { note({ ev: 'end' }); process.exit(0); }, 700));
await poll();`;
    const command = `command: ['node', ${JSON.stringify(b.file('slow.mjs', slow))}]`;
    const isForBoth = how !== 'twice kills';
    const stops = how.endsWith('stop()') ? { SP_STOPS: '1' } : {};
    const { running, pid } = await program(b, command, isForBoth, stops);
    if (isForBoth) process.kill(-running.pid, 'SIGINT');
    else {
      running.signal('SIGKILL');
      await running.waitFor('[stop] stopping: the program that it belongs to has gone');
      // Signals that wait together are one.
      process.kill(pid, 'SIGINT');
      process.kill(pid, 'SIGTERM');
    }
    await until('the supervisor to be gone', () => !alive(pid), running);
    await running.exit();
    assert.deepEqual(findByEnv('SP_TEST_COOKIE', b.cookie), []);
    assert.equal(
      b.journal().some(({ ev }) => ev === 'end'),
      isForBoth,
      running.stderr(),
    );
    assert.equal(running.stderr().includes('asked again: killing now'), !isForBoth, running.stderr());
  });
