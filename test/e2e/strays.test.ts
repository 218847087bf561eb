/** The finder with real processes: leftovers, patterns, and what a look costs. */
import assert from 'node:assert/strict';
import { symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { isStopped, openEyes, openFinder, type Stray } from '../../src/strays/finder.ts';
import { createStrayWorld, isAlive, PYTHON, type StrayWorld, until } from '../support/stray-world.ts';

let world: StrayWorld;
beforeEach(async () => {
  world = await createStrayWorld();
});
afterEach(() => world.close());

const STOP = { stopTimeoutMs: 1_500, killWaitMs: 3_000 };

function finder(patterns: readonly RegExp[] = [], scope: 'project' | 'any' = 'project') {
  const { token, botId, project } = world;
  const eyes = openEyes({ token, botId, patterns, scope, projectDir: project });
  return openFinder({ botId, eyes, managers: false });
}

function gradeOf(strays: readonly Stray[], pid: number): string | undefined {
  return strays.find((stray) => stray.pid === pid)?.grade;
}

const withToken = () => ({ ...world.bareEnv, TELEGRAM_BOT_TOKEN: world.token });

test('own: what an earlier worker left behind is found by its cookie, in another session, with its relatives', async () => {
  const env = {
    ...withToken(),
    SINGLEPOLL_BOT: world.botId,
    SINGLEPOLL_RUN: 'old-run',
    SINGLEPOLL_SPAWN: '3',
  };
  world.start(PYTHON, ['scatter_bot.py'], { env });
  await until(() => world.polling().size === 1, 'the left-behind child polls');
  const [left] = [...world.polling()] as [number];
  const sleeper = world.start('sleep', ['1000'], { env, detached: true, cwd: '/' });
  const strays = finder();
  const { strays: found } = await strays.look();
  assert.equal(gradeOf(found, left), 'own');
  const result = await strays.stop(
    found.filter((one) => one.pid === left),
    STOP,
  );
  assert.deepEqual(result.survivors, []);
  assert.ok(!isAlive(left));
  await until(() => !isAlive(sleeper.pid), 'the relative by cookie went too');
});

test('the present worker and all that carries its run and spawn is no stray', async () => {
  const env = { ...withToken(), SINGLEPOLL_BOT: world.botId, SINGLEPOLL_RUN: 'now', SINGLEPOLL_SPAWN: '2' };
  const worker = world.start(PYTHON, ['master_bot.py'], { env, detached: true });
  const former = world.start(PYTHON, ['simple_polling_bot.py'], { env: { ...env, SINGLEPOLL_SPAWN: '1' } });
  await until(() => world.polling().size === 3, 'they poll');
  const strays = finder();
  const look = { worker: { pid: worker.pid, run: 'now', spawn: '2' } };
  const found = (await strays.look(look)).strays.filter((one) => isStopped(one.grade));
  assert.deepEqual(
    found.map((one) => [one.pid, one.grade]),
    [[former.pid, 'own']],
  );
  await strays.stop(found, { ...STOP, ...look });
  assert.ok(!isAlive(former.pid));
  assert.ok(isAlive(worker.pid));
  // Between two workers its remains are strays themselves.
  const remains = strays.quickLook({ worker: null }).strays.filter((one) => isStopped(one.grade));
  assert.equal(remains.length, 3);
  await strays.stop(remains, STOP);
  assert.ok(!isAlive(worker.pid));
});

test('declared by a pattern: the script, in scope; a wrapper shell and npm-like parents go with it', async () => {
  const wrapper = world.start('sh', ['-c', `${PYTHON} production_polling_bot.py; true`], {
    env: { ...world.bareEnv, LEGACY: '1' },
    detached: true,
  });
  const outside = world.start(PYTHON, ['production_polling_bot.py'], { cwd: world.elsewhere });
  await until(() => world.polling().size === 2, 'both run');
  const strays = finder([/production_polling_bot\.py/]);
  const { strays: found } = await strays.look();
  assert.equal(gradeOf(found, outside.pid), 'likely');
  const guilty = found.filter((one) => isStopped(one.grade));
  assert.equal(guilty.length, 1);
  assert.equal(guilty[0]!.grade, 'declared');
  assert.equal(strays.planOf(guilty[0]!)[0]!.pid, wrapper.pid);
  await strays.stop(guilty, STOP);
  assert.ok(!isAlive(wrapper.pid));
  assert.ok(isAlive(outside.pid));
});

test('declared wherever its script lies in the project: started by cron in / or $HOME, through a link too', async () => {
  const pattern = /production_polling_bot\.py/;
  const script = join(world.project, 'production_polling_bot.py');
  symlinkSync(script, join(world.elsewhere, 'linked_production_polling_bot.py'));
  const cron = world.start(PYTHON, [script], { cwd: '/' });
  const home = world.start(PYTHON, ['project/production_polling_bot.py'], { cwd: dirname(world.project) });
  const link = world.start(PYTHON, [join(world.elsewhere, 'linked_production_polling_bot.py')], { cwd: '/' });
  const outside = world.start(PYTHON, [join(world.elsewhere, 'production_polling_bot.py')], { cwd: '/' });
  await until(() => world.polling().size === 4, 'all run');
  const { strays } = await finder([pattern]).look();
  for (const [name, pid] of Object.entries({ cron: cron.pid, home: home.pid, link: link.pid }))
    assert.equal(gradeOf(strays, pid), 'declared', name);
  assert.equal(gradeOf(strays, outside.pid), 'likely');
});
