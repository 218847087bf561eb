// Nobody is stopped who does not poll this bot, whatever he holds, wherever he is connected, and whatever is written to him at the
// moment at which we ask: all of them at once beside a poller that must go, then one by one where one alone tells more.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { allGone, type Bed, bed, node, PYTHON } from '../support/bed.ts';
import type { Running } from '../support/cli.ts';
import { alive, findByEnv } from '../support/proc.ts';
import {
  askedBy,
  fixture,
  harmed,
  hold,
  type Living,
  LONG_MS,
  living,
  marked,
  otherBot,
  proofFixture,
  startHidden,
  startPipe,
  startWorker,
  who,
  withToken,
  workerWorks,
} from '../support/proof-bed.ts';
import { startRemoteRival } from '../support/proof-rival.ts';
import { freePort } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

interface Innocent {
  what: string;
  /** Starts it; gives the pids that must live. It may wait until it does what it is there for. */
  start(t: TestContext, b: Bed): Promise<number[]>;
}

const LIKELY = 'singlepoll who --probe tells whether it polls';
const one = async (running: Promise<Running>) => [(await running).pid];

async function shopWorkers(_t: TestContext, b: Bed): Promise<number[]> {
  const port = await freePort();
  const mark = `${b.cookie}-shop`;
  const run = b.spawn('gunicorn', ['shop_app:app', '--workers=2', '--bind', `127.0.0.1:${port}`], {
    cwd: proofFixture(),
    env: {
      TELEGRAM_BOT_TOKEN: b.token,
      TELEGRAM_API_ROOT: b.sandbox.root,
      SP_WHAT: mark,
      SP_NAME: 'shop',
      SP_PROOF_FIXTURES: proofFixture(),
      PYTHONDONTWRITEBYTECODE: '1',
    },
  });
  await until('both workers to send', () => askedBy(b, 'shop', 'sendMessage').length === 2, {
    ms: LONG_MS,
    seen: run.seen,
  });
  return marked(mark, 3, run);
}

async function slowUpload(_t: TestContext, b: Bed): Promise<number[]> {
  const path = b.file('big.bin', Buffer.alloc(3_000_000, 1));
  const url = `${b.sandbox.root}/bot${b.token}/sendDocument`;
  const run = b.spawn('curl', [
    '-sS',
    '-F',
    'chat_id=1',
    '-F',
    `document=@${path}`,
    '--limit-rate',
    '20k',
    url,
  ]);
  await until('the upload to be under way', () => connectedTo(run.pid, b.sandbox.port), {
    ms: LONG_MS,
    seen: run.seen,
  });
  return [run.pid];
}

/** The process holds a connection to this port. */
function connectedTo(pid: number, port: number): boolean {
  const remote = `:${port.toString(16).toUpperCase().padStart(4, '0')} 01 `;
  const inodes = readFileSync('/proc/net/tcp', 'latin1')
    .split('\n')
    .filter((line) => line.includes(remote))
    .map((line) => line.trim().split(/\s+/)[9]);
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) =>
      inodes.some((inode) => readlinkSync(`/proc/${pid}/fd/${fd}`) === `socket:[${inode}]`),
    );
  } catch {
    return false;
  }
}

async function pythonPrompt(_t: TestContext, b: Bed): Promise<number[]> {
  const mark = `${b.cookie}-prompt`;
  const run = b.spawn(PYTHON, [fixture('in-pty.py'), PYTHON, '-i', proofFixture('holder.py'), 'prompt'], {
    env: { ...withToken(b), SP_WHAT: mark, SP_NAME: 'prompt', TERM: 'xterm' },
  });
  await until('the prompt to have sent', () => askedBy(b, 'prompt', 'sendMessage').length > 0, {
    ms: LONG_MS,
    seen: run.seen,
  });
  return marked(mark, 2, run);
}

async function devServer(_t: TestContext, b: Bed): Promise<number[]> {
  const folder = join(b.dir, 'front-end');
  mkdirSync(folder);
  writeFileSync(join(folder, '.env'), `LEGACY_TOKEN=${b.token}\nLEGACY_ROOT=${b.sandbox.root}\n`);
  const env = { LEGACY_ROOT: b.sandbox.root };
  return one(hold(b, 'dev', ['monitor', '--env-file'], 'getMe', { cwd: folder, env }));
}

async function npmTest(_t: TestContext, b: Bed): Promise<number[]> {
  const folder = join(b.dir, 'shop');
  mkdirSync(folder);
  const script = `exec ${PYTHON} ${proofFixture('holder.py')} orders`;
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'shop', scripts: { test: script } }));
  const mark = `${b.cookie}-npm`;
  const run = b.spawn('npm', ['test', '--silent'], {
    cwd: folder,
    env: { ...withToken(b), SP_WHAT: mark, SP_NAME: 'npm', npm_config_update_notifier: 'false' },
  });
  await until('the tests to send', () => askedBy(b, 'npm', 'sendMessage').length > 0, {
    ms: LONG_MS,
    seen: run.seen,
  });
  return findByEnv('SP_WHAT', mark);
}

/** A poller of another bot, with `env` beside its own token. */
async function otherPoller(
  b: Bed,
  name: string,
  env: Record<string, string>,
  words: string[] = [],
  cwd = b.dir,
): Promise<number[]> {
  const own = { OTHER_TOKEN: otherBot(b), LEGACY_ROOT: b.sandbox.root };
  const run = await hold(b, name, ['other', ...words], 'getUpdates', { cwd, env: { ...own, ...env } });
  return [run.pid];
}

/** Calls `act` each time that the program asks getUpdates. */
function atEachPoke(t: TestContext, b: Bed, act: () => void): void {
  t.after(
    b.sandbox.raw.onRequest(({ type, request }) => {
      const ours = request.userAgent === 'singlepoll' || request.params.poller?.startsWith('polite.mjs');
      if (type === 'start' && ours && request.method.toLowerCase() === 'getupdates') act();
    }),
  );
}

const CONFLICT_SIZE = Buffer.alloc(420, 'x');

/** Waits for it, then has a stranger write as much as a 409 has into a connection that it accepted. */
async function acceptor(t: TestContext, b: Bed): Promise<number[]> {
  const { run, port } = await startPipe(b, ['collector'], withToken(b));
  const stranger = createConnection(port, '127.0.0.1').on('error', () => {});
  t.after(() => stranger.destroy());
  stranger.resume();
  atEachPoke(t, b, () => stranger.write(CONFLICT_SIZE));
  return [run.pid];
}

/** The same the other way round: it is connected to the stranger's server. */
async function subscriber(t: TestContext, b: Bed): Promise<number[]> {
  const taken = new Set<Socket>();
  const server = createServer((socket) => {
    taken.add(socket.on('error', () => {}));
    socket.resume();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of taken) socket.destroy();
    server.close();
  });
  const { port } = server.address() as { port: number };
  const { run } = await startPipe(b, ['subscriber', String(port)], withToken(b));
  atEachPoke(t, b, () => {
    for (const socket of taken) socket.write(CONFLICT_SIZE);
  });
  return [run.pid];
}

/** A poller of another bot that gets a message at each of our polls; `hidden`: nobody can read its token either. */
async function disturbed(t: TestContext, b: Bed, hidden: boolean): Promise<number[]> {
  const token = otherBot(b);
  const name = hidden ? 'hidden-other' : 'served-other';
  const env = { OTHER_TOKEN: token, LEGACY_ROOT: b.sandbox.root };
  const pid = hidden
    ? (await startHidden(b, name, { token })).run.pid
    : (await hold(b, name, ['other'], 'getUpdates', { env })).pid;
  let count = 0;
  atEachPoke(t, b, () => {
    count += 1;
    b.sandbox.raw.injectText(token, `order ${'x'.repeat((count * 37) % 300)}`);
  });
  return [pid];
}

const INNOCENTS: readonly Innocent[] = [
  { what: 'gunicorn with two workers that send orders', start: shopWorkers },
  {
    what: 'a monitor that asks getMe every second',
    start: (_t, b) => one(hold(b, 'monitor', ['monitor'], 'getMe')),
  },
  { what: 'a slow upload by curl', start: slowUpload },
  { what: 'a Python prompt that has sent a message', start: pythonPrompt },
  { what: 'a dev server with the token in .env', start: devServer },
  { what: 'npm test that sends', start: npmTest },
  {
    what: 'a migration that has sent a message and must finish',
    start: (_t, b) => one(hold(b, 'migration', ['migration'], 'sendMessage')),
  },
  {
    what: 'another bot in a folder with our .env',
    start(_t, b) {
      const folder = join(b.dir, 'monorepo');
      mkdirSync(folder);
      writeFileSync(join(folder, '.env'), `TELEGRAM_BOT_TOKEN=${b.token}\n`);
      return otherPoller(b, 'in-folder', {}, [], folder);
    },
  },
  {
    what: 'another bot with both tokens in its environment',
    start: (_t, b) => otherPoller(b, 'both-tokens', { TELEGRAM_BOT_TOKEN: b.token }),
  },
  {
    what: 'another bot that sends its alerts with our token',
    start: (_t, b) => otherPoller(b, 'alerts', { LEGACY_TOKEN: b.token }, ['alerts']),
  },
  {
    what: 'another bot with our token as a word of its arguments',
    start: (_t, b) => otherPoller(b, 'argument', {}, ['--alert-token', b.token]),
  },
  {
    what: 'a poller of another bot, its token hidden',
    start: async (_t, b) => [(await startHidden(b, 'hidden-quiet', { token: otherBot(b) })).run.pid],
  },
  { what: 'another bot that gets a message at each poke', start: (t, b) => disturbed(t, b, false) },
  {
    what: 'another bot, its token hidden, with a message at each poke',
    start: (t, b) => disturbed(t, b, true),
  },
  { what: 'a server to whom a stranger writes at each poke', start: acceptor },
  { what: 'a client to whom its server writes at each poke', start: subscriber },
];

/** What became of each innocent, by phase. */
async function livesOf(t: TestContext, b: Bed): Promise<Map<string, Living[]>> {
  const started = await Promise.all(
    INNOCENTS.map(async ({ what, start }) => [what, living(await start(t, b))] as const),
  );
  return new Map(started);
}

/** One subtest for each row, so that the report names the kinds. */
async function judge(t: TestContext, b: Bed, lives: Map<string, Living[]>, phase: string, said: string) {
  for (const [what, those] of lives) {
    await t.test(`${what} lives through ${phase}`, () => {
      assert.ok(those.length > 0, what);
      const named = said.split('\n').filter((line) => those.some(({ pid }) => line.includes(`pid ${pid} `)));
      assert.deepEqual(harmed(b, those), [], named.join('\n'));
    });
  }
}

describe('innocent', () => {
  test('all of them at once: start, conflicts with somebody elsewhere, a new worker, reset', async (t) => {
    const b = await bed(t);
    const collector = await startPipe(b, ['collector'], withToken(b));
    const guilty = await startHidden(b, 'guilty', { args: ['--log', String(collector.port)] });
    const lives = await livesOf(t, b);
    lives.set('a log collector to which the poller writes', living([collector.run.pid]));

    const run = startWorker(b, '--on-rival', 'insist');
    const worker = await workerWorks(b, run);
    await judge(t, b, lives, 'start', run.stderr());
    await allGone(guilty.pids(), 30_000);

    const rival = await startRemoteRival(t, b);
    await until('four conflicts on each side', () => rival.conflicts >= 4, { ms: LONG_MS, seen: run.seen });
    await rival.leave();
    assert.equal(run.ended(), null, run.seen());
    assert.ok(alive(worker), 'the worker has not noticed the rival');
    process.kill(worker, 'SIGKILL');
    await until('a new worker to poll', () => askedByWorker(b, worker), { ms: LONG_MS, seen: run.seen });
    await judge(t, b, lives, 'a running time with conflicts', run.stderr());

    const reset = await b.run(['reset', '--no-start'], { ms: LONG_MS });
    assert.equal(reset.code, 0, reset.stderr);
    await judge(t, b, lives, 'reset', reset.stderr);
  });

  test('who lists senders as likely with exit 1; after the probe they do not poll, exit 0', async (t) => {
    const b = await bed(t);
    await shopWorkers(t, b);
    const senders = [
      ...askedBy(b, 'shop', 'sendMessage'),
      ...(await one(hold(b, 'monitor', ['monitor'], 'getMe'))),
      ...(await one(hold(b, 'migration', ['migration'], 'sendMessage'))),
    ];
    assert.equal(senders.length, 4);
    const before = await who(b);
    assert.equal(before.code, 1, before.stdout);
    for (const pid of senders) {
      const stray = before.view.strays.find((each) => each.pid === pid);
      assert.equal(stray?.grade, 'likely', JSON.stringify(stray));
    }
    assert.deepEqual(b.sandbox.polls(), [], 'who alone asks nothing');
    const shown = await b.run(['who']);
    assert.equal(shown.code, 1);
    assert.ok(shown.stdout.includes(LIKELY), shown.stdout);
    const after = await who(b, '--probe');
    assert.equal(after.code, 0, after.stdout + after.stderr);
    assert.equal(after.view.probe?.result, 'none', after.view.probe?.message);
    for (const stray of after.view.strays.filter(({ pid }) => senders.includes(pid))) {
      assert.notEqual(stray.grade, 'proven', JSON.stringify(stray));
    }
    assert.deepEqual(harmed(b, living(senders)), []);
  });

  test('start beside senders only: no stray, no delay of its own making, the worker polls', async (t) => {
    const b = await bed(t);
    const those = living([
      ...(await one(hold(b, 'monitor', ['monitor'], 'getMe'))),
      ...(await one(hold(b, 'migration', ['migration'], 'sendMessage'))),
    ]);
    const run = startWorker(b);
    await workerWorks(b, run);
    assert.deepEqual(harmed(b, those), [], run.seen());
    assert.doesNotMatch(run.stderr(), /\[stray\] stopping/);
    await staysTrue('they live while the worker polls', 3000, () => harmed(b, those).length === 0, run.seen);
  });

  for (const [what, words] of [
    ['a TCP relay, as ssh -L is', ['relay']],
    ['an HTTP proxy, as squid is', ['connect']],
  ] as const) {
    test(`${what}, on which a stray polls, lives`, async (t) => {
      const b = await bed(t);
      const args = words[0] === 'relay' ? [words[0], String(b.sandbox.port)] : [words[0]];
      const { run: carrier, port } = await startPipe(b, args);
      await startHidden(
        b,
        'carried',
        words[0] === 'relay' ? { root: `http://127.0.0.1:${port}` } : { args: ['--via', String(port)] },
      );
      const those = living([carrier.pid]);
      const run = startWorker(b);
      // Whether the stray behind it is found or not: four conflicts, or an end, and it must be there still.
      const conflicts = () => b.sandbox.polls().filter(({ status }) => status === 409).length;
      await until(
        'enough conflicts, or an end',
        () => run.ended() || conflicts() >= 6 || !alive(carrier.pid),
        {
          ms: LONG_MS,
          seen: run.seen,
        },
      );
      assert.deepEqual(harmed(b, those), [], run.seen());
      const exit = run.ended();
      if (exit) assert.equal(exit.code, 75, run.seen());
      const reset = await b.run(['reset', '--no-start'], { ms: LONG_MS });
      assert.deepEqual(harmed(b, those), [], reset.stderr);
    });
  }

  test('what listens as the API root itself lives, and so does the program behind it', async (t) => {
    const b = await bed(t);
    // As nginx before a local Bot API server, or that server itself, started with the bot's .env.
    const { run: front, port } = await startPipe(b, ['relay', String(b.sandbox.port)], {
      ...withToken(b),
      TELEGRAM_BOT_TOKEN: b.token,
    });
    const root = `http://127.0.0.1:${port}`;
    const those = living([front.pid]);
    const stray = await startHidden(b, 'guilty', { root });
    const env = { ...b.env, TELEGRAM_API_ROOT: root };
    const run = b.cli(['start', '--', ...node('polite.mjs')], { env });
    await workerWorks(b, run);
    assert.deepEqual(harmed(b, those), [], run.seen());
    await allGone(stray.pids(), 30_000);
    assert.deepEqual(harmed(b, those), [], run.seen());
    const reset = await b.run(['reset', '--no-start'], { env, ms: LONG_MS });
    assert.equal(reset.code, 0, reset.stderr);
    assert.deepEqual(harmed(b, those), [], reset.stderr);
  });

  test('the built-in Bot API stand-in lives, though everybody polls it', async (t) => {
    const b = await bed(t);
    const sandbox = b.cli(['sandbox', '--port', '0']);
    await sandbox.waitFor(/http:\/\/127\.0\.0\.1:\d+/, LONG_MS);
    const root = /http:\/\/127\.0\.0\.1:\d+/.exec(sandbox.stdout() + sandbox.stderr())?.[0] ?? '';
    const token = /\d{6,}:[\w-]{30,}/.exec(sandbox.stdout() + sandbox.stderr())?.[0] ?? '';
    const those = living([sandbox.pid]);
    const env = { ...b.env, TELEGRAM_API_ROOT: root, TELEGRAM_BOT_TOKEN: token };
    const run = b.cli(['start', '--', ...node('polite.mjs')], { env });
    await run.waitFor(/\[poll\] worker \S+ polls/, LONG_MS);
    const reset = await b.run(['reset', '--no-start'], { env, ms: LONG_MS });
    assert.equal(reset.code, 0, reset.stderr);
    assert.deepEqual(harmed(b, those), [], reset.stderr);
  });
});

/** A worker other than `first` has polled. */
const askedByWorker = (b: Bed, first: number): boolean =>
  b.sandbox.polls().some(({ name, pid }) => name === 'polite.mjs' && pid !== first);
