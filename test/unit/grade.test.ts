/** Every line of the table of grades, and everything that is never touched. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Facts, survey } from '../../src/core/grade.ts';
import type { Proc } from '../../src/machine/process.ts';
import { env, proc, snapshot } from '../support/procs.ts';

const FACTS: Facts = {
  botId: '111111',
  selfPid: 50,
  worker: null,
  helperPids: new Set(),
  uid: 1000,
  patterns: [],
  scope: 'project',
  projectDir: '/srv/bot',
  envFiles: new Map(),
  connected: new Set(),
  elsewhere: new Set(),
};
const AROUND = [
  proc(1, 0, '/sbin/init'),
  proc(40, 1, '-bash', { tty: 5 }),
  proc(50, 40, 'node /usr/bin/singlepoll start'),
];
const ours = env({ holdsToken: true });
const byPattern = (...patterns: RegExp[]) => ({ patterns });
const seen = { connected: new Set([100]) };
const fromFile = (token: 'ours' | 'other' | 'both') => ({
  envFiles: new Map([[100, { token, name: '.env' }]]),
});

function gradeOf(stray: Proc, facts: Partial<Facts> = {}, others: readonly Proc[] = []) {
  const found = survey(snapshot(...AROUND, stray, ...others), { ...FACTS, ...facts });
  const one = found.find(({ proc: { pid } }) => pid === stray.pid);
  return one ? { grade: one.grade, proof: one.proof } : null;
}

const py = (facts: Partial<Proc> = {}, command = 'python3 production_polling_bot.py') =>
  proc(100, 1, command, facts);
const PATTERN = byPattern(/production_polling_bot\.py/);

for (const [name, stray, facts, grade, proof] of [
  [
    'cookie',
    py({ env: env({ bot: '111111', run: 'r', spawn: '1' }) }),
    {},
    'own',
    ['SINGLEPOLL_BOT in environment'],
  ],
  [
    'a worker in deploy mode, which sends but does not poll',
    py({ env: env({ bot: '111111', run: 'r', spawn: '1', deploy: true, holdsToken: true }) }),
    seen,
    'hint',
    null,
  ],
  [
    'token and connection',
    py({ env: ours }),
    seen,
    'proven',
    ['token in environment', 'connected to api root'],
  ],
  ['token only', py({ env: ours }), {}, 'likely', ['token in environment']],
  [
    'token in the arguments',
    py({ tokenInArgs: true }),
    seen,
    'proven',
    ['token in its arguments', 'connected to api root'],
  ],
  [
    'env file and connection',
    py(),
    { ...seen, ...fromFile('ours') },
    'proven',
    ['token in .env of its working folder', 'connected to api root'],
  ],
  ['env file only', py(), fromFile('ours'), 'likely', ['token in .env of its working folder']],
  ['connection alone', py(), seen, null, null],
  ['nothing', py(), {}, null, null],
  ['pattern in scope', py(), PATTERN, 'declared', ['script matches --stray production_polling_bot\\.py']],
  [
    'pattern in a folder below',
    py({ cwd: '/srv/bot/old' }),
    PATTERN,
    'declared',
    ['script matches --stray production_polling_bot\\.py'],
  ],
  [
    'pattern and token',
    py({ env: ours }),
    PATTERN,
    'declared',
    ['script matches --stray production_polling_bot\\.py', 'token in environment'],
  ],
  ['pattern out of scope', py({ cwd: '/srv/botany' }), PATTERN, 'likely', null],
  ['pattern, folder unknown', py({ cwd: null }), PATTERN, 'likely', null],
  ['pattern, folder of a container', py(), { ...PATTERN, elsewhere: new Set([100]) }, 'likely', null],
  ['pattern, scope any', py({ cwd: '/' }), { ...PATTERN, scope: 'any' as const }, 'declared', null],
  ['pattern, folder deleted', py({ cwd: '/srv/bot (deleted)' }), PATTERN, 'declared', null],
  ['pattern, of another user, as root', py({ uid: 33 }), { ...PATTERN, uid: 0 }, 'likely', null],
  ['pattern, of another user, not as root', py({ uid: 33 }), { ...PATTERN, uid: 1000 }, 'declared', null],
  ["pattern, another bot's token", py({ env: env({ otherToken: true }) }), PATTERN, 'hint', null],
  ["pattern, another bot's token in the file", py(), { ...PATTERN, ...fromFile('other') }, 'hint', null],
  ["pattern, both bots' tokens in the file", py(), { ...PATTERN, ...fromFile('both') }, 'declared', null],
  [
    "token and connection, but given another bot's token",
    py({ env: env({ holdsToken: true, otherToken: true }) }),
    seen,
    'likely',
    null,
  ],
  ["file with both bots' tokens and connection", py(), { ...seen, ...fromFile('both') }, 'likely', null],
  [
    "env file, but another bot's token in environment",
    py({ env: env({ otherToken: true }) }),
    { ...seen, ...fromFile('ours') },
    null,
    null,
  ],
  [
    'token of ours in environment beats the file',
    py({ env: ours }),
    { ...seen, ...fromFile('other') },
    'proven',
    null,
  ],
  ['a word of the command line', py({}, 'python3 -m pdb production_polling_bot.py'), PATTERN, 'hint', null],
] as const satisfies readonly (readonly [
  string,
  Proc,
  Partial<Facts>,
  string | null,
  readonly string[] | null,
])[]) {
  test(`grade: ${name} → ${grade}`, () => {
    const found = gradeOf(stray, facts);
    assert.equal(found?.grade ?? null, grade, found?.proof.join(', '));
    if (proof) assert.deepEqual(found?.proof, proof);
  });
}

const GUILTY = { env: ours };
for (const [name, stray, facts] of [
  ['tail', py(GUILTY, 'tail -f production_polling_bot.log'), {}],
  ['less', py(GUILTY, '/usr/bin/less production_polling_bot.py'), {}],
  ['vim', py(GUILTY, 'vim production_polling_bot.py'), {}],
  ['grep', py(GUILTY, 'grep -r production_polling_bot.py .'), {}],
  ['a login shell', py(GUILTY, '-bash'), {}],
  ['an interactive shell', py(GUILTY, '/bin/zsh -i'), {}],
  ['a shell with a script', py(GUILTY, 'bash production_polling_bot.py'), {}],
  ['tmux', py({ ...GUILTY, comm: 'tmux: server' }, 'tmux new -s bot'), {}],
  ['supervisord', py(GUILTY, 'python3 /usr/bin/supervisord -n'), {}],
  ['the PM2 daemon', py({ ...GUILTY, argv: ['PM2 v5.3.0: God Daemon (/root/.pm2)'] }), {}],
  ['singlepoll of another bot', py(GUILTY, 'node /opt/singlepoll/dist/cli.cjs start'), {}],
  ['singlepoll by its title', py({ ...GUILTY, argv: ['singlepoll start'] }), {}],
  ["another bot's worker", py({ env: env({ holdsToken: true, bot: '222222', run: 'q', spawn: '1' }) }), {}],
  ['a zombie', py({ ...GUILTY, state: 'Z' }), {}],
  ['a helper of ours', py(GUILTY), { helperPids: new Set([100]) }],
  ['the present worker', py(GUILTY), { worker: { pid: 100, run: 'r', spawn: '2' } }],
  [
    'of the present run and spawn',
    py({ env: env({ holdsToken: true, bot: '111111', run: 'r', spawn: '2' }) }),
    { worker: { pid: 99, run: 'r', spawn: '2' } },
  ],
] as const satisfies readonly (readonly [string, Proc, Partial<Facts>])[]) {
  test(`never stopped: ${name}`, () => {
    const found = gradeOf(stray, {
      ...seen,
      patterns: [/production_polling_bot/, /singlepoll|tmux|supervisord|PM2/],
      ...facts,
    });
    assert.ok(found === null || found.grade === 'hint', `${found?.grade}: ${found?.proof.join(', ')}`);
  });
}

test('never stopped: ourselves and those above us, whatever they hold', () => {
  const above = [
    proc(1, 0, '/sbin/init', { env: ours }),
    proc(40, 1, 'python3 deploy.py', { env: ours }),
    proc(50, 40, 'node x.js', { env: ours }),
  ];
  const found = survey(snapshot(...above), {
    ...FACTS,
    connected: new Set([1, 40, 50]),
    patterns: [/deploy/],
  });
  assert.deepEqual(found, []);
});

test('never stopped: a supervisor that is called otherwise, known by its child', () => {
  const odd = py({ ...GUILTY }, 'node renamed.js');
  const child = proc(101, 100, 'python3 bot.py', { env: env({ bot: '222222', run: 'q', spawn: '1' }) });
  assert.equal(gradeOf(odd, seen, [child]), null);
});

test('an earlier spawn of the same run is own, also between two workers', () => {
  const left = py({ env: env({ bot: '111111', run: 'r', spawn: '1' }) });
  assert.equal(gradeOf(left, { worker: { pid: 99, run: 'r', spawn: '2' } })?.grade, 'own');
  assert.equal(gradeOf(left)?.grade, 'own');
});

test('descendants of the worker are its tree, also when their environment is wiped', () => {
  const worker = proc(99, 50, 'gunicorn app:app', { env: ours });
  const child = py({ ppid: 99, env: null });
  assert.equal(gradeOf(child, { ...PATTERN, worker: { pid: 99, run: 'r', spawn: '2' } }, [worker]), null);
});

test('a shell of a person with the cookie is a hint; a shell with a script is own', () => {
  const cookie = { env: env({ bot: '111111', run: 'r', spawn: '1' }) };
  assert.equal(gradeOf(py({ ...cookie, tty: 3 }, 'bash'))?.grade, 'hint');
  assert.equal(gradeOf(py(cookie, 'sh -c python3'))?.grade, 'own');
  assert.equal(gradeOf(py(cookie, 'tail -f log'))?.grade, 'hint');
});

test('strongest first, then by pid', () => {
  const procs = [
    proc(103, 1, 'sleep 9', { env: ours }),
    proc(102, 1, 'python3 a.py', { env: ours }),
    proc(101, 1, 'bash', { env: ours }),
    proc(104, 1, 'python3 b.py', { env: env({ bot: '111111', run: 'r', spawn: '1' }) }),
  ];
  const found = survey(snapshot(...AROUND, ...procs), { ...FACTS, connected: new Set([102]) });
  assert.deepEqual(
    found.map((one) => [one.proc.pid, one.grade]),
    [
      [104, 'own'],
      [102, 'proven'],
      [103, 'likely'],
      [101, 'hint'],
    ],
  );
});

test('only what a connection would prove is worth watching', () => {
  const open = (command: string, facts: Partial<Facts> = {}) =>
    survey(snapshot(...AROUND, py({ env: ours }, command)), { ...FACTS, ...facts })[0]?.open;
  assert.equal(open('python3 bot.py'), true);
  assert.equal(open('sleep 1000'), false);
  assert.equal(open('bash'), false);
  assert.equal(open('bash poll.sh'), true);
  assert.equal(open('python3 bot.py', seen), false);
});
