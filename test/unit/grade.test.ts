/** Every line of the table of grades, and everything that is never touched. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Facts as GradeFacts, NO_EVIDENCE, survey as surveyAmong } from '../../src/strays/grade.ts';
import type { Proc, Snapshot } from '../../src/strays/process.ts';
import { type Place, surroundings } from '../../src/strays/tree.ts';
import { env, proc, snapshot } from '../support/procs.ts';

const FACTS: Facts = {
  ...{ botId: '111111', selfPid: 50, worker: null, uid: 1000 },
  ...{ leftovers: new Set(), ...NO_EVIDENCE },
};
const AROUND = [
  proc(1, 0, '/sbin/init'),
  proc(40, 1, '-bash', { tty: 5 }),
  proc(50, 40, 'node /usr/bin/singlepoll start'),
];
const ours = env({ holdsToken: true });
const connected = { connected: new Set([100]) };
const reacted = (how: 'once' | 'twice') => ({ ...connected, reactions: new Map([[100, how]]) });
const named = (inScope: boolean | null = true) => ({ match: { pattern: 'polling_bot', inScope } });
const POLLS = 'polls: it received the answer to our getUpdates';

type Facts = GradeFacts & Place;
const survey = (list: Snapshot, facts: Facts) => surveyAmong(facts, surroundings(list, facts));

function gradeOf(stray: Proc, facts: Partial<Facts> = {}, others: readonly Proc[] = []) {
  const found = survey(snapshot(...AROUND, stray, ...others), { ...FACTS, ...facts });
  const one = found.find(({ proc: { pid } }) => pid === stray.pid);
  return one ? { grade: one.grade, proof: one.proof, supervisor: one.supervisor } : null;
}

const py = (facts: Partial<Proc> = {}, command = 'python3 production_polling_bot.py') =>
  proc(100, 1, command, facts);
const cookie = env({ bot: '111111', run: 'r', spawn: '1' });

const deployed = { ...cookie, holdsToken: true, deploy: true };
const two = { env: ours, otherBots: ['222222'] };
const byChildren = { ...reacted('twice'), byChildren: new Map([[100, 5_000]]) };

for (const [name, stray, facts, grade] of [
  ['cookie', py({ env: cookie }), {}, 'own'],
  ['left behind without a cookie', py(), { leftovers: new Set([100]) }, 'own'],
  ["a leftover proxy is its worker's", py({ env: cookie }, 'cloudflared tunnel'), {}, 'own'],
  ['in deploy mode it sends, and does not poll', py({ env: deployed }), connected, 'hint'],
  ['in deploy mode it polls all the same', py({ env: deployed }), reacted('once'), 'proven'],
  ['in deploy mode, a relay of the bot', py({ env: deployed }, 'nginx'), reacted('twice'), 'hint'],
  ['token, reacted once', py({ env: ours }), reacted('once'), 'proven'],
  ['token in the arguments, reacted once', py({ tokenInArgs: true }), reacted('once'), 'proven'],
  ['hidden token, reacted once', py(), reacted('once'), 'likely'],
  ['hidden token, reacted twice', py(), reacted('twice'), 'proven'],
  ['environment closed to us, reacted twice', py({ env: null }), reacted('twice'), 'proven'],
  ['two tokens, reacted once', py(two), reacted('once'), 'likely'],
  ['two tokens, reacted twice', py(two), reacted('twice'), 'proven'],
  ["another bot's token only, reacted once", py({ otherBots: ['2'] }), reacted('once'), 'likely'],
  ['a shell script that asks by curl', py({ env: ours }, 'sh x.sh'), reacted('once'), 'proven'],
  ['a shell script whose curls reacted', py({ env: ours }, 'sh x.sh'), byChildren, 'proven'],
  ['whoever else starts pollers one after another', py({ env: ours }), byChildren, 'likely'],
  ['a shell script, token and connection', py({ env: ours }, 'sh x.sh'), connected, 'hint'],
  ['an interactive shell, reacted twice', py({ env: ours }, 'bash -i'), reacted('twice'), 'hint'],
  ['token and connection', py({ env: ours }), connected, 'likely'],
  ['token only', py({ env: ours }), {}, 'hint'],
  ['connection alone', py(), connected, null],
  ['nothing', py(), {}, null],
  ['pattern in scope', py(named()), {}, 'declared'],
  ['pattern and token', py({ ...named(), env: ours }), {}, 'declared'],
  ['pattern out of scope', py(named(false)), {}, 'likely'],
  ['pattern, place unseen', py(named(null)), {}, 'likely'],
  ['pattern, of another user, as root', py({ ...named(), uid: 33 }), { uid: 0 }, 'likely'],
  ['pattern, of another user, not as root', py({ ...named(), uid: 33 }), {}, 'declared'],
  ["pattern, another bot's token", py({ ...named(), otherBots: ['222222'] }), {}, 'hint'],
  ["pattern, both bots' tokens", py({ ...named(), ...two }), {}, 'declared'],
] as const satisfies readonly (readonly [string, Proc, Partial<Facts>, string | null])[]) {
  test(`grade: ${name} → ${grade}`, () => {
    const found = gradeOf(stray, facts);
    assert.equal(found?.grade ?? null, grade, found?.proof.join(', '));
  });
}

for (const [what, child, grade] of [
  ['its next curl', proc(101, 100, 'curl https://x', { startId: '5001' }), 'proven'],
  ['one that has ended', proc(101, 100, 'curl https://x', { startId: '4000', state: 'Z' }), 'proven'],
  ['a server that it had started before', proc(101, 100, 'python3 web.py', { startId: '4000' }), 'hint'],
  ['singlepoll', proc(101, 100, 'node /usr/bin/singlepoll logs -f', { startId: '5001' }), 'hint'],
] as const)
  test(`a shell script whose curls reacted, beside ${what} → ${grade}`, () =>
    assert.equal(gradeOf(py({ env: ours }, 'sh x.sh'), byChildren, [child])?.grade, grade));

test('the proof says all that was seen, strongest first', () => {
  const proof = (stray: Proc, facts: Partial<Facts> = {}) => gradeOf(stray, facts)?.proof;
  const holds = 'holds the token';
  assert.deepEqual(proof(py({ env: cookie })), ['SINGLEPOLL_BOT in environment']);
  assert.deepEqual(proof(py(), { leftovers: new Set([100]) }), ['left behind by an earlier worker']);
  assert.deepEqual(proof(py({ env: ours }), reacted('once')), [holds, 'connected', POLLS]);
  const other = 'also holds the token of bot 222222';
  const once = 'received something when we polled, once';
  assert.deepEqual(proof(py(two), reacted('once')), [holds, 'connected', other, once]);
  assert.deepEqual(proof(py({ ...named(), env: ours })), ['script matches --stray polling_bot', holds]);
});

const GUILTY = { env: ours, ...named() };
for (const [name, stray, facts] of [
  ['tail', py(GUILTY, 'tail -f production_polling_bot.log'), {}],
  ['less', py(GUILTY, '/usr/bin/less production_polling_bot.py'), {}],
  ['vim', py(GUILTY, 'vim production_polling_bot.py'), {}],
  ['grep', py(GUILTY, 'grep -r production_polling_bot.py .'), {}],
  ['a browser', py(GUILTY, '/opt/google/chrome/chrome --app=https://web.telegram.org'), connected],
  ['a login shell', py(GUILTY, '-bash'), {}],
  ['an interactive shell', py(GUILTY, '/bin/zsh -i'), {}],
  ['an interactive shell with a script', py(GUILTY, 'bash -i production_polling_bot.py'), {}],
  ['tmux', py({ ...GUILTY, comm: 'tmux: server' }, 'tmux new -s bot'), {}],
  ['supervisord', py(GUILTY, 'python3 /usr/bin/supervisord -n'), {}],
  ['the PM2 daemon', py({ ...GUILTY, argv: ['PM2 v5.3.0: God Daemon (/root/.pm2)'] }), {}],
  ['singlepoll of another bot', py(GUILTY, 'node /opt/singlepoll/dist/cli.cjs start'), {}],
  ['singlepoll by its title', py({ ...GUILTY, argv: ['singlepoll start'] }), {}],
  ['squid', py(GUILTY, 'squid -N'), {}],
  ['a server of the Bot API', py(GUILTY, '/usr/bin/telegram-bot-api --local'), {}],
  ['docker-proxy', py(GUILTY, '/usr/bin/docker-proxy -proto tcp'), {}],
  ['ssh -D', py(GUILTY, 'ssh -D 1080 host'), {}],
  ['socat', py(GUILTY, 'socat TCP-LISTEN:1 TCP:a:443'), {}],
  ['redis', py({ ...GUILTY, argv: ['redis-server *:6379'] }), {}],
  ["another bot's worker", py({ env: env({ holdsToken: true, bot: '222222', run: 'q', spawn: '1' }) }), {}],
  ['a zombie', py({ ...GUILTY, state: 'Z' }), {}],
  ['the present worker', py(GUILTY), { worker: { pid: 100, run: 'r', spawn: '2' } }],
  [
    'of the present run and spawn',
    py({ env: env({ holdsToken: true, bot: '111111', run: 'r', spawn: '2' }) }),
    { worker: { pid: 99, run: 'r', spawn: '2' } },
  ],
] as const satisfies readonly (readonly [string, Proc, Partial<Facts>])[]) {
  test(`never stopped: ${name}`, () => {
    const found = gradeOf(stray, { ...reacted('twice'), ...facts });
    assert.match(found?.grade ?? 'hint', /^(hint|likely)$/, found?.proof.join(', '));
  });
}

test('never stopped: ourselves and those above us, whatever they hold', () => {
  const pids = [1, 40, 50];
  const above = pids.map((pid, at) => proc(pid, pids[at - 1] ?? 0, 'python3 deploy.py', { env: ours }));
  const reactions = new Map(pids.map((pid) => [pid, 'twice' as const]));
  const found = survey(snapshot(...above), { ...FACTS, connected: new Set(pids), reactions });
  // Named, as whoever polls is; with a proof that no other one shares.
  const graded = found.map(({ proc: { pid }, grade, proof }) => [pid, grade, proof[0]]);
  const likely = ['likely', 'received something when we polled'];
  assert.deepEqual(
    graded,
    [1, 40].map((pid) => [pid, ...likely]),
  );
  assert.deepEqual(survey(snapshot(...above), { ...FACTS, connected: new Set(pids) }), []);
});

test('never stopped: a supervisor that is called otherwise, known by its child', () => {
  const odd = py({ ...GUILTY }, 'node renamed.js');
  const child = proc(101, 100, 'python3 bot.py', { env: env({ bot: '222222', run: 'q', spawn: '1' }) });
  assert.equal(gradeOf(odd, reacted('twice'), [child]), null);
});

test('an earlier spawn of the same run is own, also between two workers', () => {
  const left = py({ env: env({ bot: '111111', run: 'r', spawn: '1' }) });
  assert.equal(gradeOf(left, { worker: { pid: 99, run: 'r', spawn: '2' } })?.grade, 'own');
  assert.equal(gradeOf(left)?.grade, 'own');
});

test('descendants of the worker are its tree, also when their environment is wiped', () => {
  const worker = proc(99, 50, 'gunicorn app:app', { env: ours });
  const child = py({ ppid: 99, env: null, ...named() });
  const facts = { ...reacted('twice'), worker: { pid: 99, run: 'r', spawn: '2' } };
  assert.equal(gradeOf(child, facts, [worker]), null);
});

test('a shell of a person with the cookie is a hint; a shell with a script is own', () => {
  const cookie = { env: env({ bot: '111111', run: 'r', spawn: '1' }) };
  assert.equal(gradeOf(py({ ...cookie, tty: 3 }, 'bash'))?.grade, 'hint');
  assert.equal(gradeOf(py(cookie, 'sh -c python3'))?.grade, 'own');
  assert.equal(gradeOf(py(cookie, 'tail -f log'))?.grade, 'hint');
  assert.equal(gradeOf(py(cookie, 'chromium --headless'))?.grade, 'own', 'what a worker drove is left over');
});

const theirs = env({ bot: '111111', run: 'theirs', spawn: '1' });
const OTHER = [
  proc(60, 1, 'node /opt/singlepoll/dist/cli.cjs start'),
  proc(61, 60, 'sh run.sh', { env: theirs }),
];

for (const [name, stray, facts] of [
  ['its worker', proc(100, 60, 'python3 bot.py', { env: theirs }), {}],
  ['a child of its worker', proc(100, 61, 'python3 bot.py', { env: theirs }), {}],
  ['a child that lost its environment, and polls', proc(100, 61, 'python3 bot.py'), reacted('twice')],
  ['what a pattern names', proc(100, 61, 'python3 bot.py', named()), {}],
] as const) {
  test(`under a living supervisor it is likely, and that one is named: ${name}`, () => {
    const found = gradeOf(stray, facts, OTHER);
    assert.equal(found?.grade, 'likely');
    assert.equal(found?.supervisor, 60);
    assert.equal(found?.proof.at(-1), 'belongs to the supervisor with pid 60');
  });
}

test('a supervisor known by its child only is one, too', () => {
  const odd = [proc(60, 1, 'node renamed.js'), OTHER[1]!];
  assert.equal(gradeOf(proc(100, 61, 'python3 bot.py', { env: theirs }), {}, odd)?.supervisor, 60);
});

test('our own child outside of the worker is own, whoever we are', () => {
  assert.equal(gradeOf(proc(100, 50, 'python3 bot.py', { env: cookie }))?.grade, 'own');
});

test("another bot's worker that polls this bot is likely, with its supervisor", () => {
  const stray = proc(100, 60, 'python3 bot.py', { env: env({ holdsToken: true, bot: '222222', run: 'q' }) });
  const found = gradeOf(stray, reacted('twice'), OTHER);
  assert.deepEqual([found?.grade, found?.supervisor], ['likely', 60]);
});

test('who holds the token and runs the same command as a proven one shares its verdict', () => {
  const twin = (pid: number, facts: Partial<Proc> = {}) =>
    proc(pid, 1, 'python3 production_polling_bot.py', { env: ours, ...facts });
  const others = [
    twin(101),
    twin(102, { cwd: '/srv/else' }),
    twin(103, { env: env() }),
    proc(104, 1, 'python3 sender.py', { env: ours }),
    { ...twin(105), ppid: 60 },
    ...OTHER,
  ];
  const all = (pid: number) =>
    survey(snapshot(...AROUND, py({ env: ours }), ...others), { ...FACTS, ...reacted('once') }).find(
      (one) => one.proc.pid === pid,
    );
  assert.equal(all(101)?.grade, 'proven');
  assert.deepEqual(all(101)?.proof, ['holds the token', 'runs the same command as pid 100, which polls']);
  assert.equal(all(102)?.grade, 'hint', 'another folder');
  assert.equal(all(103), undefined, 'no token');
  assert.equal(all(104)?.grade, 'hint', 'another command');
  assert.equal(all(105)?.grade, 'hint', 'under a living supervisor');
});

test('strongest first, then by pid', () => {
  const procs = [
    proc(103, 1, 'python3 c.py', { env: ours }),
    proc(102, 1, 'python3 a.py', { env: ours }),
    proc(101, 1, 'bash', { env: ours }),
    proc(104, 1, 'python3 b.py', { env: env({ bot: '111111', run: 'r', spawn: '1' }) }),
  ];
  const met = { connected: new Set([102, 103]), reactions: new Map([[102, 'once' as const]]) };
  const found = survey(snapshot(...AROUND, ...procs), { ...FACTS, ...met });
  const seen = found.map((one) => `${one.proc.pid} ${one.grade}`);
  assert.deepEqual(seen, ['104 own', '102 proven', '103 likely', '101 hint']);
});
