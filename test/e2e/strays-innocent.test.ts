// Nobody is stopped who does not poll this bot, whatever he holds or is called, wherever he is connected, and whatever is written to him
// at the moment at which we ask: all of them at once beside a poller that must go, then one by one where one alone tells more.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { RequestRecord } from '../../src/sandbox/core.ts';
import { allGone, type Bed, bed, fixture, POLITE, PYTHON } from '../support/bed.ts';
import { PROGRAM, type Running } from '../support/cli.ts';
import { RIVAL_AFTER } from '../support/gateway.ts';
import { it, test, xit } from '../support/kinds.ts';
import { holdOtherUsers, listen } from '../support/place.ts';
import { alive, findByEnv, isConnected } from '../support/proc.ts';
import { startAsNobody } from '../support/program-copy.ts';
import { startRemoteRival } from '../support/rival.ts';
import { NOBODY } from '../support/squatter.ts';
import {
  askedBy,
  botEnv,
  freePort,
  harmed,
  hold,
  type Living,
  living,
  marked,
  orphanedGunicorn,
  otherBot,
  polledBy,
  pollingStray,
  proofFixture,
  startHidden,
  startPipe,
  startWorker,
  who,
  withToken,
  workerWorks,
} from '../support/strays.ts';
import { openTmux } from '../support/tmux.ts';
import { staysTrue, until } from '../support/wait.ts';

const PATTERNS = ['--stray', 'production_polling_bot\\.py', '--stray', 'gunicorn'];

/** Starts it; gives the pids that must live. It may wait until it does what it is there for. */
type Start = (b: Bed, t: TestContext) => Promise<number[]>;

/** The process has asked `method` when this resolves. */
const holder =
  (name: string, words: string[], method: string): Start =>
  async (b) => [(await hold(b, name, words, method)).pid];

/** A command with its processes, known by a mark in their environment. */
const command =
  (
    file: string,
    args: (b: Bed) => string[],
    options: { env?: (b: Bed) => object; cwd?: string; processes?: number } = {},
  ): Start =>
  async (b) => {
    const mark = `${b.cookie}-${Math.random()}`;
    const env = { TERM: 'xterm', SP_WHAT: mark, ...(options.env?.(b) as Record<string, string>) };
    const run = b.spawn(file, args(b), { env, ...(options.cwd && { cwd: options.cwd }) });
    return marked(mark, options.processes ?? 1, run);
  };
const inPty = (...words: string[]) =>
  command(PYTHON, () => [fixture('in-pty.py'), ...words], { processes: 2 });
const inPtyWithToken = (...words: string[]) =>
  command(PYTHON, () => [fixture('in-pty.py'), ...words], { processes: 2, env: botEnv });

const shopWorkers: Start = async (b) => {
  const mark = `${b.cookie}-shop`;
  const more = {
    SP_WHAT: mark,
    SP_NAME: 'shop',
    SP_PROOF_FIXTURES: proofFixture(),
    PYTHONDONTWRITEBYTECODE: '1',
  };
  const args = ['shop_app:app', '--workers=2', '--bind', `127.0.0.1:${await freePort()}`];
  const run = b.spawn('gunicorn', args, { cwd: proofFixture(), env: { ...botEnv(b), ...more } });
  const both = () => askedBy(b, 'shop', 'sendMessage').length === 2;
  await until('both workers to send', both, run);
  return marked(mark, 3, run);
};

const slowUpload: Start = async (b) => {
  const path = b.file('big.bin', Buffer.alloc(3_000_000, 1));
  const form = ['-F', 'chat_id=1', '-F', `document=@${path}`, '--limit-rate', '20k'];
  const run = b.spawn('curl', ['-sS', ...form, `${b.sandbox.root}/bot${b.token}/sendDocument`]);
  const isUnderWay = () => isConnected(run.pid, b.sandbox.port);
  await until('the upload to be under way', isUnderWay, run);
  return [run.pid];
};

const pythonPrompt: Start = async (b, t) => {
  const script = proofFixture('holder.py');
  const env = (it: Bed) => ({ ...withToken(it), SP_NAME: 'prompt' });
  const start = command(PYTHON, () => [fixture('in-pty.py'), PYTHON, '-i', script, 'prompt'], {
    env,
    processes: 2,
  });
  const pids = await start(b, t);
  await until('the prompt to have sent', () => askedBy(b, 'prompt', 'sendMessage').length > 0);
  return pids;
};

const devServer: Start = async (b) => {
  const cwd = join(b.dir, 'front-end');
  mkdirSync(cwd);
  writeFileSync(join(cwd, '.env'), `LEGACY_TOKEN=${b.token}\nLEGACY_ROOT=${b.sandbox.root}\n`);
  const env = { LEGACY_ROOT: b.sandbox.root };
  return [(await hold(b, 'dev', ['monitor', '--env-file'], 'getMe', { cwd, env })).pid];
};

const npmTest: Start = async (b) => {
  const cwd = join(b.dir, 'shop');
  mkdirSync(cwd);
  const scripts = { test: `exec ${PYTHON} ${proofFixture('holder.py')} orders` };
  writeFileSync(join(cwd, 'package.json'), JSON.stringify({ name: 'shop', scripts }));
  const mark = `${b.cookie}-npm`;
  const env = { ...withToken(b), SP_WHAT: mark, SP_NAME: 'npm', npm_config_update_notifier: 'false' };
  const run = b.spawn('npm', ['test', '--silent'], { cwd, env });
  const sends = () => askedBy(b, 'npm', 'sendMessage').length > 0;
  await until('the tests to send', sends, run);
  return findByEnv('SP_WHAT', mark);
};

/** A poller of another bot, with `env` beside its own token. */
const otherPoller =
  (name: string, env: (b: Bed) => object, words: (b: Bed) => string[] = () => []): Start =>
  async (b) => {
    const own = { OTHER_TOKEN: otherBot(b), LEGACY_ROOT: b.sandbox.root, ...env(b) };
    return [(await hold(b, name, ['other', ...words(b)], 'getUpdates', { env: own })).pid];
  };

const inFolderWithOurs: Start = async (b) => {
  const cwd = join(b.dir, 'monorepo');
  mkdirSync(cwd);
  writeFileSync(join(cwd, '.env'), `TELEGRAM_BOT_TOKEN=${b.token}\n`);
  const env = { OTHER_TOKEN: otherBot(b), LEGACY_ROOT: b.sandbox.root };
  return [(await hold(b, 'in-folder', ['other'], 'getUpdates', { cwd, env })).pid];
};

/** Calls `act` each time that the program asks getUpdates. */
function atEachPoke(t: TestContext, b: Bed, act: () => void): void {
  const onRequest = ({ userAgent, params, method }: RequestRecord) => {
    const ours = userAgent === 'singlepoll' || params.poller?.startsWith('polite.mjs');
    if (ours && method.toLowerCase() === 'getupdates') act();
  };
  b.sandbox.raw.requests.on('start', onRequest);
  t.after(() => b.sandbox.raw.requests.off('start', onRequest));
}

/** As much as a 409 has. */
const CONFLICT_SIZE = Buffer.alloc(420, 'x');

/** A stranger writes into a connection that it accepted. */
const acceptor: Start = async (b, t) => {
  const { run, port } = await startPipe(b, ['collector'], withToken(b));
  const stranger = createConnection(port, '127.0.0.1').on('error', () => {});
  t.after(() => stranger.destroy());
  stranger.resume();
  atEachPoke(t, b, () => stranger.write(CONFLICT_SIZE));
  return [run.pid];
};

/** The same the other way round: it is connected to the stranger's server. */
const subscriber: Start = async (b, t) => {
  const taken = new Set<Socket>();
  const server = createServer((socket) => {
    taken.add(socket.on('error', () => {}));
    socket.resume();
  });
  const port = await listen(t, server);
  const { run } = await startPipe(b, ['subscriber', String(port)], withToken(b));
  atEachPoke(t, b, () => {
    for (const socket of taken) socket.write(CONFLICT_SIZE);
  });
  return [run.pid];
};

/** A poller of another bot that gets a message at each of our polls; `hidden`: nobody can read its token either. */
const disturbed =
  (hidden: boolean): Start =>
  async (b, t) => {
    const token = otherBot(b);
    const env = { OTHER_TOKEN: token, LEGACY_ROOT: b.sandbox.root };
    const name = hidden ? 'hidden-other' : 'served-other';
    const run = hidden
      ? (await startHidden(b, name, { token })).run
      : await hold(b, name, ['other'], 'getUpdates', { env });
    let count = 0;
    atEachPoke(t, b, () => {
      count += 1;
      b.sandbox.raw.injectText(token, `order ${'x'.repeat((count * 37) % 300)}`);
    });
    return [run.pid];
  };

const anotherUser: Start = async (b) => {
  if (process.getuid?.() !== 0) return [process.pid];
  const cwd = join(b.dir, 'nobody');
  mkdirSync(cwd);
  chmodSync(cwd, 0o755);
  writeFileSync(join(cwd, 'production_polling_bot.py'), 'import time\ntime.sleep(10000)\n');
  return [b.spawn(PYTHON, ['production_polling_bot.py'], { cwd, uid: NOBODY }).pid];
};

const SCRIPT = 'production_polling_bot.py';
const INNOCENTS: Readonly<Record<string, Start>> = {
  'gunicorn with two workers that send orders': shopWorkers,
  'a monitor that asks getMe every second': holder('monitor', ['monitor'], 'getMe'),
  'a slow upload by curl': slowUpload,
  'a Python prompt that has sent a message': pythonPrompt,
  'a dev server with the token in .env': devServer,
  'npm test that sends': npmTest,
  'a migration that has sent a message and must finish': holder('migration', ['migration'], 'sendMessage'),
  'another bot in a folder with our .env': inFolderWithOurs,
  'another bot with both tokens in its environment': otherPoller('both-tokens', (b) => ({
    TELEGRAM_BOT_TOKEN: b.token,
  })),
  'another bot that sends its alerts with our token': otherPoller(
    'alerts',
    (b) => ({ LEGACY_TOKEN: b.token }),
    () => ['alerts'],
  ),
  'another bot with our token as a word of its arguments': otherPoller(
    'argument',
    () => ({}),
    (b) => ['--alert-token', b.token],
  ),
  'a poller of another bot, its token hidden': async (b) => [
    (await startHidden(b, 'hidden-quiet', { token: otherBot(b) })).run.pid,
  ],
  'another bot that gets a message at each poke': disturbed(false),
  'another bot, its token hidden, with a message at each poke': disturbed(true),
  'a server to whom a stranger writes at each poke': acceptor,
  'a client to whom its server writes at each poke': subscriber,
  'an editor on a script of that name': inPty('vim.tiny', '-n', SCRIPT),
  'an editor with the token': inPtyWithToken('vim.tiny', '-n', SCRIPT),
  'a pager on gunicorn.log': inPty('less', 'gunicorn.log'),
  'a log follower with the token': command('tail', () => ['-F', SCRIPT], { env: botEnv }),
  'a shell with the token': inPtyWithToken('bash', '--norc', '-i'),
  'a shell on a file of that name': inPty('sh', '-c', `read line < fifo # ${SCRIPT}`),
  grep: command('grep', () => ['-r', SCRIPT, 'fifo']),
  'a sleeper with the token': command('sleep', () => ['10000'], { env: botEnv }),
  'a cron job that speaks of gunicorn': command('sh', () => ['-c', 'sleep 10000; echo gunicorn'], {
    env: botEnv,
    cwd: '/',
  }),
  // Its parent: the child carries the same mark until it is one.
  'a zombie': async (b) => {
    const run = b.spawn(PYTHON, [fixture('zombie-maker.py'), b.file('quits.py', 'pass\n')]);
    await run.waitFor(/zombie \d+/);
    return [run.pid];
  },
  'gunicorn of another bot': (b) => orphanedGunicorn(b, join(b.dir, 'other-bot'), otherBot(b), 1),
  'a process of another user': anotherUser,
};

/** One subtest for each row, so that the report names the kinds. */
async function judge(t: TestContext, b: Bed, lives: Map<string, Living[]>, phase: string, said: string) {
  for (const [what, those] of lives)
    await t.test(`${what} lives through ${phase}`, () => {
      assert.ok(those.length > 0, what);
      const named = said.split('\n').filter((line) => those.some(({ pid }) => line.includes(`pid ${pid} `)));
      assert.deepEqual(harmed(b, those), [], named.join('\n'));
    });
}

it('all of them at once: start, conflicts with somebody elsewhere, a new worker, reset', async (b) => {
  b.file(SCRIPT, 'import time\ntime.sleep(10000)\n');
  b.file('gunicorn.log', 'a\n'.repeat(500));
  spawnSync('mkfifo', [join(b.project, 'fifo')]);
  const collector = await startPipe(b, ['collector'], withToken(b));
  const guilty = await startHidden(b, 'guilty', { args: ['--log', String(collector.port)] });
  const started = Object.entries(INNOCENTS).map(
    async ([what, start]) => [what, living(await start(b, b.t))] as const,
  );
  const lives = new Map(await Promise.all(started));
  lives.set('a log collector to which the poller writes', living([collector.run.pid]));

  const run = startWorker(b, '--on-rival', 'insist', ...PATTERNS);
  const mine = await workerWorks(b, run);
  await judge(b.t, b, lives, 'start', run.stderr());
  await allGone(guilty.pids());

  const rival = await startRemoteRival(b.t, b);
  await until('four conflicts on each side', () => rival.conflicts >= 4, run);
  await rival.leave();
  assert.equal(run.ended(), null, run.seen());
  assert.ok(alive(mine), 'the worker has not noticed the rival');
  process.kill(mine, 'SIGKILL');
  const next = () => polledBy(b, 'polite.mjs').some((pid) => pid !== mine);
  await until('a new worker to poll', next, run);
  await judge(b.t, b, lives, 'a running time with conflicts', run.stderr());

  const reset = await b.exits(0, ['reset', '--no-start', ...PATTERNS]);
  await judge(b.t, b, lives, 'reset', reset.stderr);
});

xit('the multiplexer and the shell in which singlepoll runs, with the token and suspicious names', async (b) => {
  const guilty = await pollingStray(b, 'working_polling_bot.py');
  const tmux = await openTmux(b, 200, 30);
  const hosts = living(
    findByEnv('SP_TEST_COOKIE', b.cookie).filter((pid) =>
      /tmux|bash/.test(readFileSync(`/proc/${pid}/comm`, 'utf8')),
    ),
  );
  assert.ok(hosts.length >= 2);
  const words = [process.execPath, PROGRAM, 'start', ...PATTERNS.map((word) => `'${word}'`), ...POLITE];
  tmux.type(`${words.join(' ')} # production_polling_bot.py`);
  await until('the worker to poll', () => polledBy(b, 'polite.mjs').length > 0, tmux);
  await allGone([guilty.pid]);
  await b.exits(0, ['reset', '--no-start', ...PATTERNS]);
  assert.deepEqual(harmed(b, hosts), [], tmux.seen());
});

it('who lists senders as likely with exit 1; after the probe they do not poll, exit 0; start beside them stops nobody', async (b) => {
  await shopWorkers(b, b.t);
  const senders = [
    ...askedBy(b, 'shop', 'sendMessage'),
    ...(await holder('monitor', ['monitor'], 'getMe')(b, b.t)),
    ...(await holder('migration', ['migration'], 'sendMessage')(b, b.t)),
  ];
  const those = living(senders);
  assert.equal(senders.length, 4);
  const before = await who(b);
  assert.equal(before.code, 1, before.stdout);
  for (const pid of senders) {
    const stray = before.view.strays.find((each) => each.pid === pid);
    assert.equal(stray?.grade, 'likely', JSON.stringify(stray));
  }
  assert.deepEqual(b.sandbox.polls(), [], 'who alone asks nothing');
  assert.match((await b.exits(1, 'who')).stdout, /singlepoll who --probe tells whether it polls/);
  const after = await who(b, '--probe');
  assert.deepEqual([after.code, after.view.probe?.result], [0, 'none'], after.stdout + after.stderr);
  for (const stray of after.view.strays.filter(({ pid }) => senders.includes(pid)))
    assert.notEqual(stray.grade, 'proven', JSON.stringify(stray));
  const run = startWorker(b);
  await workerWorks(b, run);
  assert.doesNotMatch(run.stderr(), /\[stray\] stopping/);
  await staysTrue('they live while the worker polls', 1_000, () => harmed(b, those).length === 0, run.seen);
});

/** They live through a start and a reset beside a stray, which goes or makes the start end with 75. */
async function liveBeside(b: Bed, carriers: readonly Running[], env: Record<string, string>): Promise<void> {
  const those = living(carriers.map(({ pid }) => pid));
  const run = b.start('--stop-timeout 3s', { env });
  const conflicts = () => b.sandbox.polls().filter(({ status }) => status === 409).length;
  // Whether the stray behind it is found or not: enough conflicts, or an end, and it must be there still.
  const isEnough = () => run.ended() || conflicts() >= 4 || harmed(b, those).length > 0;
  await until('enough conflicts, or an end', isEnough, run);
  assert.deepEqual(harmed(b, those), [], run.seen());
  if (run.ended()) await run.ends(75);
  const reset = await b.run('reset --no-start', { env });
  assert.deepEqual(harmed(b, those), [], reset.stderr);
}

for (const [what, words] of [
  ['a TCP relay, as ssh -L is', ['relay']],
  ['a relay that adds its headers, as a reverse proxy does', ['headers']],
  ['an HTTP proxy, as squid is', ['connect']],
  ['the API root itself, as nginx before a local Bot API server', ['relay']],
] as const)
  xit(`${what}, on which a stray polls, lives`, async (b) => {
    const isRelay = words[0] !== 'connect';
    const isRoot = what.startsWith('the API root');
    // Started with the bot's .env.
    const env = isRoot ? { ...withToken(b), TELEGRAM_BOT_TOKEN: b.token } : {};
    const { run: carrier, port } = await startPipe(
      b,
      isRelay ? [...words, String(b.sandbox.port)] : words,
      env,
    );
    const root = `http://127.0.0.1:${port}`;
    await startHidden(b, 'carried', isRelay ? { root } : { args: ['--via', String(port)] });
    await liveBeside(b, [carrier], isRoot ? { ...b.env, TELEGRAM_API_ROOT: root } : b.env);
  });

xit('the built-in Bot API stand-in lives, though everybody polls it', async (b) => {
  const sandbox = b.cli('sandbox --port 0');
  await sandbox.waitFor(/\d{6,}:[\w-]{30,}/);
  const text = sandbox.stdout() + sandbox.stderr();
  const those = living([sandbox.pid]);
  const TELEGRAM_API_ROOT = /http:\/\/127\.0\.0\.1:\d+/.exec(text)?.[0] ?? '';
  const env = { ...b.env, TELEGRAM_API_ROOT, TELEGRAM_BOT_TOKEN: /\d{6,}:[\w-]{30,}/.exec(text)?.[0] ?? '' };
  await b.start([], { env }).waitFor(/\[poll\] worker \S+ polls/);
  const { stderr } = await b.exits(0, 'reset --no-start', { env });
  assert.deepEqual(harmed(b, those), [], stderr);
});

test('the worker of another bot in the same folder under the same state folder', async (t) => {
  const one = await bed(t);
  const two = await bed(t);
  const options = { cwd: one.project, env: { ...two.env, SINGLEPOLL_DIR: one.stateDir } };
  const other = await two.polling([], options);
  const pid = polledBy(two, 'polite.mjs')[0] ?? -1;
  await one.polling();
  await one.exits(0, 'stop');
  assert.ok(alive(pid) && !other.ended(), other.seen());
});

it('an ordinary user: what cannot be inspected is counted and said; one that may not be stopped is 77', async (b) => {
  if (process.getuid?.() !== 0) {
    // Without root there is always a process of root that cannot be inspected: pid 1.
    assert.match((await b.polling()).stderr(), /\d+ process.*(inspect|read|see)/i);
    return;
  }
  const name = `bot_${b.cookie}.py`;
  const ours = b.spawn(PYTHON, [b.file(name, 'import time\ntime.sleep(10000)\n')]);
  await holdOtherUsers(b.t);
  const refused = startAsNobody(b, ['--stray', name, '--stray-scope', 'any']);
  await refused.ends(77);
  assert.match(refused.stderr(), new RegExp(`\\b${ours.pid}\\b`));
  assert.ok(alive(ours.pid));
  assert.equal(b.journal().length, 0, 'no worker was started');
  const run = startAsNobody(b);
  await until('the worker to poll', () => polledBy(b, 'polite.mjs').length > 0, run);
  assert.match(run.stderr(), /\d+ process/i, 'those that could not be inspected are counted');
});

it("an ordinary user beside root's poller, which he may not look into: 77, no worker, and how to see it", async (b) => {
  if (process.getuid?.() !== 0) return;
  await holdOtherUsers(b.t);
  const roots = await startHidden(b, 'roots');
  const run = startAsNobody(b);
  await run.ends(77);
  const told =
    /may not be stopped: a process of user root.* polls this bot here, and .*\n {2}→ sudo singlepoll who --probe/;
  assert.match(run.stderr(), told);
  assert.doesNotMatch(run.stderr(), /not known|elsewhere/);
  assert.ok(roots.pids().every(alive));
  assert.deepEqual(polledBy(b, 'polite.mjs'), [], 'no worker was started');
});

it("an ordinary user beside another bot of root's, which gets an update just as he asks: the start goes on", async (b) => {
  if (process.getuid?.() !== 0) return;
  const token = otherBot(b);
  const stranger = await startHidden(b, 'roots', { token });
  await staysTrue('its poll is held', 1_000, () => stranger.pids().length > 0);
  await holdOtherUsers(b.t);
  const run = startAsNobody(b);
  await run.waitFor(/asking getUpdates once/);
  const timer = setInterval(() => b.sandbox.raw.injectText(token, 'x'.repeat(600)), 30);
  try {
    await until('the worker to poll', () => polledBy(b, 'polite.mjs').length > 0, run);
  } finally {
    clearInterval(timer);
  }
  assert.doesNotMatch(run.stderr(), /polls this bot here/);
});

xit("root's poller comes while an ordinary user's worker polls: it is told as one of this machine to the end", async (b) => {
  if (process.getuid?.() !== 0) return;
  await holdOtherUsers(b.t);
  const run = startAsNobody(b, ['--on-rival', 'yield'], { [RIVAL_AFTER]: '9s' });
  await until('the worker to poll', () => polledBy(b, 'polite.mjs').length > 0, run);
  await startHidden(b, 'roots');
  await run.ends(75);
  assert.match(
    run.stderr(),
    /It may be a process of user root.*; yielding; .*\n {2}→ sudo singlepoll who --probe/,
  );
  assert.doesNotMatch(run.stderr(), /not known|elsewhere/);
});
