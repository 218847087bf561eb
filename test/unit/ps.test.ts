/** The process list without /proc, with the tools of this machine. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isStopped, openEyes, openFinder } from '../../src/strays/finder.ts';
import { parseLsof, parsePsEnvironments, psHands, scanPsText } from '../../src/strays/ps.ts';
import { createStrayWorld, isAlive, PYTHON, until } from '../support/stray-world.ts';

const OURS = '111111111:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw';

test('what the tools print', () => {
  assert.deepEqual(
    [...parsePsEnvironments('    1 /sbin/launchd\n  20 sh A=1\nx\n')],
    [
      [1, '/sbin/launchd'],
      [20, 'sh A=1'],
    ],
  );
  assert.deepEqual(
    [...parseLsof('p1\nfcwd\nn/\np20\nn/a\nn/b\n')],
    [
      [1, ['/']],
      [20, ['/a', '/b']],
    ],
  );
});

test('an environment behind a command line', () => {
  const text = `python bot.py HOME=/ TELEGRAM_BOT_TOKEN=${OURS} SINGLEPOLL_BOT=111111111 SINGLEPOLL_RUN=r SINGLEPOLL_SPAWN=3`;
  assert.deepEqual(scanPsText(text, [OURS]), {
    holdsToken: true,
    bot: '111111111',
    run: 'r',
    spawn: '3',
    marks: {},
  });
  assert.equal(scanPsText(text, ['222222222:x']).holdsToken, false);
});

test('one process before a signal: start time and state; nobody is null', () => {
  const look = psHands.look(process.pid)!;
  assert.ok(Math.abs(Date.parse(look.startId) - (Date.now() - process.uptime() * 1000)) < 5_000);
  assert.equal(psHands.look(4_000_000), null);
});

test('a declared stray and an own leftover are found and stopped without /proc', async () => {
  const world = await createStrayWorld();
  try {
    const env = { ...world.bareEnv, TELEGRAM_BOT_TOKEN: world.token };
    const stray = world.start(PYTHON, ['simple_polling_bot.py'], { env: world.bareEnv });
    const sleeper = world.start('sleep', ['1000'], { env });
    const cookies = { SINGLEPOLL_BOT: world.botId, SINGLEPOLL_RUN: 'old', SINGLEPOLL_SPAWN: '1' };
    const left = world.start('sleep', ['1001'], { env: { ...world.bareEnv, ...cookies } });
    await until(() => world.polling().has(stray.pid), 'it polls');
    const eyes = openEyes({
      ...{ token: world.token, botId: world.botId, patterns: [/simple_polling/] },
      ...{ scope: 'project', projectDir: world.project, procfs: false },
    });
    const finder = openFinder({ botId: world.botId, eyes, managers: false });
    const { strays } = await finder.look();
    const guilty = strays.filter((one) => isStopped(one.grade));
    assert.deepEqual(
      guilty.map((one) => [one.pid, one.grade, one.cwd]),
      [
        [left.pid, 'own', world.project],
        [stray.pid, 'declared', world.project],
      ],
    );
    assert.ok(guilty[0]!.startedAt);
    await finder.stop(guilty, { stopTimeoutMs: 3_000 });
    assert.ok(!isAlive(stray.pid));
    assert.ok(isAlive(sleeper.pid));
  } finally {
    await world.close();
  }
});
