import assert from 'node:assert/strict';
import { test } from 'node:test';
import { layersOf } from '../../src/machine/respawner/cgroup.ts';
import {
  answerOf,
  type Expected,
  INIT,
  type PaperMachine,
  type PaperProc,
} from '../support/respawner-world.ts';

const ID = 'c0ffee12'.repeat(8);
const bot: PaperProc = { pid: 70, ppid: 1, argv: ['python3', 'bot.py'] };
const SHOW =
  'show --no-pager -p Id,LoadState,ActiveState,MainPID,Restart,UnitFileState,Transient,TriggeredBy,FragmentPath,SourcePath --';

const shown = (changes: Record<string, string> = {}) =>
  Object.entries({
    Id: 'bot.service',
    LoadState: 'loaded',
    ActiveState: 'active',
    MainPID: '70',
    Restart: 'on-failure',
    UnitFileState: 'enabled',
    ...changes,
  })
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');

const unit = (changes: Record<string, string>, more: Partial<PaperMachine> = {}): PaperMachine => ({
  procs: [INIT, bot],
  cgroups: { 70: '/system.slice/bot.service' },
  tools: { [`systemctl ${SHOW} bot.service`]: shown(changes) },
  ...more,
});

const STOP: Expected = ['systemd', 'bot.service', 'systemctl disable --now bot.service'];

const CASES: readonly (readonly [string, PaperMachine, Expected])[] = [
  ['a system unit, systemctl not there', unit({}, { tools: {} }), STOP],
  ['a system unit, confirmed', unit({}), STOP],
  [
    'a system unit, typed by a user',
    unit({}, { ownUid: 1000 }),
    ['systemd', 'bot.service', 'sudo systemctl disable --now bot.service'],
  ],
  ['a unit that is not restarted', unit({ Restart: 'no' }), null],
  ['a unit that only the watchdog restarts', unit({ Restart: 'on-watchdog' }), null],
  ['a unit that is being stopped', unit({ ActiveState: 'deactivating' }), null],
  [
    'a unit that a timer starts again',
    unit({ Restart: 'no', TriggeredBy: 'bot.timer' }),
    ['systemd', 'bot.service', 'systemctl disable --now bot.timer bot.service'],
  ],
  [
    'a unit whose main process is elsewhere',
    unit({ MainPID: '999' }, { procs: [INIT, { ...INIT, pid: 999, ppid: 1 }, bot] }),
    null,
  ],
  ['a unit without a known main process', unit({ MainPID: '0' }), STOP],
  [
    'a unit whose main process is the top of the tree',
    unit(
      { MainPID: '60' },
      { procs: [INIT, { pid: 60, ppid: 1, argv: ['npm start'] }, { ...bot, ppid: 60 }], top: 60 },
    ),
    STOP,
  ],
  [
    'a unit with a shell in which somebody started the bot',
    unit(
      { MainPID: '60' },
      {
        procs: [
          INIT,
          { pid: 60, ppid: 1, argv: ['shellhost'] },
          { pid: 61, ppid: 60, argv: ['-bash'], tty: 9 },
          { ...bot, ppid: 61 },
        ],
      },
    ),
    null,
  ],
  [
    'an alias: the unit goes by its own name',
    unit({ Id: 'real.service' }),
    ['systemd', 'real.service', 'systemctl disable --now real.service'],
  ],
  [
    'a transient unit has nothing to disable',
    unit({ Transient: 'yes' }),
    ['systemd', 'bot.service', 'systemctl stop bot.service'],
  ],
  [
    'a generated unit comes back unless masked',
    unit({ UnitFileState: 'generated' }),
    ['systemd', 'bot.service', 'systemctl mask --now bot.service'],
  ],
  [
    'a unit with escapes in its name',
    { procs: [INIT, bot], cgroups: { 70: '/system.slice/system-tg\\x2dbot.slice/tg\\x2dbot@main.service' } },
    ['systemd', 'tg\\x2dbot@main.service', "systemctl disable --now 'tg\\x2dbot@main.service'"],
  ],
  [
    'a group below the unit (Delegate=)',
    { procs: [INIT, bot], cgroups: { 70: '/system.slice/bot.service/supervised' } },
    STOP,
  ],
  [
    'hybrid hierarchies: the named one tells',
    {
      procs: [INIT, bot],
      cgroups: { 70: '12:memory:/system.slice/x\n1:name=systemd:/system.slice/bot.service\n0::/\n' },
    },
    STOP,
  ],
  ['a unit that we run in too', unit({}, { ownCgroup: '/system.slice/bot.service' }), null],
  [
    'our own user unit',
    {
      procs: [INIT, bot],
      cgroups: { 70: '/user.slice/user-1000.slice/user@1000.service/app.slice/bot.service' },
      ownCgroup: '/user.slice/user-1000.slice/user@1000.service/app.slice/vte-spawn-1.scope',
      ownUid: 1000,
      tools: { [`systemctl --user ${SHOW} bot.service`]: shown() },
    },
    ['systemd --user', 'bot.service', 'systemctl --user disable --now bot.service'],
  ],
  [
    'a unit beside ours in a container that we share',
    {
      procs: [INIT, bot],
      cgroups: { 70: `/user.slice/user@5.service/docker-${ID}.scope/system.slice/bot.service` },
      ownCgroup: `/user.slice/user@5.service/docker-${ID}.scope/system.slice/shell.service`,
    },
    ['systemd', 'bot.service', 'systemctl disable --now bot.service'],
  ],
  [
    "another user's unit, typed by root",
    {
      procs: [INIT, bot],
      cgroups: { 70: '/user.slice/user-1000.slice/user@1000.service/app.slice/bot.service' },
      tools: { 'id -nu 1000': 'alice\n' },
    },
    ['systemd --user', 'bot.service', 'systemctl --user -M alice@ disable --now bot.service'],
  ],
  [
    'a unit in a systemd-nspawn machine',
    {
      procs: [INIT, bot],
      cgroups: { 70: '/machine.slice/systemd-nspawn@web.service/payload/system.slice/bot.service' },
    },
    ['systemd', 'bot.service', 'systemctl -M web disable --now bot.service'],
  ],
  [
    'a unit in an lxc container',
    { procs: [INIT, bot], cgroups: { 70: '/lxc.payload.web/system.slice/bot.service' } },
    ['systemd', 'bot.service', 'lxc-attach -n web -- systemctl disable --now bot.service'],
  ],
];

for (const [title, machine, expected] of CASES) {
  test(title, async () => assert.deepEqual(await answerOf(machine), expected));
}

const HOSTS = [
  '/user.slice/user-1000.slice/session-3.scope',
  '/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.gnome.Terminal.slice/vte-spawn-5.scope',
  '/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-1.scope',
  '/user.slice/user-1000.slice/user@1000.service/init.scope',
  '/user.slice/user-1000.slice/user@1000.service/app.slice/gnome-terminal-server.service',
  '/user.slice/user-1000.slice/user@1000.service/tmux-spawn-1.scope',
  '/system.slice/ssh.service',
  '/system.slice/system-getty.slice/getty@tty1.service',
  '/system.slice/cron.service',
  '/system.slice/atd.service',
  '/system.slice/docker.service',
  '/system.slice/containerd.service',
  '/system.slice/run-u7.scope',
  '/system.slice/actions.runner.acme.service',
  '/',
  '/init.scope',
];
for (const path of HOSTS) {
  test(`hosts what it does not watch: ${path}`, async () => {
    assert.equal(await answerOf({ procs: [INIT, bot], cgroups: { 70: path }, ownCgroup: '/' }), null);
  });
}

test('layers of a path, from the machine inwards', () => {
  assert.deepEqual(layersOf(`0::/../../user.slice/user@5.service/x.slice/docker-${ID}.scope/init.scope\n`), [
    { type: 'user', uid: 5 },
    { type: 'container', engine: 'docker', id: ID },
    { type: 'scope', name: 'init.scope' },
  ]);
  assert.deepEqual(layersOf('0::/system.slice/_cpu.service\n'), [{ type: 'unit', name: 'cpu.service' }]);
  assert.deepEqual(layersOf('garbage\n\n7:::\n'), []);
  assert.deepEqual(layersOf(null), []);
});
