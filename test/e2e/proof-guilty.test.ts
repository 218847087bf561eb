// Whoever polls this bot is found by what it does, wherever its token is and however it takes a 409: named, stopped with its tree,
// and the worker polls. A pattern of the user's counts for the script, wherever the process stands; another bot's process is never it.
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { allGone, type Bed, bed, node, PYTHON } from '../support/bed.ts';
import { assertNoToken } from '../support/judge.ts';
import { alive, findByEnv } from '../support/proc.ts';
import {
  type Hidden,
  type HiddenOptions,
  harmed,
  hold,
  LONG_MS,
  living,
  otherBot,
  proofFixture,
  startHidden,
  startWorker,
  withToken,
  workerWorks,
} from '../support/proof-bed.ts';
import { polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

/** The promise for a stray that asks again soon, from `start` on. */
const PROMISE_MS = 15_000;

interface Row extends HiddenOptions {
  what: string;
  /** Where the stray's own pauses are longer than the promise allows for. */
  goneMs?: number;
  /** It ends at its 409 by itself: nobody has to stop it. */
  endsItself?: boolean;
}

const ROWS: readonly Row[] = [
  { what: 'token in the source', from: 'literal' },
  { what: 'token in config.json', from: 'config.json', args: ['--close'] },
  { what: 'token in settings.py', from: 'settings.py' },
  { what: 'token on stdin', from: 'stdin', args: ['--close'] },
  { what: 'token wiped from the environment', from: 'wiped' },
  { what: 'token decrypted at start', from: 'locked', args: ['--close'] },
  { what: 'node, keep-alive', from: 'config.json', runtime: 'node' },
  { what: 'node, a connection for each poll', from: 'config.json', runtime: 'node', args: ['--close'] },
  { what: 'again at once after a 409', args: ['--at-409', '0'] },
  { what: 'again at once after a 409, a connection for each poll', args: ['--at-409', '0', '--close'] },
  { what: 'again 1 s after a 409', args: ['--at-409', '1'] },
  { what: 'again 5 s after a 409', args: ['--at-409', '5'], goneMs: 30_000 },
  { what: 'again 10 s after a 409', args: ['--at-409', '10'], goneMs: 45_000 },
  { what: 'backs off 1, 2, 4 s', args: ['--at-409', '1,2,4'], goneMs: 30_000 },
  { what: 'ends at a 409', args: ['--at-409', 'end'], endsItself: true },
  {
    what: 'node, ends at a 409',
    from: 'config.json',
    runtime: 'node',
    args: ['--at-409=end'],
    endsItself: true,
  },
];

/** Each of them is gone in time, was named, and polls no more, while the same worker works. */
async function foundAndStopped(b: Bed, strays: readonly Hidden[], goneMs = PROMISE_MS): Promise<string> {
  const run = startWorker(b);
  const began = performance.now();
  const pids = () => strays.flatMap((stray) => [stray.run.pid, ...stray.pids()]);
  await until('the strays to be gone', () => pids().every((pid) => !alive(pid)), {
    ms: goneMs,
    seen: run.seen,
  });
  const tookMs = performance.now() - began;
  for (const stray of strays) {
    const named = stray.pids().some((pid) => new RegExp(`\\bpid ${pid}\\b`).test(run.stderr()));
    assert.ok(named, `${stray.name} (${stray.pids()}) is not named\n${run.seen()}`);
  }
  const worker = await workerWorks(b, run);
  const before = b.sandbox.polls().length;
  await staysTrue('only the worker polls', 1500, () =>
    b.sandbox
      .polls()
      .slice(before)
      .every(({ pid }) => pid === worker),
  );
  assert.ok(alive(worker), run.seen());
  assert.deepEqual(new Set(polledBy(b, 'polite.mjs')), new Set([worker]), 'one worker was enough');
  assertNoToken(run.seen(), b.token);
  assert.doesNotMatch(
    run.stderr(),
    /elsewhere|another machine|not found on this machine/,
    `it was here all the time (gone after ${Math.round(tookMs)} ms)`,
  );
  return run.stderr();
}

/** `start` against a bot that ends at its 409: gone, the worker polls, nobody says that somebody survived. */
async function endsItself(b: Bed, stray: Hidden): Promise<void> {
  const run = startWorker(b);
  await workerWorks(b, run);
  await allGone(stray.pids(), PROMISE_MS);
  assert.equal(run.ended(), null, run.seen());
}

describe('guilty: no token to be read', () => {
  for (const [index, { what, goneMs, endsItself: ends, ...options }] of ROWS.entries()) {
    test(what, async (t) => {
      const b = await bed(t);
      const stray = await startHidden(b, `hidden-${index}`, options);
      if (ends) await endsItself(b, stray);
      else await foundAndStopped(b, [stray], goneMs);
    });
  }

  test('two at once: one holds the poll, the other waits; both go', async (t) => {
    const b = await bed(t);
    const strays = [
      await startHidden(b, 'hidden-one', { from: 'config.json' }),
      await startHidden(b, 'hidden-two', { from: 'literal', args: ['--at-409', '1'] }),
    ];
    await foundAndStopped(b, strays, 45_000);
  });

  test('two lives of the same program: one is proven, the other shares its verdict or follows', async (t) => {
    const b = await bed(t);
    const stray = await startHidden(b, 'twin', { shell: '% & exec %', args: ['--at-409', '1'] });
    await until('both to poll', () => stray.pids().length === 2, { ms: LONG_MS });
    await foundAndStopped(b, [stray], 45_000);
  });

  test('under a shell that starts it again for ever: the shell goes with it', async (t) => {
    const b = await bed(t);
    const stray = await startHidden(b, 'looped', { shell: 'while :; do %; sleep 0.1; done' });
    await foundAndStopped(b, [stray]);
    assert.equal(stray.pids().length, 1, 'it did not come back');
  });

  test('ends at its 409 under a shell that starts it again: the shell goes, or 75 names it', async (t) => {
    const b = await bed(t);
    const stray = await startHidden(b, 'looping', {
      shell: 'while :; do %; sleep 0.3; done',
      args: ['--at-409', 'end'],
    });
    const run = startWorker(b);
    await until('an end, or the shell to be gone', () => run.ended() || !alive(stray.run.pid), {
      ms: LONG_MS,
      seen: run.seen,
    });
    const exit = run.ended();
    if (!exit) return void (await workerWorks(b, run));
    assert.equal(exit.code, 75, run.seen());
    assert.match(run.stderr(), new RegExp(`\\b${stray.run.pid}\\b`), 'the shell is named');
  });

  test('reset stops it, too', async (t) => {
    const b = await bed(t);
    const stray = await startHidden(b, 'hidden-reset');
    const result = await b.run(['reset', '--no-start'], { ms: LONG_MS });
    assert.equal(result.code, 0, result.stderr);
    assert.deepEqual(stray.pids().filter(alive), [], result.stderr);
    assert.match(result.stderr, new RegExp(`\\bpid ${stray.pids()[0]}\\b`));
  });

  test('one that starts while the worker runs is named with user and folder, and stopped; the worker notices nothing', async (t) => {
    const b = await bed(t);
    const run = startWorker(b);
    const worker = await workerWorks(b, run);
    const stray = await startHidden(b, 'late', { from: 'config.json' });
    await allGone(stray.pids(), 45_000);
    const line = run
      .stderr()
      .split('\n')
      .find((text) => text.includes(`pid ${stray.pids()[0]} `));
    assert.ok(line?.includes(stray.folder), `pid, user and folder\n${run.seen()}`);
    assert.match(line ?? '', /root/);
    assert.doesNotMatch(run.stderr(), /elsewhere|another machine|not found on this machine/);
    assert.equal(await workerWorks(b, run), worker);
    assert.ok(b.journal().every((entry) => entry.pid !== worker || entry.ev !== 'conflict'));
  });

  test('who --probe names it with pid and folder, as proven; who alone does not guess', async (t) => {
    const b = await bed(t);
    const stray = await startHidden(b, 'hidden-who', { from: 'stdin' });
    const pid = stray.pids()[0];
    const result = await b.run(['who', '--probe', '--json'], { ms: LONG_MS });
    assert.equal(result.code, 1, result.stderr);
    const view = JSON.parse(result.stdout) as { strays: { pid: number; grade: string; cwd: string }[] };
    const found = view.strays.find((each) => each.pid === pid);
    assert.deepEqual([found?.grade, found?.cwd], ['proven', stray.folder], result.stdout);
    assert.ok(alive(pid ?? -1), 'who stops nobody');
  });
});

/** A process that polls this bot and another one, both tokens in its environment. */
async function twoBots(b: Bed) {
  const other = otherBot(b);
  const env = { ...withToken(b), OTHER_TOKEN: other };
  const run = await hold(b, 'both', ['two'], 'getUpdates', { env });
  const bots = () =>
    new Set(
      b.sandbox
        .requests()
        .filter(({ userAgent }) => userAgent.startsWith('proof/both/'))
        .map(({ bot }) => bot),
    );
  await until('it to poll both', () => bots().size === 2, { ms: LONG_MS, seen: run.seen });
  return { run, otherId: other.split(':')[0] ?? '' };
}

describe('guilty: one process that polls two bots', () => {
  test('start: 75, says which other bot would fall silent, and touches nothing', async (t) => {
    const b = await bed(t);
    const { run: both, otherId } = await twoBots(b);
    const those = living([both.pid]);
    const run = startWorker(b);
    const exit = await run.exit(LONG_MS);
    assert.equal(exit.code, 75, run.seen());
    assert.match(run.stderr(), new RegExp(`\\b${otherId}\\b`));
    assert.match(run.stderr(), new RegExp(`\\b${both.pid}\\b`));
    assert.match(run.stderr(), /--takeover/);
    assert.equal(polledBy(b, 'polite.mjs').length, 0);
    assert.deepEqual(harmed(b, those), [], run.seen());
  });

  test('start --takeover: stopped, and says so', async (t) => {
    const b = await bed(t);
    const { run: both, otherId } = await twoBots(b);
    const run = startWorker(b, '--takeover');
    await workerWorks(b, run);
    await allGone([both.pid], 30_000);
    assert.match(run.stderr(), new RegExp(`\\b${otherId}\\b`));
  });

  test('reset: stopped, and says so', async (t) => {
    const b = await bed(t);
    const { run: both, otherId } = await twoBots(b);
    const result = await b.run(['reset', '--no-start'], { ms: LONG_MS });
    assert.equal(result.code, 0, result.stderr);
    assert.equal(alive(both.pid), false, result.stderr);
    assert.match(result.stderr, new RegExp(`\\b${otherId}\\b`));
  });
});

/** A program in the project that does nothing but wait; `name` is its file's. */
function sleeper(
  t: TestContext,
  b: Bed,
  name: string,
  options: { cwd?: string; env?: Record<string, string> } = {},
) {
  void t;
  const path = b.file(name, 'import time\ntime.sleep(10000)\n');
  return b.spawn(PYTHON, [path], options);
}

describe('guilty: by the word of the user', () => {
  for (const [what, place] of [
    ['/', () => '/'],
    ['$HOME', (b: Bed) => b.env.HOME ?? '/'],
  ] as const) {
    test(`--stray finds a script of the project that was started in ${what}`, async (t) => {
      const b = await bed(t);
      const legacy = sleeper(t, b, 'production_polling_bot.py', { cwd: place(b) });
      const run = startWorker(b, '--stray', 'production_polling_bot\\.py');
      await workerWorks(b, run);
      await allGone([legacy.pid], 20_000);
      assert.match(run.stderr(), new RegExp(`pid ${legacy.pid} .*declared`));
    });
  }

  test('--stray: a script of another project is left alone, though the process stands in ours', async (t) => {
    const b = await bed(t);
    const other = join(b.dir, 'other');
    mkdirSync(other);
    const path = join(other, 'production_polling_bot.py');
    writeFileSync(path, 'import time\ntime.sleep(10000)\n');
    const theirs = b.spawn(PYTHON, [path], { cwd: '/' });
    const run = startWorker(b, '--stray', 'production_polling_bot\\.py');
    await workerWorks(b, run);
    assert.ok(alive(theirs.pid), run.seen());
  });

  test("--stray never stops a process that holds another bot's token and not ours", async (t) => {
    const b = await bed(t);
    const env = { OTHER_TOKEN: otherBot(b), LEGACY_ROOT: b.sandbox.root };
    // With scope `any` the whole machine is meant: the name is this test's own.
    const name = `bot_${b.cookie}`;
    const copy = join(b.project, `${name}.py`);
    copyFileSync(proofFixture('holder.py'), copy);
    copyFileSync(proofFixture('common.py'), join(b.project, 'common.py'));
    const poller = b.spawn(PYTHON, [copy, 'other'], { env: { ...env, SP_NAME: 'theirs' } });
    const quiet = sleeper(t, b, `${name}_2.py`, { env: { TELEGRAM_BOT_TOKEN: env.OTHER_TOKEN } });
    await until(
      'it to poll',
      () => b.sandbox.requests().some(({ userAgent }) => userAgent.includes('/theirs/')),
      {
        ms: LONG_MS,
        seen: poller.seen,
      },
    );
    const those = living([poller.pid, quiet.pid]);
    const run = startWorker(b, '--stray', name, '--stray-scope', 'any');
    await workerWorks(b, run);
    const reset = await b.run(['reset', '--no-start', '--stray', name, '--stray-scope', 'any'], {
      ms: LONG_MS,
    });
    assert.equal(reset.code, 0, reset.stderr);
    assert.deepEqual(harmed(b, those), [], run.seen() + reset.stderr);
  });

  test('a pattern that takes for ever is given up and said; the others count, and start goes on', async (t) => {
    const b = await bed(t);
    const hostile = sleeper(t, b, `${'a'.repeat(60)}!`);
    const legacy = sleeper(t, b, 'production_polling_bot.py');
    const run = startWorker(b, '--stray', '(a+)+$', '--stray', 'production_polling_bot\\.py');
    await workerWorks(b, run);
    await allGone([legacy.pid], 20_000);
    assert.ok(alive(hostile.pid));
    const line = run
      .stderr()
      .split('\n')
      .find(
        (text) =>
          !text.startsWith('[config]') && /--stray.*(given up|gave up|too long|took longer)/.test(text),
      );
    assert.ok(line, run.seen());
  });

  test('--dry-run asks nobody and stops nobody', async (t) => {
    const b = await bed(t);
    const stray = await startHidden(b, 'hidden-dry');
    const before = b.sandbox.polls().length;
    const result = await b.run(['start', '--dry-run', '--', ...node('polite.mjs')], { ms: LONG_MS });
    assert.equal(result.code, 0, result.stderr);
    assert.ok(stray.pids().every(alive), result.stderr);
    assert.equal(b.sandbox.polls().length, before, 'no poke');
    assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
  });
});
