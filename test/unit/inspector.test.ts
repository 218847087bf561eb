/** The child that reads strangers' processes: patterns, its life. Dead mounts: test/thorough/inspector.test.ts. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { Eyes } from '../../src/strays/finder.ts';
import { alive, readProc } from '../support/proc.ts';
import { eachWithEyes, type StrayWorld } from '../support/stray-world.ts';
import { until } from '../support/wait.ts';

let world: StrayWorld;
let eyes: Eyes;
eachWithEyes((it) => {
  ({ world, eyes } = it);
});

test('a child whose answers nobody takes yet, on a pipe that does not block, waits and loses none', async () => {
  // execa touches process.stdout, too, as soon as a service manager is asked.
  const touch = ['--import', 'tsx', '--import', 'data:text/javascript,process.stdout'];
  const path = new URL('../../src/strays/inspector-child.ts', import.meta.url).pathname;
  const cwd = new URL('../..', import.meta.url).pathname;
  const child = world.start(process.execPath, [...touch, path], { cwd, stdio: ['pipe', 'pipe', 'inherit'] });
  // Far beyond those that a kernel gives out: an answer of a few bytes for each.
  const pids = Array.from({ length: 40_000 }, (_, n) => 1e8 + n);
  const greeting = { token: null, botId: '1', patterns: [], scope: 'any', projectDir: '/' };
  child.stdin!.write(`${JSON.stringify(greeting)}\n${JSON.stringify({ do: 'inspect', chunks: [pids] })}\n`);
  await once(child.stdout!, 'readable');
  await until('it to wait for us', () => readProc(child.pid)?.state === 'S');
  const answers: unknown[] = [];
  for await (const line of createInterface({ input: child.stdout! })) {
    answers.push(JSON.parse(line));
    if (line === '{"done":true}') child.stdin!.end();
  }
  assert.equal(answers.length, 1 + pids.length + 1);
});

test('where we ourselves stand still, no process is taken for one at which the child hangs', async () => {
  const { processes } = eyes;
  await processes.snapshot();
  const { pid } = world.start('sleep', ['1000'], { env: { T: world.token } });
  const taken = processes.snapshot();
  // It is asked by then; its answer waits for us.
  for (let turn = 0; turn < 3; turn++) await setImmediate();
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_500);
  const { procs, uninspectable } = await taken;
  assert.equal(uninspectable.stuck, 0);
  assert.equal(procs.get(pid)?.env?.holdsToken, true);
});

test('the child has a session of its own, no token in sight, and ends with us', async () => {
  const code = `
    import { openEyes } from ${JSON.stringify(new URL('../../src/strays/finder.ts', import.meta.url).href)};
    const eyes = openEyes({ token: process.env.T, botId: '1', patterns: [], scope: 'any', projectDir: '/' });
    await eyes.processes.snapshot();
    process.stdout.write('ready\\n');
    await new Promise((done) => setTimeout(done, 60_000));
  `;
  const args = ['--import', 'tsx', '--input-type=module', '-e', code];
  const parent = world.start(process.execPath, args, {
    cwd: new URL('../..', import.meta.url).pathname,
    env: { ...world.bareEnv, T: world.token, SINGLEPOLL_RUN: 'r', SINGLEPOLL_BOT: world.botId },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((done) => parent.stdout!.once('data', done));
  const { procs } = await eyes.processes.snapshot();
  const child = [...procs.values()].find(({ ppid }) => ppid === parent.pid)!;
  assert.equal(child.sid, child.pid);
  assert.deepEqual([child.env?.holdsToken, child.env?.bot, child.env?.run], [false, null, null]);
  assert.equal(child.tokenInArgs, false);
  parent.kill('SIGKILL');
  await until('it to end by itself', () => !alive(child.pid));
});

test('a program that has looked once ends at once, with the child still there', async () => {
  const code = `
    import { openEyes } from ${JSON.stringify(new URL('../../src/strays/finder.ts', import.meta.url).href)};
    import { allPids, readProc } from ${JSON.stringify(new URL('../support/proc.ts', import.meta.url).href)};
    const eyes = openEyes({ token: null, botId: '1', patterns: [], scope: 'any', projectDir: '/' });
    await eyes.processes.snapshot();
    process.on('exit', () => {
      const children = allPids().map(readProc).filter((it) => it?.ppid === process.pid && it.state !== 'Z');
      process.stdout.write(String(children.length));
    });
  `;
  const args = ['--import', 'tsx', '--input-type=module', '-e', code];
  const one = world.start(process.execPath, args, {
    cwd: new URL('../..', import.meta.url).pathname,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const children = Number(await new Promise<Buffer>((done) => one.stdout!.once('data', done)));
  await until('its end', () => one.exitCode !== null);
  assert.equal(one.exitCode, 0);
  assert.equal(children, 1, 'it did not wait for the end of the idle child');
});
