/** The process list without /proc, with the tools of this machine. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openEyes } from '../../src/strays/finder.ts';
import { isStopped } from '../../src/strays/grade.ts';
import { psHands } from '../../src/strays/processes.ts';
import { readProc } from '../support/proc.ts';
import { createStrayWorld, isAlive, PYTHON } from '../support/stray-world.ts';
import { until } from '../support/wait.ts';

test('one process before a signal: start time and state; nobody is null', () => {
  const look = psHands.look(process.pid)!;
  const bootS = Number(/^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'latin1'))?.[1]);
  const startedMs = bootS * 1_000 + (readProc(process.pid)?.startTicks ?? 0) * 10;
  assert.ok(Math.abs(Date.parse(look.startId) - startedMs) < 2_000, `${look.startId}, ${startedMs}`);
  assert.equal(psHands.look(4_000_000), null);
});

test('a declared stray is found and stopped without /proc; one whose folder cannot be seen is reported', async () => {
  const world = await createStrayWorld();
  try {
    const script = join(world.project, 'simple_polling_bot.py');
    const stray = world.start(PYTHON, [script], { env: world.bareEnv });
    const relative = world.start(PYTHON, ['simple_polling_bot.py'], { env: world.bareEnv });
    await until('they poll', () => [stray, relative].every(({ pid }) => world.polling().has(pid)));
    const { token, botId, project: projectDir } = world;
    const sought = { token, botId, patterns: ['simple_polling'], scope: 'project', projectDir } as const;
    const { finder } = openEyes(sought, false);
    const { strays } = await finder.look();
    const grades = new Map(strays.map((one) => [one.pid, one.grade]));
    assert.deepEqual([grades.get(stray.pid), grades.get(relative.pid)], ['declared', 'likely']);
    const guilty = strays.filter((one) => isStopped(one.grade));
    assert.ok(guilty[0]!.startedAt);
    await finder.stop(guilty, { stopTimeoutMs: 3_000 });
    assert.ok(!isAlive(stray.pid));
    assert.ok(isAlive(relative.pid));
  } finally {
    await world.close();
  }
});
