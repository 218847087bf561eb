/** The process list without /proc, with the tools of this machine. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openEyes } from '../../src/strays/finder.ts';
import { isStopped } from '../../src/strays/grade.ts';
import { psHands } from '../../src/strays/processes.ts';
import { PYTHON } from '../support/bed.ts';
import { alive, readProc } from '../support/proc.ts';
import { createStrayWorld } from '../support/stray-world.ts';

test('one process before a signal: start time and state; nobody is null', () => {
  const look = psHands.look(process.pid)!;
  const bootS = Number(/^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'latin1'))?.[1]);
  const startedMs = bootS * 1_000 + (readProc(process.pid)?.startTicks ?? 0) * 10;
  assert.ok(Math.abs(Date.parse(look.startId) - startedMs) < 2_000, `${look.startId}, ${startedMs}`);
  assert.equal(psHands.look(4_000_000), null);
});

test('a declared stray is found and stopped without /proc; one whose folder cannot be seen is reported', async () => {
  const world = createStrayWorld();
  try {
    const script = join(world.project, 'simple_polling_bot.py');
    writeFileSync(script, 'import time\nprint("here", flush=True)\ntime.sleep(1000)\n');
    const start = async (path: string) => {
      const child = world.start(PYTHON, [path], { stdio: ['ignore', 'pipe', 'inherit'] });
      await new Promise((done) => child.stdout!.once('data', done));
      return child;
    };
    const [stray, relative] = [await start(script), await start('simple_polling_bot.py')];
    const { token, botId, project: projectDir } = world;
    const sought = { token, botId, patterns: ['simple_polling'], scope: 'project', projectDir } as const;
    const { finder } = openEyes(sought, false);
    const { strays } = await finder.look();
    const grades = new Map(strays.map((one) => [one.pid, one.grade]));
    assert.deepEqual([grades.get(stray.pid), grades.get(relative.pid)], ['declared', 'likely']);
    const guilty = strays.filter((one) => isStopped(one.grade));
    assert.ok(guilty[0]!.startedAt);
    await finder.stop(guilty, { stopTimeoutMs: 3_000 });
    assert.ok(!alive(stray.pid));
    assert.ok(alive(relative.pid));
  } finally {
    await world.close();
  }
});
