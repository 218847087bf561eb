/** What is stopped together with a stray: how far up, what else, and what never. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Proc, Snapshot } from '../../src/strays/process.ts';
import { gather, type Place, supervisorOf, surroundings, treeTop } from '../../src/strays/tree.ts';
import { env, proc, snapshot } from '../support/procs.ts';

const PLACE: Place = { botId: '111111', selfPid: 50, worker: null };
const BASE = [
  proc(1, 0, '/sbin/init'),
  proc(40, 1, '-bash', { tty: 5 }),
  proc(50, 40, 'node /usr/bin/singlepoll start'),
  proc(51, 50, 'python3 worker.py'),
];

function planOf(list: Snapshot, stray: Proc, place: Place) {
  const around = surroundings(list, place);
  const top = treeTop(stray, around);
  return { top, members: gather([top], around) };
}

/** Top and members (sorted) of the plan for pid 100. */
function plan(procs: readonly Proc[], place: Partial<Place> = {}, pid = 100) {
  const list = snapshot(...BASE, ...procs);
  const { top, members } = planOf(list, list.procs.get(pid)!, { ...PLACE, ...place });
  assert.equal(members[0], top, 'the top comes first');
  return { top: top.pid, members: members.map((one) => one.pid).sort((a, b) => a - b) };
}

for (const [name, above, stray, climbs] of [
  ['a gunicorn master', 'python3 /usr/bin/gunicorn app:app', 'python3 /usr/bin/gunicorn app:app', true],
  ['a gunicorn master with a title', 'gunicorn: master [app]', 'gunicorn: worker [app]', true],
  ['a reloader by another path', 'python app.py', '/srv/venv/bin/python /srv/bot/app.py', true],
  [
    'a uvicorn parent',
    'python /usr/bin/uvicorn app:app',
    'python -c spawn_import --multiprocessing-fork',
    true,
  ],
  ['nodemon', 'node /usr/bin/nodemon bot.js', 'node bot.js', true],
  ['npm start', 'npm start', 'node bot.js', true],
  ['npm by its script', 'node /usr/lib/node_modules/npm/bin/npm-cli.js start', 'node bot.js', true],
  ['sudo', 'sudo -u bot python bot.py', 'python bot.py', true],
  ['sh -c', 'sh -c python_bot.py', 'python bot.py', true],
  ['a script of the shell', '/bin/bash ./run.sh', 'python bot.py', true],
  ['an interactive shell', 'bash', 'python bot.py', false],
  ['a login shell', '-zsh', 'python bot.py', false],
  ['tmux', 'tmux new -d', 'python bot.py', false],
  ['sshd', 'sshd: root@notty', 'python bot.py', false],
  ['supervisord', 'python /usr/bin/supervisord', 'python bot.py', false],
  ['cron', '/usr/sbin/cron -f', 'python bot.py', false],
  ['the PM2 daemon', 'PM2 v5: God Daemon (/root/.pm2)', 'node bot.js', false],
  ['tini', '/usr/bin/tini -- python bot.py', 'python bot.py', false],
  ['another singlepoll', 'node /usr/bin/singlepoll start', 'python bot.py', false],
  ['a program of its own', 'python watchdog.py', 'python bot.py', false],
] as const) {
  test(`${climbs ? 'climbs to' : 'stops below'} ${name}`, () => {
    const title = /^(?:gunicorn|PM2|sshd)/.test(above);
    const parent = proc(90, 1, above, title ? { argv: [above] } : {});
    const child = proc(100, 90, stray, stray.startsWith('gunicorn:') ? { argv: [stray] } : {});
    const { top } = plan([parent, child]);
    assert.equal(top, climbs ? 90 : 100);
  });
}

test('climbs through several layers: cron → sh -c → npm → sh -c → node', () => {
  const procs = [
    proc(80, 1, '/usr/sbin/cron -f'),
    proc(81, 80, '/bin/sh -c cd_/srv_&&_npm_start'),
    proc(82, 81, 'npm start'),
    proc(83, 82, 'sh -c node_bot.js'),
    proc(100, 83, 'node bot.js'),
    proc(101, 100, 'ffmpeg -i x'),
  ];
  assert.deepEqual(plan(procs), { top: 81, members: [81, 82, 83, 100, 101] });
});

test('a wrapper that runs something else too is left, and so is a script that goes on', () => {
  const procs = [proc(90, 1, 'bash x.sh'), proc(100, 90, 'python bot.py'), proc(101, 90, 'python web.py')];
  assert.deepEqual(plan(procs), { top: 100, members: [100] });
});

test('a zombie beside it does not keep a wrapper', () => {
  const procs = [proc(90, 1, 'sh -c x'), proc(100, 90, 'python bot.py'), proc(101, 90, '', { state: 'Z' })];
  assert.deepEqual(plan(procs), { top: 90, members: [90, 100] });
});

test('never ourselves, those above us, or the present worker, even below or around a stray', () => {
  const worker = { pid: 51, run: 'r', spawn: '2' };
  // singlepoll was started from a terminal inside the stray's own tree.
  const procs = [proc(90, 1, 'python bot.py'), proc(100, 90, 'python bot.py'), proc(60, 100, 'sh -c x')];
  const self = [proc(40, 60, 'bash run.sh'), proc(50, 40, 'node singlepoll'), proc(51, 50, 'python bot.py')];
  const list = snapshot(proc(1, 0, 'init'), ...procs, ...self);
  const place = { ...PLACE, worker };
  const { members } = planOf(list, list.procs.get(100)!, place);
  assert.deepEqual(
    members.map((one) => one.pid),
    [100],
  );
});

test("never another bot's worker or supervisor below a stray", () => {
  const procs = [
    proc(100, 1, 'python manager.py'),
    proc(101, 100, 'node /usr/bin/singlepoll start'),
    proc(102, 101, 'python other.py', { env: env({ bot: '222222', run: 'q', spawn: '1' }) }),
    proc(103, 100, 'python helper.py'),
  ];
  assert.deepEqual(plan(procs).members, [100, 103]);
});

test('a terminal multiplexer and an interactive shell below a stray are left', () => {
  const tmux = [proc(101, 100, 'tmux new -d'), proc(102, 101, 'python x.py')];
  const procs = [proc(100, 1, 'python bot.py'), ...tmux, proc(103, 100, 'bash -i')];
  assert.deepEqual(plan(procs).members, [100]);
});

test('relatives by cookie: other session, other parent, same run and spawn', () => {
  const mark = (run: string, spawn: string) => ({ env: env({ bot: '111111', run, spawn }) });
  const procs = [
    proc(100, 1, 'python bot.py', mark('old', '3')),
    proc(101, 1, 'sleep 9', mark('old', '3')),
    proc(102, 101, 'ffmpeg x'),
    proc(103, 1, 'python bot.py', mark('old', '4')),
    proc(104, 1, 'python bot.py', { env: env({ bot: '222222', run: 'old', spawn: '3' }) }),
    proc(105, 1, 'tail -f log', mark('old', '3')),
  ];
  assert.deepEqual(plan(procs).members, [100, 101, 102]);
});

test('members of a session or group that the tree leads or led', () => {
  const procs = [
    proc(100, 1, 'python bot.py'),
    proc(101, 1, 'python child.py', { sid: 100, pgid: 100 }),
    proc(102, 1, 'python child.py', { sid: 100, pgid: 102 }),
    proc(103, 1, 'less log', { sid: 7, pgid: 100 }),
    proc(105, 1, 'python child.py', { sid: 7, pgid: 100 }),
    proc(104, 1, 'python unrelated.py', { sid: 7, pgid: 8 }),
  ];
  assert.deepEqual(plan(procs).members, [100, 101, 102, 105]);
});

test('a session whose leader is a shell outside of the tree brings nobody in', () => {
  const procs = [
    proc(90, 1, '-bash', { tty: 3 }),
    proc(100, 90, 'python bot.py', { sid: 90, pgid: 100 }),
    proc(101, 90, 'python web.py', { sid: 90, pgid: 101 }),
  ];
  assert.deepEqual(plan(procs).members, [100]);
});

test('what stands below us belongs to no other supervisor, also while `start -d` waits above us', () => {
  const list = snapshot(
    proc(40, 1, 'node /usr/bin/singlepoll start -d'),
    proc(50, 40, 'node /usr/bin/singlepoll start --detach'),
    proc(51, 50, 'node legacy-polling-bot.js'),
    proc(60, 1, 'node /usr/bin/singlepoll start'),
    proc(61, 60, 'node bot.js'),
  );
  const around = surroundings(list, PLACE);
  assert.deepEqual([supervisorOf(51, around), supervisorOf(61, around)], [null, 60]);
});
