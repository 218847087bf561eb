/** Looking at processes that hold up whoever reads them: nobody here waits for them, and they are counted. Mounting takes root. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readLink } from '../../src/machine/procfs.ts';
import { findOwners } from '../../src/machine/sockets.ts';
import { fixture, PYTHON } from '../support/bed.ts';
import { allPids, readProc } from '../support/proc.ts';
import { eachWithEyes, type StrayWorld } from '../support/stray-world.ts';
import { LONG_MS, longestBlock } from '../support/wait.ts';

let world: StrayWorld;
const look = eachWithEyes((it) => {
  ({ world } = it);
});

// A child that runs from the sources starts slowly beside other tests.
const takesLong = { timeoutMs: LONG_MS };

/** The children that read for us. Not by their command lines, as those of others here can't be read. */
const readers = () =>
  allPids().filter(
    (pid) => readProc(pid)?.ppid === process.pid && readLink(`/proc/${pid}/exe`) === process.execPath,
  );

async function deadMount(what: 'memory' | 'cwd'): Promise<number> {
  const child = world.start(PYTHON, [fixture('dead-mount.py'), what, world.project], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((done) => child.stdout!.once('data', done));
  return child.pid;
}

test("a process whose arguments and environment can't be read for ever: left out and counted, all others are seen and matched", async (t) => {
  const name = { argv0: 'known-name' };
  const before = world.start('sleep', ['1000'], name);
  const stuck = await deadMount('memory');
  const after = world.start('sleep', ['1000'], { ...name, env: { T: world.token } });
  const eyes = look(['known-name']);
  t.after(() => eyes.close());
  const { answer, blockedMs } = await longestBlock(() => eyes.processes.snapshot(takesLong));
  assert.equal(answer.procs.get(stuck)?.env, null);
  assert.ok(answer.uninspectable.stuck >= 1);
  assert.equal(answer.procs.get(after.pid)?.env?.holdsToken, true, 'who comes after it is read');
  for (const { pid } of [before, after]) assert.equal(answer.procs.get(pid)?.match?.pattern, 'known-name');
  assert.ok(blockedMs < 200, `blocked for ${blockedMs} ms`);
  // The second time nobody is sent there again.
  const again = world.start('sleep', ['1000'], { env: { T: world.token } });
  const reading = readers();
  const second = await eyes.processes.snapshot(takesLong);
  assert.deepEqual(
    readers().filter((pid) => !reading.includes(pid)),
    [],
    'no second child waits for it',
  );
  assert.equal(second.procs.get(again.pid)?.env?.holdsToken, true);
  assert.ok(second.uninspectable.stuck >= 1);
  const { answer: owners, blockedMs: lookedMs } = await longestBlock(() => findOwners([1]));
  assert.deepEqual(owners, new Map(), 'its descriptors hold nobody up');
  assert.ok(lookedMs < 200, `blocked for ${lookedMs} ms`);
});

test('a script on a dead mount: the process is known, where its script is remains unseen, it is not stopped', async () => {
  const folder = `${world.project}/cwd`;
  const stuck = await deadMount('cwd');
  const there = look(['dead-mount'], folder);
  try {
    const { answer, blockedMs } = await longestBlock(() => there.processes.snapshot(takesLong));
    assert.deepEqual(answer.procs.get(stuck)?.match, { pattern: 'dead-mount', inScope: null });
    assert.ok(blockedMs < 200, `blocked for ${blockedMs} ms`);
    const { strays } = await there.finder.look();
    assert.equal(strays.find(({ pid }) => pid === stuck)?.grade, 'likely');
  } finally {
    there.close();
  }
});
