import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answerOf, type Expected, INIT, type PaperMachine, search } from '../support/respawner-world.ts';

const god = { pid: 50, ppid: 1, argv: ['PM2 v7.0.4: God Daemon (/srv/alice/.pm2)'], comm: 'PM2 v7.0.4: God' };
const pm2Marks = { pm_id: '3', name: 'bot', PM2_HOME: '/srv/alice/.pm2' };
const jlist = (app: object) => JSON.stringify([{ pid: 99, name: 'else', pm_id: 0, pm2_env: {} }, app]);
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
      files: { '/srv/alice/.pm2/rpc.sock': '' },
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
      files: { '/srv/alice/.pm2/rpc.sock': '' },
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
];

for (const [title, machine, expected] of CASES) {
  test(title, async () => assert.deepEqual(await answerOf(machine), expected));
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

test('PM2 is not asked where its socket is gone, for the same reason', async () => {
  const { asked, found } = await search({
    procs: [INIT, god, { pid: 70, ppid: 50, argv: ['node bot.js'], marks: pm2Marks }],
    files: { '/srv/alice/.pm2/pm2.pid': '50' },
  });
  assert.equal(found?.name, 'bot');
  assert.deepEqual(asked, []);
});
