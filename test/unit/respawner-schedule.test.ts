import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCrontab } from '../../src/machine/respawner/cron.ts';
import { parseMonit } from '../../src/machine/respawner/monit.ts';
import { answerOf, type Expected, INIT, type PaperMachine } from '../support/respawner-world.ts';

const daemon = { pid: 5, ppid: 1, argv: ['/usr/sbin/cron', '-f'] };
const child = { pid: 6, ppid: 5, argv: ['/usr/sbin/CRON', '-f'], comm: 'cron' };
const LINE = '*/5 * * * * cd /srv/bot && flock -n /tmp/l python3 bot.py --at 50\\% # keep';
const shell = {
  pid: 7,
  ppid: 6,
  argv: ['/bin/sh', '-c', 'cd /srv/bot && flock -n /tmp/l python3 bot.py --at 50% # keep'],
};
const flock = { pid: 8, ppid: 7, argv: ['flock', '-n', '/tmp/l', 'python3', 'bot.py', '--at', '50%'] };
const bot = { pid: 9, ppid: 8, argv: ['python3', 'bot.py', '--at', '50%'] };
const procs = [INIT, daemon, child, shell, flock, bot];

const monitProcs = [
  INIT,
  { pid: 5, ppid: 1, argv: ['/usr/bin/monit', '-c', '/etc/monit/monitrc'] },
  { pid: 9, ppid: 1, argv: ['python3', 'bot.py'] },
];
const MONITRC = `set daemon 5
set httpd unixsocket /run/monit.sock
# check process old with pidfile /run/bot.pid start "/x"
check process "my bot" with pidfile /run/bot.pid
  start program = "/etc/init.d/bot start" with timeout 60 seconds
  stop program = "/etc/init.d/bot stop"
include /etc/monit/conf.d/*
`;

const CASES: readonly (readonly [string, PaperMachine, Expected])[] = [
  [
    'cron: the line of our own table',
    { procs, top: 7, tools: { 'crontab -l': `MAILTO=x\n@reboot other\n${LINE}\n` } },
    ['cron', LINE, `crontab -e   # remove the line "${LINE}"`],
  ],
  [
    'cron: the line of another user, typed by root',
    {
      procs: procs.map((each) => (each.pid >= 7 ? { ...each, uid: 1000 } : each)),
      tools: { 'id -nu 1000': 'alice\n', 'crontab -u alice -l': `${LINE}\n` },
    },
    ['cron', LINE, `crontab -u alice -e   # remove the line "${LINE}"`],
  ],
  [
    'cron: a shell that became the command itself',
    {
      procs: [INIT, daemon, child, { pid: 9, ppid: 6, argv: ['python3', '/srv/my bot.py'] }],
      tools: { 'crontab -l': "@daily python3 /srv/else.py\n@hourly python3 '/srv/my bot.py'\n" },
    },
    [
      'cron',
      "@hourly python3 '/srv/my bot.py'",
      `crontab -e   # remove the line "@hourly python3 '/srv/my bot.py'"`,
    ],
  ],
  [
    'cron: a line of a system table',
    {
      procs,
      tools: { 'crontab -l': '' },
      files: {
        '/etc/crontab': 'SHELL=/bin/sh\n17 * * * * root cd /\n',
        '/etc/cron.d/bot': LINE.replace('cd', 'root cd'),
      },
    },
    [
      'cron',
      LINE.replace('cd', 'root cd'),
      `"\${EDITOR:-vi}" /etc/cron.d/bot   # remove the line "${LINE.replace('cd', 'root cd')}"`,
    ],
  ],
  ['cron: the line is gone from every table', { procs, tools: { 'crontab -l': '' } }, null],
  [
    'cron: a table that we may not read',
    {
      procs: [INIT, daemon, child, { pid: 7, ppid: 6, uid: 1000, argv: ['/bin/sh', '-c', 'python3 bot.py'] }],
      ownUid: 1001,
      tools: { 'id -nu 1000': 'alice\n' },
    },
    ['cron', 'python3 bot.py', 'sudo crontab -u alice -e   # remove the line "python3 bot.py"'],
  ],
  ['cron: only at boot', { procs, tools: { 'crontab -l': LINE.replace('*/5 * * * *', '@reboot') } }, null],
  [
    'at(1) runs once',
    { procs: [INIT, { pid: 5, ppid: 1, argv: ['/usr/sbin/atd', '-f'] }, { ...shell, ppid: 5 }] },
    null,
  ],
  [
    'run-parts: the script of a periodic folder',
    {
      procs: [
        INIT,
        daemon,
        child,
        { pid: 7, ppid: 6, argv: ['run-parts', '--report', '/etc/cron.daily'] },
        { pid: 8, ppid: 7, argv: ['/bin/sh', '/etc/cron.daily/bot'] },
        { ...bot, ppid: 8 },
      ],
      ownUid: 1000,
    },
    ['cron', '/etc/cron.daily/bot', 'sudo chmod a-x /etc/cron.daily/bot'],
  ],
  [
    'an orphan of a cron job has no cron above it',
    { procs: [INIT, daemon, { ...bot, ppid: 1 }], tools: { 'crontab -l': LINE } },
    null,
  ],
  [
    'monit: found by its pid file',
    { procs: monitProcs, files: { '/etc/monit/monitrc': MONITRC, '/run/bot.pid': '9\n' } },
    ['monit', 'my bot', "monit -c /etc/monit/monitrc stop 'my bot'"],
  ],
  [
    'monit: found by its pattern in an included file, no stop program',
    {
      procs: monitProcs,
      files: {
        '/etc/monit/monitrc': MONITRC,
        '/etc/monit/conf.d/b': 'check process two matching "bot\\.py"\n  start = "/x"\n',
      },
    },
    ['monit', 'two', 'monit -c /etc/monit/monitrc unmonitor two'],
  ],
  [
    'monit: a pid file of another process',
    { procs: monitProcs, files: { '/etc/monit/monitrc': MONITRC, '/run/bot.pid': '99\n' } },
    null,
  ],
  [
    'monit: not watched any more',
    {
      procs: monitProcs,
      files: { '/etc/monit/monitrc': MONITRC, '/run/bot.pid': '9\n' },
      tools: {
        'monit -c /etc/monit/monitrc status my bot':
          "Process 'my bot'\n  monitoring status            Not monitored\n",
      },
    },
    null,
  ],
  [
    'monit without its socket can only be told by its file',
    {
      procs: monitProcs,
      files: { '/etc/monit/monitrc': MONITRC.replace(/set httpd.*/, ''), '/run/bot.pid': '9\n' },
    },
    [
      'monit',
      'my bot',
      `"\${EDITOR:-vi}" /etc/monit/monitrc && monit -c /etc/monit/monitrc reload   # remove "check process my bot"`,
    ],
  ],
];

for (const [title, machine, expected] of CASES) {
  test(title, async () => assert.deepEqual(await answerOf(machine), expected));
}

test('crontab lines: settings, comments, fields, percent signs', () => {
  const text = '# x\nPATH=/bin\n A = b\n\n1 2 3 4 5\n* * * * mon echo a%b\n@reboot  run\t\nnonsense\n';
  assert.deepEqual(
    parseCrontab(text, false).map((line) => [line.command, line.atBoot]),
    [
      ['echo a', false],
      ['run', true],
    ],
  );
  assert.deepEqual(
    parseCrontab('1 2 3 4 5 root echo hi\n1 2 3 4 5 root\n', true).map((line) => [line.user, line.command]),
    [['root', 'echo hi']],
  );
});

test('monit entries: what has no start program, or is passive, starts nothing', () => {
  const text =
    'check process a pidfile /a\ncheck process b matching "b" start program "/b"\n mode passive\ncheck system $HOST\n start program = "x"\n';
  assert.deepEqual(
    parseMonit(text).map((check) => [check.name, check.canStart]),
    [
      ['a', false],
      ['b', false],
    ],
  );
});
