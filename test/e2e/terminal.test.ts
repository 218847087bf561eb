// A terminal that hangs up, a reader that goes away, a full disk behind stdout: no crash, no orphan.
import assert from 'node:assert/strict';
import { openSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Bed, bed, node, PYTHON } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { handled } from '../support/judge.ts';
import { alive, commandOf, findByEnv } from '../support/proc.ts';
import { polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

const inPty = fileURLToPath(new URL('../fixtures/in-pty.py', import.meta.url));
/** Prints a line every 5 ms on both streams, beside a poller. */
const chatty = (b: Bed): string[] => {
  const file = b.file(
    'chatty.mjs',
    `for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
setInterval(() => { console.log('tick', Date.now()); console.error('tock'); }, 5);
await import(${JSON.stringify(node('polite.mjs')[1])});\n`,
  );
  return [process.execPath, file];
};

async function stillServes(b: Bed, what: string, seen: () => string): Promise<void> {
  const id = b.sandbox.text(what);
  await until(`updates after ${what}`, () => handled(b.journal()).has(id), { seen });
}

for (const command of ['quiet', 'chatty'] as const) {
  test(`terminal: hang-up with a ${command} worker: no crash, no orphan`, async (t) => {
    const b = await bed(t);
    const hangup = join(b.dir, 'hangup');
    const words = command === 'quiet' ? node('polite.mjs') : chatty(b);
    const terminal = b.spawn(
      PYTHON,
      [inPty, '--hangup-file', hangup, process.execPath, PROGRAM, 'start', '--', ...words],
      {
        env: { ...b.env, TERM: 'xterm' },
      },
    );
    await until('a poll', () => b.sandbox.polls().length > 0, { seen: terminal.seen });
    // Not the wrapper that holds the terminal: it has the same words as arguments.
    const supervisor = () =>
      findByEnv('SP_TEST_COOKIE', b.cookie).find(
        (pid) => commandOf(pid).includes(`${PROGRAM} start`) && !commandOf(pid).includes('in-pty.py'),
      );
    const workers = () => findByEnv('SINGLEPOLL_BOT', String(b.botId));
    assert.ok(supervisor());
    writeFileSync(hangup, '');
    // Settled: either all is gone, or the supervisor serves with one worker.
    await until(
      'all gone, or a worker that serves again',
      async () => {
        if (!supervisor()) return workers().length === 0;
        const id = b.sandbox.text('?');
        await new Promise((resolve) => setTimeout(resolve, 300));
        return handled(b.journal()).has(id);
      },
      { seen: () => `supervisor ${supervisor()} workers ${workers().map(commandOf)}` },
    );
    await staysTrue('no orphan', 1500, () => supervisor() !== undefined || workers().length === 0);
    rmSync(hangup);
    const next = await b.run(['status', '--json']);
    assert.equal(next.code, supervisor() ? 0 : 3, next.stdout);
  });
}

const nohup = ['nohup', process.execPath, '--', PROGRAM, 'start', '--', ...node('polite.mjs')];
for (const [how, command] of [
  // bash names the program in `_`, and gives a background job an empty stdin.
  ['nohup node … & in bash', ['bash', '-c', '"$@" & wait', 'bash', ...nohup]],
  // dash does not; nohup takes the terminal away from stdin.
  ['nohup node … in dash', ['dash', '-c', '"$@"; exit', 'dash', ...nohup]],
  ['nohup singlepoll … & in bash', ['bash', '-c', '"$@" & wait', 'bash', 'nohup', ...nohup.slice(3)]],
] as const) {
  test(`terminal: hang-up of \`${how}\`: supervisor and worker go on`, async (t) => {
    const b = await bed(t);
    const hangup = join(b.dir, 'hangup');
    const terminal = b.spawn(PYTHON, [inPty, '--hangup-file', hangup, ...command], {
      env: { ...b.env, TERM: 'xterm' },
    });
    await until('a poll', () => b.sandbox.polls().length > 0, { seen: terminal.seen });
    const shell = Number(/pty (\d+)/.exec(terminal.stdout())?.[1]);
    writeFileSync(hangup, '');
    await until('the shell to be hung up', () => !alive(shell));
    await stillServes(b, 'after the hang-up', terminal.seen);
    await staysTrue('the worker stays', 1_000, () => polledBy(b, 'polite.mjs').some(alive));
    assert.equal(polledBy(b, 'polite.mjs').length, 1);
    const stop = await b.run(['stop']);
    assert.equal(stop.code, 0, stop.stderr);
    rmSync(hangup);
  });
}

test('output: the reader of both streams goes away (EPIPE)', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--heartbeat', '100ms', '--', ...chatty(b)]);
  await run.waitFor('tick');
  run.child.stdout?.destroy();
  run.child.stderr?.destroy();
  await staysTrue('the supervisor lives', 1500, () => assert.equal(run.ended(), null) ?? true);
  await stillServes(b, 'EPIPE', run.seen);
  assert.equal(new Set(polledBy(b, 'chatty.mjs')).size, 1, 'the same worker');
  run.signal('SIGTERM');
  assert.equal((await run.exit()).code, 0);
});

test('output: stdout and stderr on a full disk (/dev/full)', async (t) => {
  const b = await bed(t);
  const full = openSync('/dev/full', 'w');
  const run = await b.polling(['--heartbeat', '100ms', '--', ...chatty(b)], { stdout: full, stderr: full });
  await staysTrue('the supervisor lives', 1500, () => assert.equal(run.ended(), null) ?? true);
  await stillServes(b, 'ENOSPC', run.seen);
  run.signal('SIGTERM');
  assert.equal((await run.exit()).code, 0);
});

test('output: nobody reads (a stopped reader): the polls of a worker that is quiet go on, and it stops', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--heartbeat', '50ms', '--', ...chatty(b)]);
  run.child.stdout?.pause();
  run.child.stderr?.pause();
  await staysTrue('the supervisor lives', 1000, () => !run.ended());
  const status = await b.status();
  assert.equal(status.supervisor?.pid, run.pid);
  run.signal('SIGTERM');
  await until('its end', () => !alive(run.pid), { ms: 20_000 });
  assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
});

test('output: stdin, stdout and stderr closed from the start', async (t) => {
  const b = await bed(t);
  const run = b.spawn(
    'sh',
    ['-c', `exec "$@" <&- >&- 2>&-`, 'sh', process.execPath, PROGRAM, 'start', '--', ...node('polite.mjs')],
    {
      env: b.env,
    },
  );
  await until('a poll', () => b.sandbox.polls().length > 0, { seen: run.seen });
  await stillServes(b, 'closed', run.seen);
  run.signal('SIGTERM');
  assert.equal((await run.exit()).code, 0);
});
