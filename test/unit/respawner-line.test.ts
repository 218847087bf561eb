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
];

for (const [title, machine, expected] of CASES) {
  test(title, async () => assert.deepEqual(await answerOf(machine), expected));
}

for (const argv of [['/bin/bash', '--init-file', '/x/integration.sh'], ['zsh', '-i'], ['-sh'], ['bash']]) {
  test(`what is typed into ${argv.join(' ')} is not its manager's`, async () => {
    const terminal = { pid: 80, ppid: 70, argv, tty: 34816 };
    const stray = { pid: 81, ppid: 80, argv: ['python3', 'bot.py'], tty: 34816, marks: program.marks };
    assert.equal(await answerOf({ procs: [INIT, supervisord, program, terminal, stray] }), null);
  });
}

test('a circle of parents ends the search', async () => {
  const procs = [
    { pid: 8, ppid: 9, argv: ['a'] },
    { pid: 9, ppid: 8, argv: ['b'] },
  ];
  assert.equal(await answerOf({ procs }), null);
});
