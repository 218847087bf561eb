/** A machine with 3,000 processes: looking at them holds nothing else up. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openEyes, openFinder } from '../../src/strays/finder.ts';
import { createStrayWorld, PYTHON, until } from '../support/stray-world.ts';

/** The longest time in which nothing else could be done. */
async function longestBlock<T>(work: () => Promise<T>): Promise<{ answer: T; blockedMs: number }> {
  let lastMs = performance.now();
  let blockedMs = 0;
  const tick = () => {
    blockedMs = Math.max(blockedMs, performance.now() - lastMs);
    lastMs = performance.now();
  };
  const timer = setInterval(tick, 1);
  try {
    return { answer: await work(), blockedMs };
  } finally {
    tick();
    clearInterval(timer);
  }
}

test('3,000 processes: others get their turn within 50 ms while all are looked at', async (t) => {
  const world = await createStrayWorld();
  t.after(() => world.close());
  const { token, botId, project } = world;
  const open = () => openEyes({ token, botId, patterns: [], scope: 'project', projectDir: project });
  const eyes = open();
  t.after(() => eyes.inspector.close());
  const crowd = [
    'import os,sys,time',
    'pids=[]',
    'for i in range(3000):',
    ' pid=os.fork()',
    ' if pid==0: time.sleep(300); os._exit(0)',
    ' pids.append(pid)',
    'print("ready",flush=True)',
    'sys.stdin.read()',
    'for pid in pids: os.kill(pid,9)',
    'for pid in pids: os.waitpid(pid,0)',
  ].join('\n');
  const child = world.start(PYTHON, ['-c', crowd], { stdio: ['pipe', 'pipe', 'inherit'] });
  await new Promise((done) => child.stdout!.once('data', done));
  try {
    const finder = openFinder({ botId, eyes, managers: false });
    // The best of three, as other tests may have the machine busy.
    const blocks: number[] = [];
    for (let i = 0; i < 3; i++) {
      const { answer, blockedMs } = await longestBlock(() => finder.look());
      assert.deepEqual(answer.strays, []);
      blocks.push(blockedMs);
    }
    const fresh = open();
    t.after(() => fresh.inspector.close());
    const first = await longestBlock(() => fresh.processes.snapshot());
    assert.ok(first.answer.procs.size > 3_000);
    assert.ok([...first.answer.procs.values()].filter(({ argv }) => argv.length > 0).length > 3_000);
    blocks.push(first.blockedMs);
    assert.ok(Math.min(...blocks) <= 50, `${blocks.map(Math.round).join(', ')} ms`);
    assert.ok(Math.max(...blocks) <= 200, `${blocks.map(Math.round).join(', ')} ms`);
  } finally {
    child.stdin!.end();
    await until(() => child.exitCode !== null, 'the crowd has gone');
  }
});
