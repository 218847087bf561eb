// A terminal that hangs up, a reader that goes away, a full disk behind stdout: no crash, no orphan. And no file stays behind.
import assert from 'node:assert/strict';
import { openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
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
const START = [process.execPath, '--', PROGRAM, 'start', '--'];
/** Prints a line every 5 ms on both streams, beside a poller. */
const chatty = (b: Bed): string[] => [
  process.execPath,
  b.file(
    'chatty.mjs',
    `for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
setInterval(() => { console.log('tick', Date.now()); console.error('tock'); }, 5);
await import(${JSON.stringify(node('polite.mjs')[1])});\n`,
  ),
];

async function stillServes(b: Bed, what: string, seen: () => string): Promise<void> {
  const id = b.sandbox.text(what);
  await until(`updates after ${what}`, () => handled(b.journal()).has(id), { seen });
}

/** A terminal with a command in it, and the way to hang it up. */
async function inTerminal(b: Bed, command: readonly string[]) {
  const file = join(b.dir, 'hangup');
  const terminal = b.spawn(PYTHON, [inPty, '--hangup-file', file, ...command], {
    env: { ...b.env, TERM: 'xterm' },
  });
  await until('a poll', () => b.sandbox.polls().length > 0, { seen: terminal.seen });
  return { ...terminal, hangUp: () => writeFileSync(file, ''), end: () => rmSync(file) };
}

for (const kind of ['quiet', 'chatty'] as const) {
  test(`terminal: hang-up with a ${kind} worker: all ends, or the supervisor serves; no orphan`, async (t) => {
    const b = await bed(t);
    const terminal = await inTerminal(b, [...START, ...(kind === 'quiet' ? node('polite.mjs') : chatty(b))]);
    // Not the wrapper that holds the terminal: it has the same words as arguments.
    const supervisor = () =>
      findByEnv('SP_TEST_COOKIE', b.cookie).find(
        (pid) => commandOf(pid).includes(`${PROGRAM} start`) && !commandOf(pid).includes('in-pty.py'),
      );
    const workers = () => findByEnv('SINGLEPOLL_BOT', String(b.botId));
    assert.ok(supervisor());
    terminal.hangUp();
    // Settled: either all is gone, or the supervisor serves with one worker.
    await until(
      'all gone, or a worker that serves',
      async () => {
        if (!supervisor()) return workers().length === 0;
        const id = b.sandbox.text('?');
        await new Promise((resolve) => setTimeout(resolve, 300));
        return supervisor() && handled(b.journal()).has(id);
      },
      { seen: () => `supervisor ${supervisor()} workers ${workers().map(commandOf)}` },
    );
    await staysTrue('no orphan', 500, () => supervisor() !== undefined || workers().length === 0);
    terminal.end();
    assert.equal((await b.run(['status', '--json'])).code, supervisor() ? 0 : 3);
  });
}

const nohup = ['nohup', ...START, ...node('polite.mjs')];
for (const [how, command] of [
  // bash names the program in `_`, and gives a background job an empty stdin.
  ['nohup node … & in bash', ['bash', '-c', '"$@" & wait', 'bash', ...nohup]],
  // dash does not; nohup takes the terminal away from stdin.
  ['nohup node … in dash', ['dash', '-c', '"$@"; exit', 'dash', ...nohup]],
  ['nohup singlepoll … & in bash', ['bash', '-c', '"$@" & wait', 'bash', 'nohup', ...nohup.slice(3)]],
] as const) {
  test(`terminal: hang-up of \`${how}\`: supervisor and worker go on`, async (t) => {
    const b = await bed(t);
    const terminal = await inTerminal(b, command);
    const shell = Number(/pty (\d+)/.exec(terminal.stdout())?.[1]);
    terminal.hangUp();
    await until('the shell to be hung up', () => !alive(shell));
    await stillServes(b, 'the hang-up', terminal.seen);
    assert.equal(polledBy(b, 'polite.mjs').filter(alive).length, 1);
    assert.equal((await b.run(['stop'])).code, 0);
    terminal.end();
  });
}

for (const how of ['has gone (EPIPE)', 'is a full disk (/dev/full)', 'does not read'] as const) {
  test(`output: the reader of both streams ${how}: supervisor and worker go on, and stop`, async (t) => {
    const b = await bed(t);
    const full = how.startsWith('is') ? openSync('/dev/full', 'w') : null;
    const streams = full === null ? {} : { stdout: full, stderr: full };
    const run = await b.polling(['--heartbeat', '100ms', '--', ...chatty(b)], streams);
    if (how.startsWith('has')) {
      await run.waitFor('tick');
      run.child.stdout?.destroy();
      run.child.stderr?.destroy();
    } else if (full === null) {
      run.child.stdout?.pause();
      run.child.stderr?.pause();
    }
    await staysTrue('the supervisor lives', 500, () => !run.ended());
    // Where nobody reads, a worker that prints waits, as on any full pipe.
    if (how !== 'does not read') await stillServes(b, how, run.seen);
    assert.equal((await b.status()).supervisor?.pid, run.pid);
    assert.equal(new Set(polledBy(b, 'chatty.mjs')).size, 1, 'the same worker');
    run.signal('SIGTERM');
    await until('its end', () => !alive(run.pid), { ms: 20_000 });
    if (how !== 'does not read') assert.equal((await run.exit()).code, 0);
    assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
  });
}

test('output: stdin, stdout and stderr closed from the start', async (t) => {
  const b = await bed(t);
  const run = b.spawn('sh', ['-c', `exec "$@" <&- >&- 2>&-`, 'sh', ...START, ...node('polite.mjs')], {
    env: b.env,
  });
  await until('a poll', () => b.sandbox.polls().length > 0, { seen: run.seen });
  await stillServes(b, 'closed streams', run.seen);
  run.signal('SIGTERM');
  assert.equal((await run.exit()).code, 0);
});

test('pipes: no FIFO stays in the state folder, after a crash, kill -9 and the next start, and a stop', async (t) => {
  const b = await bed(t);
  const fifos = () =>
    readdirSync(join(b.stateDir, String(b.botId)), { withFileTypes: true })
      .filter((it) => it.isFIFO())
      .map(({ name }) => name);
  const first = await b.polling(['--backoff', '10ms,20ms', '--', ...node('polite.mjs')]);
  process.kill(polledBy(b, 'polite.mjs')[0] ?? -1, 'SIGKILL');
  await until('the next worker', () => polledBy(b, 'polite.mjs').length === 2, { seen: first.seen });
  first.signal('SIGKILL');
  await first.exit();
  const second = await b.polling(['--', ...node('polite.mjs')]);
  await until('none to be left', () => fifos().length === 0, { seen: () => fifos().join(' ') });
  second.signal('SIGTERM');
  assert.equal((await second.exit()).code, 0, second.seen());
  assert.deepEqual(fifos(), []);
});
