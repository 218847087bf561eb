/** A machine with 3,000 processes: looking at them is quick, and holds nothing else up. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { openEyes } from '../../src/strays/finder.ts';
import { createStrayWorld, type StrayWorld, startCrowd } from '../support/stray-world.ts';
import { longestBlock } from '../support/wait.ts';

let world: StrayWorld;
beforeEach(async () => {
  world = createStrayWorld();
  await startCrowd(world, 3_000);
});
afterEach(() => world.close());

function open(patterns: readonly string[] = []) {
  const { token, botId, project } = world;
  return openEyes({ token, botId, patterns, scope: 'project', projectDir: project });
}

test('3,000 processes: others get their turn within 50 ms while all are looked at', async (t) => {
  const eyes = open();
  t.after(() => eyes.close());
  // The best of three, as other tests may have the machine busy.
  const blocks: number[] = [];
  for (let i = 0; i < 3; i++) {
    const { answer, blockedMs } = await longestBlock(() => eyes.finder.look());
    assert.deepEqual(answer.strays, []);
    blocks.push(blockedMs);
  }
  const fresh = open();
  t.after(() => fresh.close());
  const first = await longestBlock(() => fresh.processes.snapshot());
  assert.ok(first.answer.procs.size > 3_000);
  assert.ok([...first.answer.procs.values()].filter(({ argv }) => argv.length > 0).length > 3_000);
  blocks.push(first.blockedMs);
  assert.ok(Math.min(...blocks) <= 50, `${blocks.map(Math.round).join(', ')} ms`);
  assert.ok(Math.max(...blocks) <= 200, `${blocks.map(Math.round).join(', ')} ms`);
});

test('3,000 processes: a look takes at most 250 ms', async (t) => {
  const eyes = open(['production_polling_bot\\.py', 'gunicorn']);
  t.after(() => eyes.close());
  const times: number[] = [];
  // In CPU time, as other tests may have the machine busy; the best of five, as they also take its caches.
  for (let i = 0; i < 5; i++) {
    const before = process.cpuUsage();
    const { strays: found } = await eyes.finder.look();
    const { user, system } = process.cpuUsage(before);
    times.push((user + system) / 1000);
    // Other tests have processes of such names, too, in folders of their own.
    assert.deepEqual(
      found.filter(({ command }) => command.includes('many.py')),
      [],
    );
  }
  assert.ok(Math.min(...times) <= 250, `${times.map(Math.round).join(', ')} ms`);
});
