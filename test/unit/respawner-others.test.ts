import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answerOf, type Expected, INIT, type PaperMachine } from '../support/respawner-world.ts';

const supervisord = {
  pid: 60,
  ppid: 1,
  argv: ['/usr/bin/python3', '/usr/bin/supervisord', '-n', '-c', 'conf/supervisord.conf'],
  comm: 'supervisord',
  cwd: '/srv',
};
const program = {
  pid: 70,
  ppid: 60,
  argv: ['python3', 'bot.py'],
  marks: { SUPERVISOR_PROCESS_NAME: 'poller', SUPERVISOR_GROUP_NAME: 'bots' },
};

const CASES: readonly (readonly [string, PaperMachine, Expected])[] = [
  [
    'circus: the only watcher of its configuration',
    {
      procs: [
        INIT,
        { pid: 11, ppid: 1, argv: ['/usr/bin/python3', '/usr/bin/circusd', 'circus.ini'], cwd: '/srv' },
        { pid: 13, ppid: 11, argv: ['node', 'bot.js'] },
      ],
      files: {
        '/srv/circus.ini': '[circus]\nendpoint = tcp://127.0.0.1:5999\n[watcher:bot]\ncmd = node bot.js\n',
      },
    },
    ['circus', 'bot', 'circusctl --endpoint tcp://127.0.0.1:5999 stop bot'],
  ],
  [
    'forever in the background',
    {
      procs: [
        INIT,
        { pid: 11, ppid: 1, argv: ['/usr/bin/node', '/usr/lib/node_modules/forever/bin/monitor', 'bot.js'] },
        { pid: 13, ppid: 11, argv: ['/usr/bin/node', '/srv/bot/bot.js'] },
      ],
    },
    ['forever', '/srv/bot/bot.js', 'forever stop /srv/bot/bot.js'],
  ],
  [
    'concurrently restarts only where it is told to',
    {
      procs: [
        INIT,
        {
          pid: 11,
          ppid: 1,
          argv: ['node', '/srv/node_modules/.bin/concurrently', '--restart-tries', '-1', 'node bot.js'],
        },
        { pid: 13, ppid: 11, argv: ['/bin/sh', '-c', 'node bot.js'] },
        { pid: 14, ppid: 13, argv: ['node', 'bot.js'] },
      ],
      top: 13,
    },
    ['concurrently', 'node bot.js', 'kill -9 11 && kill 13 14'],
  ],
  [
    'daemon --respawn',
    {
      procs: [
        INIT,
        { pid: 11, ppid: 1, argv: ['daemon', '--respawn', '--name=bot', '--', 'node', 'bot.js'] },
        { pid: 13, ppid: 11, argv: ['node', 'bot.js'] },
      ],
    },
    ['daemon', 'bot', 'daemon --name=bot --stop'],
  ],
  [
    'overmind, through its tmux',
    {
      procs: [
        INIT,
        { pid: 20, ppid: 1, argv: ['overmind', 'start', '-r', 'web,bot'], cwd: '/srv/app' },
        { pid: 21, ppid: 20, argv: ['tmux', '-C', '-L', 'overmind-app-x1', 'new'], comm: 'tmux: client' },
        { pid: 22, ppid: 1, argv: ['tmux', '-C', '-L', 'overmind-app-x1', 'new'], comm: 'tmux: server' },
        { pid: 23, ppid: 22, argv: ['sh', '/tmp/overmind-app-x1/bot.1'], tty: 9 },
        { pid: 24, ppid: 23, argv: ['node', 'bot.js'], tty: 9 },
      ],
    },
    ['overmind', 'bot.1', 'overmind stop -s /srv/app/.overmind.sock bot.1'],
  ],
  [
    'overmind that is not to restart it',
    {
      procs: [
        INIT,
        { pid: 20, ppid: 1, argv: ['overmind', 'start', '-r', 'web'], cwd: '/srv/app' },
        { pid: 21, ppid: 20, argv: ['tmux', '-C', '-L', 'overmind-app-x1', 'new'], comm: 'tmux: client' },
        { pid: 22, ppid: 1, argv: ['tmux', '-C', '-L', 'overmind-app-x1', 'new'], comm: 'tmux: server' },
        { pid: 23, ppid: 22, argv: ['sh', '/tmp/overmind-app-x1/bot'], tty: 9 },
      ],
    },
    null,
  ],
  [
    'OpenRC',
    {
      procs: [
        INIT,
        { pid: 11, ppid: 1, argv: ['supervise-daemon', 'bot', '--start', '/usr/bin/node'] },
        { pid: 13, ppid: 11, argv: ['node', 'bot.js'] },
      ],
      ownUid: 1000,
    },
    ['openrc', 'bot', 'sudo rc-service bot stop && sudo rc-update del bot'],
  ],
  [
    'launchd names the label of the tree top',
    {
      procs: [INIT, { pid: 13, ppid: 1, argv: ['node', 'bot.js'], uid: 501 }],
      ownUid: 501,
      platform: 'darwin',
      tools: { 'launchctl list': 'PID\tStatus\tLabel\n-\t0\tcom.apple.x\n13\t0\tme.bot\n' },
    },
    ['launchd', 'me.bot', 'launchctl disable gui/501/me.bot && launchctl bootout gui/501/me.bot'],
  ],
  [
    "another user's singlepoll",
    {
      procs: [
        INIT,
        { pid: 11, ppid: 1, uid: 1000, argv: ['node', '/usr/bin/singlepoll', 'start'], cwd: '/srv/my bot' },
        { pid: 13, ppid: 11, uid: 1000, argv: ['node', 'bot.js'] },
      ],
      ownUid: 1001,
      tools: { 'id -nu 1000': 'alice\n' },
    },
    ['singlepoll', 'bot.js', "sudo -u alice sh -c 'cd '\\''/srv/my bot'\\'' && singlepoll stop'"],
  ],
  [
    'a singlepoll of our own speaks for itself',
    {
      procs: [
        INIT,
        { pid: 11, ppid: 1, argv: ['node', '/usr/bin/singlepoll', 'start'] },
        { pid: 13, ppid: 11, argv: ['node', 'bot.js'] },
      ],
    },
    null,
  ],
];

for (const [title, machine, expected] of CASES) {
  test(title, async () => assert.deepEqual(await answerOf(machine), expected));
}

const WRAPPERS: readonly (readonly string[])[] = [
  ['/usr/bin/python3', '/usr/bin/gunicorn', 'app:app'],
  ['node', '/srv/node_modules/.bin/nodemon', 'bot.js'],
  ['/usr/bin/python3', '/usr/bin/watchmedo', 'auto-restart', '--', 'python3', 'bot.py'],
  ['npm start'],
  ['node', '/usr/bin/yarn', 'start'],
  ['uv', 'run', 'bot.py'],
  ['/usr/bin/python3', '/usr/bin/poetry', 'run', 'python3', 'bot.py'],
  ['node', '/srv/node_modules/.bin/tsx', 'watch', 'bot.ts'],
  ['/bin/sh', '-c', 'while :; do python3 bot.py; done'],
  ['/bin/sh', '/usr/bin/keep-one-running', 'python3', 'bot.py'],
  ['/usr/bin/python3', '/usr/bin/flask', 'run', '--reload'],
  ['entr', '-r', 'python3', 'bot.py'],
  ['timeout', '1d', 'python3', 'bot.py'],
  ['flock', '-n', '/tmp/lock', 'python3', 'bot.py'],
  ['sudo', '-u', 'bot', 'python3', 'bot.py'],
  ['su', '-c', 'python3 bot.py', 'bot'],
  ['tini', '--', 'python3', 'bot.py'],
  ['node', '/usr/bin/nf', 'start'],
  ['ruby', '/usr/bin/foreman', 'start'],
  ['node', '/srv/node_modules/.bin/concurrently', 'node bot.js', 'node web.js'],
];

for (const argv of WRAPPERS) {
  test(`not a respawner: ${argv.join(' ')}`, async () => {
    const stray = { pid: 12, ppid: 11, argv: ['python3', 'bot.py'] };
    assert.equal(await answerOf({ procs: [INIT, { pid: 11, ppid: 1, argv }, stray] }), null);
    // Nor does it hide the manager above it.
    const below = await answerOf({
      procs: [INIT, supervisord, { pid: 11, ppid: 60, argv }, { ...stray, marks: program.marks }],
      top: 11,
    });
    assert.equal(below?.[0], 'supervisord');
  });
}

for (const argv of [
  ['tini', '--', 'bot'],
  ['/sbin/docker-init'],
  ['bash'],
  ['/sbin/init'],
  ['dumb-init', 'bot'],
]) {
  test(`pid 1 is not a respawner by itself: ${argv[0]}`, async () => {
    const procs = [
      { pid: 1, ppid: 0, argv },
      { pid: 12, ppid: 1, argv: ['python3', 'bot.py'] },
    ];
    assert.equal(await answerOf({ procs }), null);
  });
}

test('a manager that belongs to the tree is stopped with it', async () => {
  const argv = ['node', '/srv/node_modules/.bin/concurrently', '--restart-tries=-1', 'node bot.js'];
  const procs = [INIT, { pid: 11, ppid: 1, argv }, { pid: 13, ppid: 11, argv: ['node', 'bot.js'] }];
  assert.equal(await answerOf({ procs, top: 11 }), null);
  assert.equal((await answerOf({ procs }))?.[0], 'concurrently');
});
