import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answerOf, type Expected, INIT, type PaperMachine, search } from '../support/respawner-world.ts';

const god = { pid: 50, ppid: 1, argv: ['PM2 v7.0.4: God Daemon (/srv/alice/.pm2)'], comm: 'PM2 v7.0.4: God' };
const pm2Marks = { pm_id: '3', name: 'bot', PM2_HOME: '/srv/alice/.pm2' };
const jlist = (app: object) => JSON.stringify([{ pid: 99, name: 'else', pm_id: 0, pm2_env: {} }, app]);
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
    'pm2: name and home from the marks',
    { procs: [INIT, god, { pid: 70, ppid: 50, argv: ['node /srv/bot/bot.js'], marks: pm2Marks }] },
    ['pm2', 'bot', 'PM2_HOME=/srv/alice/.pm2 pm2 delete bot && PM2_HOME=/srv/alice/.pm2 pm2 save --force'],
  ],
  [
    'pm2: never saved, so nothing to forget; the name is quoted',
    {
      procs: [
        INIT,
        god,
        { pid: 70, ppid: 50, argv: ['node bot.js'], marks: { ...pm2Marks, name: "my bot's" } },
      ],
      files: { '/srv/alice/.pm2/pm2.pid': '50' },
    },
    ['pm2', "my bot's", "PM2_HOME=/srv/alice/.pm2 pm2 delete 'my bot'\\''s'"],
  ],
  [
    'pm2: a number as a name would be read as an id, so the id is used',
    {
      procs: [INIT, god, { pid: 70, ppid: 50, argv: ['node bot.js'], marks: { ...pm2Marks, name: '0' } }],
      files: { '/srv/alice/.pm2/pm2.pid': '50' },
    },
    ['pm2', '0', 'PM2_HOME=/srv/alice/.pm2 pm2 delete 3'],
  ],
  [
    'pm2 of another user, typed by root; the list gives the name that the environment does not show',
    {
      procs: [
        INIT,
        { ...god, uid: 1000 },
        { pid: 70, ppid: 50, uid: 1000, argv: ['node bot.js'], marks: null },
      ],
      files: { '/srv/alice/.pm2/pm2.pid': '50' },
      tools: {
        'id -nu 1000': 'alice\n',
        'su -s /bin/sh alice -c PM2_HOME=/srv/alice/.pm2 pm2 jlist': `>>>> In-memory PM2 is out-of-date\n${jlist({ pid: 70, name: 'listed', pm_id: 3, pm2_env: { status: 'online' } })}`,
      },
    },
    ['pm2', 'listed', "su -s /bin/sh alice -c 'PM2_HOME=/srv/alice/.pm2 pm2 delete listed'"],
  ],
  [
    'pm2: the pid file, where neither marks nor the daemon tell the name',
    {
      procs: [INIT, god, { pid: 70, ppid: 50, argv: ['node bot.js'], marks: null }],
      files: { '/srv/alice/.pm2/pids/web-1.pid': '71', '/srv/alice/.pm2/pids/my-bot-3.pid': '70\n' },
    },
    ['pm2', 'my-bot', 'PM2_HOME=/srv/alice/.pm2 pm2 delete 3'],
  ],
  [
    'pm2 of another user, typed by a third',
    {
      procs: [
        INIT,
        { ...god, uid: 1000 },
        { pid: 70, ppid: 50, uid: 1000, argv: ['node bot.js'], marks: pm2Marks },
      ],
      ownUid: 1001,
      tools: { 'id -nu 1000': 'alice\n' },
      files: { '/srv/alice/.pm2/dump.pm2': '[{"name":"other"}]' },
    },
    ['pm2', 'bot', 'sudo -u alice env PM2_HOME=/srv/alice/.pm2 pm2 delete bot'],
  ],
  [
    'pm2 with autorestart off does not bring it back',
    {
      procs: [INIT, god, { pid: 70, ppid: 50, argv: ['node bot.js'], marks: pm2Marks }],
      tools: {
        'env PM2_HOME=/srv/alice/.pm2 pm2 jlist': jlist({
          pid: 70,
          name: 'bot',
          pm2_env: { autorestart: false },
        }),
      },
    },
    null,
  ],
  [
    'pm2: marks of an orphan whose daemon is dead',
    { procs: [INIT, { pid: 70, ppid: 1, argv: ['node bot.js'], marks: pm2Marks }] },
    null,
  ],
  [
    'pm2: marks count where a hole in the list could hide the daemon',
    { procs: [INIT, { pid: 70, ppid: 55, argv: ['node bot.js'], marks: { pm_id: '3', name: 'bot' } }] },
    ['pm2', 'bot', 'pm2 delete bot && pm2 save --force'],
  ],
  [
    'pm2-runtime as pid 1 of our own container',
    {
      procs: [
        { pid: 1, ppid: 0, argv: ['node', '/usr/local/bin/pm2-runtime', 'start', 'bot.js'], comm: 'node' },
        { pid: 70, ppid: 1, argv: ['node /srv/bot/bot.js'], marks: { pm_id: '0', name: 'bot' } },
      ],
    },
    ['pm2', 'bot', 'pm2 delete bot && pm2 save --force'],
  ],
  [
    'supervisord: group and process from the marks, -c made absolute',
    { procs: [INIT, supervisord, program] },
    ['supervisord', 'bots:poller', 'supervisorctl -c /srv/conf/supervisord.conf stop bots:poller'],
  ],
  [
    'supervisord: its own status where the environment cannot be read; an equal group is left out',
    {
      procs: [INIT, supervisord, { ...program, marks: null }],
      tools: {
        'supervisorctl -c /srv/conf/supervisord.conf status':
          'web RUNNING   pid 7, uptime 0:00:01\nbot                              RUNNING   pid 70, uptime 1 day, 0:00:03\n',
      },
    },
    ['supervisord', 'bot', 'supervisorctl -c /srv/conf/supervisord.conf stop bot'],
  ],
  [
    'supervisord without -c: the server that the environment names',
    {
      procs: [
        INIT,
        { ...supervisord, argv: ['/usr/bin/python3', '/usr/bin/supervisord', '-n'] },
        {
          ...program,
          marks: { SUPERVISOR_PROCESS_NAME: 'bot', SUPERVISOR_SERVER_URL: 'unix:///run/s.sock' },
        },
      ],
    },
    ['supervisord', 'bot', 'supervisorctl -s unix:///run/s.sock stop bot'],
  ],
  [
    'supervisord: autorestart=false in an included file',
    {
      procs: [INIT, supervisord, program],
      files: {
        '/srv/conf/supervisord.conf': '[supervisorctl]\nserverurl=x\n[include]\nfiles = conf.d/*.conf\n',
        '/srv/conf/conf.d/bot.conf':
          '[group:bots]\nprograms=poller\n[program:poller]\nautorestart = false ; once\n',
      },
    },
    null,
  ],
  [
    'supervisord of root, typed by a user',
    { procs: [INIT, supervisord, program], ownUid: 1000 },
    ['supervisord', 'bots:poller', 'sudo supervisorctl -c /srv/conf/supervisord.conf stop bots:poller'],
  ],
  [
    'a bot started by hand in a terminal that supervisord keeps',
    {
      procs: [
        INIT,
        supervisord,
        { ...program, argv: ['node', '/usr/bin/code-server'] },
        { pid: 80, ppid: 70, argv: ['/bin/bash', '-i'], tty: 34816 },
        { pid: 81, ppid: 80, argv: ['python3', 'bot.py'], tty: 34816, marks: program.marks },
      ],
    },
    null,
  ],
  [
    'runit: the folder is the working folder of runsv',
    {
      procs: [
        INIT,
        { pid: 10, ppid: 1, argv: ['runsvdir', '-P', '/etc/service', 'log: ....'] },
        { pid: 11, ppid: 10, argv: ['runsv', 'bot'], cwd: '/etc/sv/bot' },
        { pid: 12, ppid: 11, argv: ['node', 'bot.js'] },
      ],
    },
    ['runit', '/etc/sv/bot', 'sv down /etc/sv/bot && touch /etc/sv/bot/down'],
  ],
  [
    'runit of another user: the folder follows from runsvdir',
    {
      procs: [
        INIT,
        { pid: 10, ppid: 1, argv: ['runsvdir', '-P', '/etc/service', 'log: ....'], cwd: null },
        { pid: 11, ppid: 10, argv: ['runsv', 'bot'], cwd: null },
        { pid: 12, ppid: 11, argv: ['node', 'bot.js'] },
      ],
      ownUid: 1000,
    },
    ['runit', '/etc/service/bot', 'sudo sv down /etc/service/bot && sudo touch /etc/service/bot/down'],
  ],
  [
    'runit that was told to stop it already',
    {
      procs: [
        INIT,
        { pid: 11, ppid: 1, argv: ['runsv', 'bot'], cwd: '/etc/sv/bot' },
        { pid: 12, ppid: 11, argv: ['node', 'bot.js'] },
      ],
      tools: { 'sv status /etc/sv/bot': 'run: /etc/sv/bot: (pid 12) 9s, got TERM, want down\n' },
    },
    null,
  ],
  [
    's6',
    {
      procs: [
        { pid: 1, ppid: 0, argv: ['s6-svscan', '/run/service'] },
        { pid: 11, ppid: 1, argv: ['s6-supervise', 'bot'], cwd: '/run/service/bot' },
        { pid: 12, ppid: 11, argv: ['sh', './run'] },
        { pid: 13, ppid: 12, argv: ['node', 'bot.js'] },
      ],
      top: 12,
    },
    ['s6', '/run/service/bot', 's6-svc -d /run/service/bot && touch /run/service/bot/down'],
  ],
  [
    's6-rc keeps account of what is up, so it has to be told',
    {
      procs: [
        INIT,
        { pid: 11, ppid: 1, argv: ['s6-supervise', 'bot'], cwd: '/run/s6-rc:s6-rc-init:AbC/servicedirs/bot' },
        { pid: 13, ppid: 11, argv: ['node', 'bot.js'] },
      ],
    },
    ['s6', 'bot', 's6-rc -d change bot'],
  ],
  [
    'daemontools',
    {
      procs: [
        INIT,
        { pid: 10, ppid: 1, argv: ['svscan', '/service'] },
        { pid: 11, ppid: 10, argv: ['supervise', 'my bot'], cwd: '/service/my bot' },
        { pid: 13, ppid: 11, argv: ['node', 'bot.js'] },
      ],
    },
    ['daemontools', '/service/my bot', "svc -d '/service/my bot' && touch '/service/my bot/down'"],
  ],
  [
    'the nearest manager wins: runit inside supervisord',
    {
      procs: [
        INIT,
        supervisord,
        { pid: 11, ppid: 60, argv: ['runsv', 'bot'], cwd: '/etc/sv/bot', marks: program.marks },
        { pid: 13, ppid: 11, argv: ['node', 'bot.js'], marks: program.marks },
      ],
    },
    ['runit', '/etc/sv/bot', 'sv down /etc/sv/bot && touch /etc/sv/bot/down'],
  ],
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

test('PM2 is not asked where its daemon is not seen: pm2 would start one', async () => {
  const { asked } = await search({
    procs: [INIT, { pid: 70, ppid: 55, argv: ['node bot.js'], marks: pm2Marks }],
  });
  assert.deepEqual(
    asked.filter((line) => line.includes('pm2')),
    [],
  );
});

test('a manager that belongs to the tree is stopped with it', async () => {
  const argv = ['node', '/srv/node_modules/.bin/concurrently', '--restart-tries=-1', 'node bot.js'];
  const procs = [INIT, { pid: 11, ppid: 1, argv }, { pid: 13, ppid: 11, argv: ['node', 'bot.js'] }];
  assert.equal(await answerOf({ procs, top: 11 }), null);
  assert.equal((await answerOf({ procs }))?.[0], 'concurrently');
});

test('a circle of parents ends the search', async () => {
  const procs = [
    { pid: 8, ppid: 9, argv: ['a'] },
    { pid: 9, ppid: 8, argv: ['b'] },
  ];
  assert.equal(await answerOf({ procs }), null);
});
