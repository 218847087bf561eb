// Signals: the whole tree stops in time, the second one is now, HUP restarts, others are forwarded.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allGone, bed, node } from '../support/bed.ts';
import { assertNeverTwo, starts } from '../support/judge.ts';
import { alive, findByEnv } from '../support/proc.ts';
import { polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`signals: ${signal} stops the whole tree, other sessions included, and ends with 0`, async (t) => {
    const b = await bed(t);
    const run = await b.polling(['--', ...node('setsid-child.mjs')]);
    const line = await until(
      'the children',
      () => b.journal().find((entry) => entry.text?.startsWith('children'))?.text,
    );
    const pids = [...line.split(' ').slice(1).map(Number), starts(b.journal())[0]?.pid ?? -1];
    assert.ok(pids.length === 3 && pids.every(alive));
    run.signal(signal);
    assert.deepEqual(await run.exit(), { code: 0, signal: null }, run.seen());
    for (const pid of pids) assert.equal(alive(pid), false, `${pid} is left`);
    assert.ok(
      b.journal().some((entry) => entry.ev === 'signal' && entry.signal === 'SIGTERM'),
      'gracefully: the worker saw SIGTERM',
    );
    assert.match(run.stdout(), /leaving/, 'its last words came through');
  });
}

test('signals: a worker that ignores SIGTERM is killed after --stop-timeout', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--stop-timeout', '1s', '--', ...node('ignores-term.mjs')]);
  const pid = polledBy(b, 'ignores-term.mjs')[0] ?? -1;
  const begin = performance.now();
  run.signal('SIGTERM');
  assert.equal((await run.exit()).code, 0, run.seen());
  const ms = performance.now() - begin;
  assert.ok(ms > 800 && ms < 6000, `it took ${Math.round(ms)} ms`);
  assert.equal(alive(pid), false);
});

for (const [first, second] of [
  ['SIGTERM', 'SIGTERM'],
  ['SIGINT', 'SIGINT'],
  ['SIGTERM', 'SIGINT'],
] as const) {
  test(`signals: ${first}, then ${second}: now`, async (t) => {
    const b = await bed(t);
    const run = await b.polling(['--stop-timeout', '60s', '--', ...node('ignores-term.mjs')]);
    const pid = polledBy(b, 'ignores-term.mjs')[0] ?? -1;
    run.signal(first);
    await until('the worker to see the first', () => b.journal().some((entry) => entry.ev === 'signal'));
    assert.equal(run.ended(), null);
    const begin = performance.now();
    run.signal(second);
    const exit = await run.exit(5000);
    assert.ok(exit.code === 0 || exit.code === 137, run.seen());
    assert.ok(performance.now() - begin < 3000);
    assert.equal(alive(pid), false);
    assert.deepEqual(findByEnv('SP_TEST_COOKIE', b.cookie), []);
  });
}

test('signals: SIGHUP restarts the worker gracefully, the supervisor stays', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('polite.mjs')]);
  const [old] = polledBy(b, 'polite.mjs');
  run.signal('SIGHUP');
  await until('a new worker', () => polledBy(b, 'polite.mjs').length === 2, { seen: run.seen });
  assert.equal(run.ended(), null);
  assert.ok(b.journal().some((entry) => entry.pid === old && entry.signal === 'SIGTERM'));
  assertNeverTwo(b);
});

test('signals: SIGHUP during SIGHUP, ten times, still one worker', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('polite.mjs')]);
  for (let round = 0; round < 10; round++) run.signal('SIGHUP');
  await until('a new worker', () => polledBy(b, 'polite.mjs').length >= 2, { seen: run.seen });
  const last = () => polledBy(b, 'polite.mjs').at(-1) ?? -1;
  const id = b.sandbox.text('after');
  await until('the update', () => b.journal().some((entry) => entry.id === id), { seen: run.seen });
  assert.ok(alive(last()));
  assertNeverTwo(b);
  assert.equal(run.ended(), null, run.seen());
});

test('signals: QUIT, USR1 and USR2 reach the worker and nothing else happens', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('polite.mjs')]);
  for (const signal of ['SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const) {
    run.signal(signal);
    await until(`${signal} at the worker`, () => b.journal().some((entry) => entry.signal === signal), {
      seen: run.seen,
    });
  }
  assert.equal(run.ended(), null);
  assert.equal(polledBy(b, 'polite.mjs').length, 1);
  assert.doesNotMatch(run.stderr(), /debugger/i, 'SIGUSR1 opens no debugger of Node');
});

test('signals: SIGTERM at once after the start, at twelve moments: always an end, never an orphan', async (t) => {
  const b = await bed(t);
  for (let round = 0; round < 12; round++) {
    const run = b.cli(['start', '--', ...node('polite.mjs')]);
    // Moments spread over the start-up: Node loads, getMe, lock, strays, webhook, spawn.
    await new Promise((resolve) => setTimeout(resolve, 30 + round * 40));
    run.signal('SIGTERM');
    const exit = await run.exit();
    // Before its handlers are installed the signal itself ends it.
    assert.ok(exit.code === 0 || exit.signal === 'SIGTERM', run.seen());
    await allGone(findByEnv('SP_TEST_COOKIE', b.cookie), 3000);
  }
  assertNeverTwo(b);
});

test('signals: SIGTERM during the backoff ends at once', async (t) => {
  const b = await bed(t);
  const run = b.cli(['start', '--backoff', '30s,60s', '--', ...node('exits.mjs', '1')]);
  await until('the worker to have ended', () => starts(b.journal()).length >= 1, { seen: run.seen });
  await until('the announcement of the wait', () => /starting it again in /.test(run.stderr()), {
    seen: run.seen,
  });
  run.signal('SIGTERM');
  assert.equal((await run.exit(4000)).code, 0, run.seen());
});
