/** Strays with real processes: every innocent stays, every guilty one goes with its tree. */
import assert from 'node:assert/strict';
import { existsSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { isStopped, openEyes, openFinder, type Stray } from '../../src/strays/finder.ts';
import type { Evidence } from '../../src/strays/grade.ts';
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

/** What the experiment would show: whoever polls reacts. */
function evidence(): Evidence {
  const pids = [...world.polling()];
  return { connected: new Set(pids), reactions: new Map(pids.map((pid) => [pid, 'once'])) };
}

function gradeOf(strays: readonly Stray[], pid: number): string | undefined {
  return strays.find((stray) => stray.pid === pid)?.grade;
}

const withToken = () => ({ ...world.bareEnv, TELEGRAM_BOT_TOKEN: world.token });

test('innocents, all at once: none is graded as to be stopped, and none is stopped', async () => {
  writeFileSync(join(world.project, 'production_polling_bot.log'), 'a line\n');
  const env = withToken();
  const innocents = new Map<string, number>();
  const put = (name: string, command: string, args: string[], options = {}) => {
    if (command.startsWith('/') && !existsSync(command))
      throw new Error(`${command} is needed for this test`);
    innocents.set(name, world.start(command, args, { env, ...options }).pid);
  };
  put('follower', 'tail', ['-f', 'production_polling_bot.log']);
  put('grep', 'grep', ['production_polling_bot.py'], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  put('shell with the token', 'bash', ['--norc'], { stdio: ['pipe', 'ignore', 'ignore'] });
  put('interactive shell', 'sh', ['-i'], { stdio: ['pipe', 'ignore', 'ignore'] });
  put('cron-like sleeper', 'sleep', ['1000'], { cwd: '/' });
  put('python sleeper named in an argument', PYTHON, [
    '-c',
    'import time; time.sleep(1000)',
    'production_polling_bot.py',
  ]);
  put('another bot', PYTHON, ['production_polling_bot.py'], {
    cwd: world.elsewhere,
    env: { ...world.bareEnv, TELEGRAM_BOT_TOKEN: world.otherToken },
  });
  put('another bot in the same folder', PYTHON, ['production_polling_bot.py'], {
    env: { ...world.bareEnv, TELEGRAM_BOT_TOKEN: world.otherToken },
  });
  put("another bot's worker with our token beside it", PYTHON, ['production_polling_bot.py'], {
    env: { ...env, SINGLEPOLL_BOT: '99', SINGLEPOLL_RUN: 'x', SINGLEPOLL_SPAWN: '1' },
  });
  put('editor', 'vim', ['-n', '-u', 'NONE', 'production_polling_bot.py'], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  if (process.getuid?.() === 0) {
    put('of another user', 'setpriv', [
      '--reuid=65534',
      '--clear-groups',
      PYTHON,
      '-c',
      'import time; time.sleep(1000)',
    ]);
  }
  // A zombie: its parent sleeps and never waits for it.
  const parent = world.start(
    PYTHON,
    ['-c', 'import os,time\nif os.fork()==0: os._exit(0)\ntime.sleep(1000)'],
    {
      env: world.bareEnv,
    },
  );
  innocents.set('parent of a zombie', parent.pid);
  await until(() => world.polling().size >= 3, 'the other bots poll');

  const strays = finder([/production_polling_bot\.py/, /gunicorn/], 'any');
  const { strays: found } = await strays.look({
    evidence: { connected: world.polling(), reactions: new Map() },
  });
  for (const [name, pid] of innocents) {
    const stray = found.find((one) => one.pid === pid);
    assert.ok(!stray || !isStopped(stray.grade), `${name}: ${stray?.grade} ${stray?.proof}`);
  }
  assert.equal(gradeOf(found, innocents.get('cron-like sleeper')!), 'hint');
  const guilty = found.filter((one) => isStopped(one.grade));
  assert.deepEqual(guilty, []);
  await strays.stop(guilty, STOP);
  for (const [name, pid] of innocents) assert.ok(isAlive(pid), `${name} still lives`);
});

test('guilty: legacy pollers, a stubborn one, a daemon, one from another folder, a master with workers', async () => {
  const env = withToken();
  const pids = new Map<string, number>();
  const put = (name: string, args: string[], options = {}) =>
    pids.set(name, world.start(PYTHON, args, { env, ...options }).pid);
  put('production', ['production_polling_bot.py']);
  put('working', ['-u', './working_polling_bot.py']);
  put('simple', ['simple_polling_bot.py']);
  put('stubborn', ['stubborn_bot.py']);
  put('elsewhere', ['simple_polling_bot.py'], { cwd: world.elsewhere });
  put('master', ['master_bot.py'], { detached: true });
  world.start(PYTHON, ['daemon_bot.py'], { env });
  await until(() => world.polling().size === 8, 'eight poll');
  const pollers = [...world.polling()];

  const strays = finder();
  const { strays: found } = await strays.look({ evidence: evidence() });
  for (const pid of pollers) assert.equal(gradeOf(found, pid), 'proven', `pid ${pid}`);
  const guilty = found.filter((one) => isStopped(one.grade));
  const daemon = guilty.find((one) => one.command.includes('daemon_bot.py'))!;
  const rows = strays.planOf(daemon);
  assert.equal(rows.length, 2, 'the daemon and its child');
  const all = new Set(guilty.flatMap((stray) => strays.planOf(stray).map((row) => row.pid)));
  assert.ok(all.has(pids.get('master')!), 'the master is stopped with its workers');

  const result = await strays.stop(guilty, STOP);
  assert.deepEqual(result.left, []);
  assert.equal(result.killed, 1, 'only the stubborn one needed SIGKILL');
  for (const pid of [...pollers, ...all]) assert.ok(!isAlive(pid), `pid ${pid} is gone`);
  assert.deepEqual(
    (await strays.look()).strays.filter((one) => isStopped(one.grade)),
    [],
  );
});

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

test('gunicorn with two workers, orphaned: all of it goes; the same of another bot stays', async () => {
  const app =
    'import os,threading\nfrom poller import poll_for_ever\nthreading.Thread(target=poll_for_ever,daemon=True).start()\ndef app(e,s):\n    s("200 OK",[])\n    return [b"ok"]\n';
  for (const folder of [world.project, world.elsewhere]) writeFileSync(join(folder, 'webapp.py'), app);
  const gunicorn = ['/usr/bin/gunicorn', 'webapp:app', '--workers=2', '--bind', '127.0.0.1:0'];
  // The starter leaves at once, as a closed terminal does.
  world.start('sh', ['-c', `${gunicorn.join(' ')} & exit`], { env: withToken(), detached: true });
  world.start('/usr/bin/gunicorn', gunicorn.slice(1), {
    cwd: world.elsewhere,
    env: { ...world.bareEnv, TELEGRAM_BOT_TOKEN: world.otherToken },
  });
  await until(() => world.polling().size === 4, 'four workers poll', 30_000);
  const strays = finder();
  const guilty = (await strays.look({ evidence: evidence() })).strays.filter((one) => isStopped(one.grade));
  const gone = new Set(guilty.flatMap((one) => strays.planOf(one).map((row) => row.pid)));
  assert.equal(gone.size, 3, 'a master and two workers');
  const result = await strays.stop(guilty, { ...STOP, stopTimeoutMs: 10_000 });
  assert.deepEqual(result.survivors, []);
  for (const pid of gone) assert.ok(!isAlive(pid));
  await until(() => world.polling().size === 2, 'two polls end');
  assert.deepEqual(
    (await strays.look()).strays.filter((one) => isStopped(one.grade)),
    [],
  );
});

test('3,000 processes: a look takes at most 250 ms', async () => {
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
  const strays = finder([/production_polling_bot\.py/, /gunicorn/]);
  const times: number[] = [];
  // In CPU time, as other tests may have the machine busy; the best of five, as they also take its caches.
  for (let i = 0; i < 5; i++) {
    const before = process.cpuUsage();
    const { strays: found } = await strays.look();
    const { user, system } = process.cpuUsage(before);
    times.push((user + system) / 1000);
    // Other tests have processes of such names, too, in folders of their own.
    assert.deepEqual(
      found.filter(({ command }) => command.includes('os.fork')),
      [],
    );
  }
  child.stdin!.end();
  await until(() => child.exitCode !== null, 'the crowd has gone');
  assert.ok(Math.min(...times) <= 250, `${times.map(Math.round).join(', ')} ms`);
});
