// Who starts a stray again, and the command that stops it there: each kind of manager on a machine of paper.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { commandLine, ROOT, shellQuote } from '../../src/shell.ts';
import { layersOf } from '../../src/strays/cgroup.ts';
import { findManager } from '../../src/strays/managers.ts';
import type { Proc } from '../../src/strays/process.ts';
import { toolEnvironment } from '../../src/tools.ts';
import { env as environment, proc as madeUp } from '../support/procs.ts';

interface PaperProc {
  readonly argv: readonly string[] | string;
  readonly comm?: string;
  readonly uid?: number;
  readonly tty?: number;
  readonly cwd?: string | null;
  readonly marks?: Readonly<Record<string, string>> | null;
}

interface PaperMachine {
  /** From pid 1 down to the stray: pids 1, 10, 20 …; words of a line are split at spaces. */
  readonly line: readonly (PaperProc | string)[];
  readonly cgroup?: string;
  readonly ownCgroup?: string;
  readonly ownUid?: number;
  /** Answers of tools by their whole command line; everything else is not installed. */
  readonly tools?: Readonly<Record<string, string>>;
  readonly files?: Readonly<Record<string, string>>;
}

/** Nobody, or kind, name and command. */
type Expected = null | readonly [kind: string, name: string, stopCommand: string];

function proc(paper: PaperProc | string, pid: number, ppid: number): Proc {
  const it = typeof paper === 'string' ? { argv: paper } : paper;
  const argv = typeof it.argv === 'string' ? it.argv.split(' ') : it.argv;
  const {
    uid = 0,
    tty = 0,
    cwd = '/srv/bot',
    marks = {},
    comm = argv[0]!.replace(/^.*\//, '').slice(0, 15),
  } = it;
  const env = marks === null ? null : environment({ holdsToken: true, marks });
  return madeUp(pid, ppid, '', { uid, tty, startId: `${pid}00`, comm, argv, cwd, env });
}

async function search(machine: PaperMachine) {
  const line = machine.line.map((it, at) => proc(it, at * 10 || 1, at === 0 ? 0 : (at - 1) * 10 || 1));
  const asked: string[] = [];
  const text = (path = '/user.slice/user-0.slice/session-1.scope') =>
    path.includes(':') ? path : `0::${path}\n`;
  const listFolder = (folder: string) =>
    Object.keys(machine.files ?? {})
      .filter((path) => path.startsWith(`${folder}/`))
      .map((path) => path.slice(folder.length + 1));
  const found = await findManager(line.reverse(), {
    ownUid: machine.ownUid ?? 0,
    async run(command, args) {
      const words = [command, ...args].join(' ');
      const [folder = ''] = args;
      if (command === 'ls') return { code: 0, stdout: listFolder(folder).join('\n') };
      asked.push(words);
      const stdout = machine.tools?.[words];
      return { code: stdout === undefined ? null : 0, stdout: stdout ?? '' };
    },
    readText(path) {
      if (path === '/proc/self/cgroup') return text(machine.ownCgroup);
      return path.endsWith('/cgroup') ? text(machine.cgroup) : (machine.files?.[path] ?? null);
    },
    listFolder,
    nameOf: (uid) => (uid === 1000 ? 'alice' : String(uid)),
  });
  return { found, asked };
}

function table(kind: string, cases: readonly (readonly [string, PaperMachine, Expected])[]): void {
  describe(kind, () => {
    for (const [title, machine, expected] of cases) {
      test(title, async () => {
        const { found } = await search(machine);
        assert.deepEqual(found && [found.kind, found.name, found.stopCommand], expected);
      });
    }
  });
}

const INIT = '/sbin/init';
const BOT = 'python3 bot.py';
const ID = 'c0ffee12'.repeat(8);
const SHORT = ID.slice(0, 12);
const POD = '5f1e7a3c-0c1b-4f4e-9a51-0123456789ab';

const SHOW = 'show --no-pager -p Id,LoadState,MainPID,Restart,UnitFileState,TriggeredBy -- bot.service';
const shown = (changes: Record<string, string> = {}) =>
  Object.entries({
    Id: 'bot.service',
    LoadState: 'loaded',
    MainPID: '10',
    Restart: 'on-failure',
    UnitFileState: 'enabled',
    ...changes,
  })
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');
const unit = (changes: Record<string, string>, more: Partial<PaperMachine> = {}): PaperMachine => ({
  line: [INIT, BOT],
  cgroup: '/system.slice/bot.service',
  tools: { [`systemctl ${SHOW}`]: shown(changes) },
  ...more,
});
const STOP: Expected = ['systemd', 'bot.service', 'systemctl disable --now bot.service'];
const stopWith = (command: string): Expected => ['systemd', 'bot.service', command];
const USER = '/user.slice/user-1000.slice/user@1000.service';

table('systemd', [
  ['systemctl not there', unit({}, { tools: {} }), STOP],
  ['confirmed', unit({}), STOP],
  ['not restarted', unit({ Restart: 'no' }), null],
  [
    'started again by a timer',
    unit({ Restart: 'no', TriggeredBy: 'bot.timer' }),
    stopWith('systemctl disable --now bot.timer bot.service'),
  ],
  [
    'a shell in it, in which somebody started the bot',
    unit({}, { line: [INIT, 'host', { argv: '-bash', tty: 9 }, BOT] }),
    null,
  ],
  ['a transient one', unit({ UnitFileState: 'transient' }), stopWith('systemctl stop bot.service')],
  ['a generated one', unit({ UnitFileState: 'generated' }), stopWith('systemctl mask --now bot.service')],
  ['one that we run in too', unit({}, { ownCgroup: '/system.slice/bot.service' }), null],
  [
    'our own user unit',
    {
      line: [INIT, BOT],
      cgroup: `${USER}/app.slice/bot.service`,
      ownCgroup: `${USER}/app.slice/vte-spawn-1.scope`,
      ownUid: 1000,
      tools: { [`systemctl --user ${SHOW}`]: shown() },
    },
    ['systemd --user', 'bot.service', 'systemctl --user disable --now bot.service'],
  ],
  [
    'beside us in a container that we share',
    {
      line: [INIT, BOT],
      cgroup: `${USER}/docker-${ID}.scope/system.slice/bot.service`,
      ownCgroup: `${USER}/docker-${ID}.scope/system.slice/shell.service`,
    },
    STOP,
  ],
  [
    'of another system (nspawn): not ours to ask',
    unit({}, { cgroup: '/machine.slice/systemd-nspawn@web.service/payload/system.slice/bot.service' }),
    null,
  ],
  ...[
    '/user.slice/user-1000.slice/session-3.scope',
    `${USER}/app.slice/gnome-terminal-server.service`,
    '/system.slice/ssh.service',
    '/system.slice/system-getty.slice/getty@tty1.service',
    '/system.slice/docker.service',
    '/',
  ].map(
    (cgroup) =>
      [`hosts what it does not watch: ${cgroup}`, { ...unit({}), cgroup, ownCgroup: '/' }, null] as const,
  ),
]);

const SHIM = { argv: `/usr/bin/containerd-shim-runc-v2 -id ${ID}`, comm: 'containerd-shim' };
const CONMON = { argv: '/usr/bin/conmon', comm: 'conmon' };
const IN_DOCKER = `/system.slice/docker-${ID}.scope`;
const inspected = ({
  policy = 'always',
  labels = {},
  pid = 20,
}: {
  policy?: string;
  labels?: object;
  pid?: number;
}) =>
  JSON.stringify([
    {
      Name: '/tg-bot',
      State: { Pid: pid },
      HostConfig: { RestartPolicy: { Name: policy } },
      Config: { Labels: labels },
    },
  ]);
const docker = (facts: Parameters<typeof inspected>[0], more: Partial<PaperMachine> = {}): PaperMachine => ({
  line: [INIT, SHIM, BOT],
  cgroup: IN_DOCKER,
  tools: { [`docker inspect ${ID}`]: inspected(facts) },
  ...more,
});
const DOCKER: Expected = ['docker', 'tg-bot', 'docker update --restart=no tg-bot && docker stop tg-bot'];
const IN_POD = `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${POD.replaceAll('-', '_')}.slice/cri-containerd-${ID}.scope`;

table('containers', [
  ['docker, confirmed', docker({}), DOCKER],
  [
    'docker that we may not ask',
    docker({}, { tools: {}, ownUid: 1000 }),
    ['docker', SHORT, `sudo docker update --restart=no ${SHORT} && sudo docker stop ${SHORT}`],
  ],
  [
    'the same, where the engine does not answer',
    docker({}, { tools: {}, line: [INIT, SHIM, { argv: 'bash', tty: 7 }, BOT] }),
    null,
  ],
  [
    'docker compose',
    docker({ labels: { 'com.docker.compose.project': 'shop', 'com.docker.compose.service': 'bot' } }),
    ['docker compose', 'shop/bot', 'docker compose -p shop stop bot'],
  ],
  [
    'supervisord in a container that we are not in',
    docker(
      { pid: 20, policy: 'no' },
      {
        line: [
          INIT,
          SHIM,
          { argv: 'python3 /usr/bin/supervisord -n', cwd: '/' },
          { argv: BOT, uid: 1000, marks: { SUPERVISOR_PROCESS_NAME: 'bot' } },
        ],
      },
    ),
    DOCKER,
  ],
  [
    'rootless podman of another user',
    {
      line: [INIT, { ...CONMON, uid: 1000 }, BOT],
      cgroup: `${USER}/user.slice/libpod-${ID}.scope/container`,
      tools: { [`su -s /bin/sh alice -c podman inspect ${ID}`]: inspected({}) },
    },
    ['podman', 'tg-bot', "su -s /bin/sh alice -c 'podman stop tg-bot'"],
  ],
  [
    'a quadlet: podman under a generated unit',
    {
      line: [INIT, CONMON, BOT],
      cgroup: `/system.slice/bot.service/libpod-payload-${ID}`,
      tools: {
        [`podman inspect ${ID}`]: inspected({
          policy: '',
          labels: { PODMAN_SYSTEMD_UNIT: 'bot.service' },
        }),
        [`systemctl ${SHOW}`]: shown({ UnitFileState: 'generated' }),
      },
    },
    stopWith('systemctl mask --now bot.service'),
  ],
]);

test('a pod: its name is asked for, and its owner', async () => {
  for (const cgroup of [IN_POD, `9:pids:/kubepods/besteffort/pod${POD}/${ID}\n`]) {
    const { found } = await search({ line: [INIT, SHIM, BOT], cgroup });
    assert.deepEqual([found?.kind, found?.name], ['kubernetes', `pod ${POD}`]);
    assert.match(found!.stopCommand, new RegExp(`^kubectl get pods -A .*# shows the pod ${POD}; then scale`));
  }
});

const GOD = { argv: ['PM2 v7.0.4: God Daemon (/srv/alice/.pm2)'], comm: 'PM2 v7.0.4: God' };
const PM2_MARKS = { pm_id: '3', name: 'bot', PM2_HOME: '/srv/alice/.pm2' };
const NODE_BOT = { argv: 'node /srv/bot/bot.js', marks: PM2_MARKS };
const jlist = (app: object) => JSON.stringify([{ pid: 99, name: 'else', pm_id: 0, pm2_env: {} }, app]);
const HOME = '/srv/alice/.pm2';
const deletes = (target: string) => `PM2_HOME=${HOME} pm2 delete ${target}`;

table('pm2', [
  [
    'name and home from the marks',
    { line: [INIT, GOD, NODE_BOT] },
    ['pm2', 'bot', `${deletes('bot')} && PM2_HOME=${HOME} pm2 save --force`],
  ],
  [
    'of another user, typed by root; the list gives the name that the environment does not show',
    {
      line: [INIT, { ...GOD, uid: 1000 }, { ...NODE_BOT, uid: 1000, marks: null }],
      files: { [`${HOME}/rpc.sock`]: '' },
      tools: {
        [`su -s /bin/sh alice -c PM2_HOME=${HOME} pm2 jlist`]: `>>>> In-memory PM2 is out-of-date\n${jlist({ pid: 20, name: 'listed', pm_id: 3, pm2_env: { status: 'online' } })}`,
      },
    },
    ['pm2', 'listed', "su -s /bin/sh alice -c 'PM2_HOME=/srv/alice/.pm2 pm2 delete listed'"],
  ],
  [
    'autorestart off',
    {
      line: [INIT, GOD, NODE_BOT],
      files: { [`${HOME}/rpc.sock`]: '' },
      tools: {
        [`env PM2_HOME=${HOME} pm2 jlist`]: jlist({ pid: 20, name: 'bot', pm2_env: { autorestart: false } }),
      },
    },
    null,
  ],
  ['marks of an orphan whose daemon is dead', { line: [INIT, NODE_BOT] }, null],
]);

test('PM2 is not asked where its daemon or its socket is not seen: pm2 would start one', async () => {
  const files = { [`${HOME}/pm2.pid`]: '' };
  for (const machine of [{ line: [INIT, NODE_BOT] }, { line: [INIT, GOD, NODE_BOT], files }])
    assert.deepEqual((await search(machine)).asked, []);
});

const SUPERVISORD = {
  argv: '/usr/bin/python3 /usr/bin/supervisord -n -c conf/supervisord.conf',
  comm: 'supervisord',
  cwd: '/srv',
};
const MARKS = { SUPERVISOR_PROCESS_NAME: 'poller', SUPERVISOR_GROUP_NAME: 'bots' };
const PROGRAM = { argv: BOT, marks: MARKS };
const CONF = '/srv/conf/supervisord.conf';
const ctl = (words: string) => `supervisorctl -c ${CONF} ${words}`;

table('supervisord', [
  [
    'group and process from the marks, -c made absolute',
    { line: [INIT, SUPERVISORD, PROGRAM] },
    ['supervisord', 'bots:poller', ctl('stop bots:poller')],
  ],
  [
    'a name that nothing tells: no command that would stop others',
    { line: [INIT, SUPERVISORD, { ...PROGRAM, marks: null }] },
    ['supervisord', 'bot.py', `${ctl('status')}   # shows its name there; then: ${ctl('stop NAME')}`],
  ],
  ...['/bin/bash --init-file /x/integration.sh', '-sh', 'bash'].map(
    (argv) =>
      [
        `what is typed into ${argv} below it is not its own`,
        {
          line: [
            INIT,
            SUPERVISORD,
            { argv: 'node /usr/bin/code-server', marks: MARKS },
            { argv, tty: 34816 },
            { ...PROGRAM, tty: 34816 },
          ],
        },
        null,
      ] as const,
  ),
]);

table('runit and s6', [
  [
    'runit: the folder is the working folder of runsv',
    { line: [INIT, 'runsvdir -P /etc/service', { argv: 'runsv bot', cwd: '/etc/sv/bot' }, BOT] },
    ['runit', '/etc/sv/bot', 'sv down /etc/sv/bot && touch /etc/sv/bot/down'],
  ],
  [
    's6',
    { line: ['s6-svscan /run', { argv: 's6-supervise bot', cwd: '/run/service/bot' }, 'sh ./run', BOT] },
    ['s6', '/run/service/bot', 's6-svc -d /run/service/bot && touch /run/service/bot/down'],
  ],
  [
    'the nearest manager wins: runit inside supervisord',
    { line: [INIT, SUPERVISORD, { argv: 'runsv bot', cwd: '/etc/sv/bot', marks: MARKS }, PROGRAM] },
    ['runit', '/etc/sv/bot', 'sv down /etc/sv/bot && touch /etc/sv/bot/down'],
  ],
]);

const LINE = '*/5 * * * * cd /srv/bot && flock -n /tmp/l python3 bot.py --at 50\\% # keep';
const JOB = ['/bin/sh', '-c', 'cd /srv/bot && flock -n /tmp/l python3 bot.py --at 50% # keep'];
const CRON = ['/usr/sbin/cron -f', { argv: '/usr/sbin/CRON -f', comm: 'cron' }];
const job = (uid = 0) => [
  INIT,
  ...CRON,
  { argv: JOB, uid },
  { argv: 'flock -n /tmp/l python3 bot.py --at 50%', uid },
  { argv: 'python3 bot.py --at 50%', uid },
];
const removes = (line: string, edit = 'crontab -e'): Expected => [
  'cron',
  line,
  `${edit}   # remove the line "${line}"`,
];
const IN_SYSTEM = LINE.replace('cd', 'root cd');

table('cron', [
  [
    'the line of our own table',
    { line: job(), tools: { 'crontab -l': `MAILTO=x\n${LINE}\n` } },
    removes(LINE),
  ],
  [
    'a shell that became the command itself',
    {
      line: [INIT, ...CRON, { argv: ['python3', '/srv/my bot.py'] }],
      tools: { 'crontab -l': "@daily python3 /srv/else.py\n@hourly python3 '/srv/my bot.py'\n" },
    },
    removes("@hourly python3 '/srv/my bot.py'"),
  ],
  [
    'a line of a system table',
    {
      line: job(),
      tools: { 'crontab -l': '' },
      files: { '/etc/crontab': 'SHELL=/bin/sh\n17 * * * * root cd /\n', '/etc/cron.d/bot': IN_SYSTEM },
    },
    removes(IN_SYSTEM, 'vi /etc/cron.d/bot'),
  ],
  ['a line that is gone from every table', { line: job(), tools: { 'crontab -l': '' } }, null],
  [
    'a table that we may not read',
    { line: [INIT, ...CRON, { argv: ['/bin/sh', '-c', BOT], uid: 1000 }], ownUid: 1001 },
    removes(BOT, 'sudo crontab -u alice -e'),
  ],
  ['only at boot', { line: job(), tools: { 'crontab -l': LINE.replace('*/5 * * * *', '@reboot') } }, null],
  ['at(1) runs once', { line: [INIT, '/usr/sbin/atd -f', { argv: JOB }] }, null],
  [
    'run-parts: the script of a periodic folder',
    {
      line: [INIT, ...CRON, 'run-parts --report /etc/cron.daily', '/bin/sh /etc/cron.daily/bot', BOT],
      ownUid: 1000,
    },
    ['cron', '/etc/cron.daily/bot', 'sudo chmod a-x /etc/cron.daily/bot'],
  ],
]);

describe('not a manager', () => {
  for (const argv of [
    '/usr/bin/python3 /usr/bin/gunicorn app:app',
    'node /srv/node_modules/.bin/nodemon bot.js',
    'npm start',
    'uv run bot.py',
    '/bin/sh -c python3',
    'sudo -u bot python3 bot.py',
    '/usr/bin/python3 /usr/bin/circusd circus.ini',
  ]) {
    test(argv, async () => {
      assert.equal((await search({ line: [INIT, argv, BOT] })).found, null);
      // Nor does it hide the manager above it.
      assert.equal((await search({ line: [INIT, SUPERVISORD, argv, PROGRAM] })).found?.kind, 'supervisord');
    });
  }
  for (const argv of ['tini -- bot', 'bash'])
    test(`pid 1: ${argv}`, async () => assert.equal((await search({ line: [argv, BOT] })).found, null));
});

test('layers of a path, from the machine inwards', () => {
  assert.deepEqual(layersOf(`0::/../../user.slice/user@5.service/x.slice/docker-${ID}.scope/init.scope\n`), [
    { type: 'user', uid: 5 },
    { type: 'container', tool: 'docker', id: ID },
    { type: 'scope', name: 'init.scope' },
  ]);
  assert.deepEqual(layersOf('0::/system.slice/_cpu.service\n'), [{ type: 'unit', name: 'cpu.service' }]);
  assert.deepEqual(layersOf('garbage\n\n7:::\n'), []);
  assert.deepEqual(layersOf(null), []);
});

test('every word comes out of a shell as it went in', () => {
  const words =
    "bot|my bot|it's|$(touch /tmp/x)|`id`||-rf|a=b|~root|foo\\x2dbar|a;b&c|*|ünï|!!|\"|'; rm -rf /; '|=ls";
  for (const word of words.split('|')) {
    const echoed = execFileSync('/bin/sh', ['-c', `printf %s ${shellQuote(word)}`], { encoding: 'utf8' });
    assert.equal(echoed, word);
  }
  for (const word of ['a\nb', '\u001b[31mred', "tab\t'quote'\\", 'a\u202eb', '\u009b1m', '\u{e0041}x']) {
    const quoted = shellQuote(word);
    assert.doesNotMatch(quoted, /[\p{Cc}\p{Cf}]/u);
    const env = { ...process.env, LC_ALL: 'C.UTF-8' };
    assert.equal(execFileSync('bash', ['-c', `printf %s ${quoted}`], { encoding: 'utf8', env }), word);
  }
});

test('a command is written for the account that has to run it', () => {
  const steps = [{ words: ['a', 'b c'], env: { HOME: '/x y' } }, { words: ['d'] }];
  const alice = { uid: 1000, name: 'alice' };
  assert.equal(commandLine(steps, 1000, alice), "HOME='/x y' a 'b c' && d");
  assert.equal(commandLine(steps, 1001, alice), "sudo -u alice env HOME='/x y' a 'b c' && sudo -u alice d");
  assert.equal(commandLine(steps, 1001, ROOT), "sudo env HOME='/x y' a 'b c' && sudo d");
  assert.equal(commandLine([{ words: ['d', 'e f'] }], 0, alice), "su -s /bin/sh alice -c 'd '\\''e f'\\'''");
});

test('no token and no control character of others passes', async () => {
  const token = `123456:${'A'.repeat(35)}`;
  const line = [INIT, ...CRON, { argv: ['/bin/sh', '-c', `BOT_TOKEN=${token} node bot.js`] }, 'node bot.js'];
  const kept = await search({ line, tools: { 'crontab -l': `* * * * * BOT_TOKEN=${token} node bot.js\n` } });
  assert.equal(kept.found?.name, '* * * * * BOT_TOKEN=123456:… node bot.js');
  assert.doesNotMatch(kept.found.stopCommand, /AAAA/);
  const odd = await search({ line: [INIT, { argv: ['runsv', 'x'], cwd: '/etc/sv/x\u001b[2J\n' }, BOT] });
  assert.doesNotMatch(odd.found!.name + odd.found!.stopCommand, /\p{Cc}/u);
  assert.match(odd.found!.stopCommand, /^sv down \$'\/etc\/sv\/x\\x1b\[2J\\x0a' && touch /);
});

test("the managers' tools get no token of ours", () => {
  const own = { HOME: '/h', PATH: '/p', TELEGRAM_BOT_TOKEN: '1:x', SINGLEPOLL_BOT: '1' };
  assert.deepEqual(Object.keys(toolEnvironment(own)), [
    'PATH',
    'LC_ALL',
    'XDG_RUNTIME_DIR',
    'SYSTEMD_PAGER',
    'HOME',
  ]);
});
