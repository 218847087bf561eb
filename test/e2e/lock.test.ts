// One supervisor per bot per machine: races, who holds it, standing by, taking over, whatever HOME or folder.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bed, node } from '../support/bed.ts';
import { assertNeverTwo, starts } from '../support/judge.ts';
import { alive } from '../support/proc.ts';
import { polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

test('lock: two dozen starters race, exactly one wins, the others yield with 75 and say to whom', async (t) => {
  const b = await bed(t);
  const runs = Array.from({ length: 24 }, () => b.cli(['start', '--', ...node('polite.mjs')]));
  await until('23 losers', () => runs.filter((run) => run.ended()).length === 23, {
    ms: 60_000,
    seen: () => runs.map((run) => run.seen()).join('\n'),
  });
  const winner = runs.find((run) => !run.ended());
  assert.ok(winner);
  for (const run of runs) {
    if (run === winner) continue;
    assert.equal(run.ended()?.code, 75, run.seen());
    assert.match(run.stderr(), new RegExp(`\\b${winner.pid}\\b`), 'the holder');
    assert.ok(run.stderr().includes(b.project), `its folder:\n${run.stderr()}`);
    assert.match(run.stderr(), /--takeover|--wait|singlepoll stop/, 'commands that would change it');
  }
  await until('the winner to poll', () => polledBy(b, 'polite.mjs').length > 0, { seen: winner.seen });
  assert.equal(starts(b.journal()).length, 1, 'one worker ever');
});

test('lock: the same for other HOMEs, folders, state folders and an empty environment', async (t) => {
  const b = await bed(t);
  const holder = await b.polling(['--', ...node('polite.mjs')]);
  const other = join(b.dir, 'elsewhere');
  mkdirSync(other, { mode: 0o700 });
  const bare = {
    PATH: b.env.PATH ?? '',
    TELEGRAM_BOT_TOKEN: b.token,
    TELEGRAM_API_ROOT: b.sandbox.root,
    SP_TEST_COOKIE: b.cookie,
  };
  const tries: [string, { env?: Record<string, string>; cwd?: string }][] = [
    ['HOME', { env: { ...b.env, HOME: other } }],
    ['cwd', { cwd: other }],
    ['SINGLEPOLL_DIR', { env: { ...b.env, SINGLEPOLL_DIR: other } }],
    ['cron', { env: bare, cwd: '/' }],
    ['XDG', { env: { ...b.env, XDG_RUNTIME_DIR: other, XDG_STATE_HOME: other, TMPDIR: other } }],
  ];
  for (const [what, options] of tries) {
    const result = await b.run(['start', '--', ...node('polite.mjs')], options);
    assert.equal(result.code, 75, `${what}: ${result.stderr}`);
    assert.match(result.stderr, new RegExp(`\\b${holder.pid}\\b`), `${what} names the holder`);
  }
  assert.equal(starts(b.journal()).length, 1);
  assert.equal(holder.ended(), null);
});

test('lock: two different bots do not disturb each other', async (t) => {
  const one = await bed(t);
  const two = await bed(t);
  const first = await one.polling(['--', ...node('polite.mjs')]);
  const second = await two.polling(['--', ...node('polite.mjs')], {
    env: { ...two.env, SINGLEPOLL_DIR: one.stateDir },
  });
  await staysTrue('both run', 500, () => !first.ended() && !second.ended());
});

test('lock: --wait stands by, and takes it within 100 ms of its release', async (t) => {
  const b = await bed(t);
  let holder = await b.polling(['--', ...node('polite.mjs')]);
  const gaps: number[] = [];
  for (let round = 0; round < 5; round++) {
    const waiter = b.cli(['start', '--wait', '--', ...node('polite.mjs')]);
    await until('the waiter to say that it waits', () => waiter.stderr().includes(String(holder?.pid)), {
      seen: waiter.seen,
    });
    await staysTrue('it waits', 200, () => !waiter.ended());
    const said = waiter.stderr().length;
    holder.signal('SIGKILL');
    const released = performance.now();
    await until('the waiter to go on', () => waiter.stderr().length > said, {
      everyMs: 1,
      seen: waiter.seen,
    });
    gaps.push(performance.now() - released);
    const polls = b.sandbox.polls().length;
    await until('its worker to poll', () => b.sandbox.polls().length > polls, { seen: waiter.seen });
    holder = waiter;
  }
  assert.ok(Math.min(...gaps) <= 100, `took it after ${gaps.map(Math.round)} ms`);
  assert.ok(Math.max(...gaps) <= 1000, `took it after ${gaps.map(Math.round)} ms`);
  assertNeverTwo(b);
});

test('lock: of three that wait exactly one takes it, and SIGTERM ends a waiter with 0', async (t) => {
  const b = await bed(t);
  const holder = await b.polling(['--', ...node('polite.mjs')]);
  const waiters = Array.from({ length: 3 }, () => b.cli(['start', '--wait', '--', ...node('polite.mjs')]));
  for (const waiter of waiters) await waiter.waitFor(String(holder.pid));
  holder.signal('SIGTERM');
  assert.equal((await holder.exit()).code, 0);
  await until('one of them to start its worker', () => starts(b.journal()).length === 2);
  await staysTrue('only one worker', 1000, () => starts(b.journal()).length === 2);
  for (const waiter of waiters) assert.equal(waiter.ended(), null);
  for (const waiter of waiters) waiter.signal('SIGTERM');
  for (const waiter of waiters) assert.equal((await waiter.exit()).code, 0, waiter.seen());
  assertNeverTwo(b);
});

test('lock: --takeover asks the holder to leave gracefully, then takes its place', async (t) => {
  const b = await bed(t);
  const holder = await b.polling(['--', ...node('polite.mjs')]);
  const old = starts(b.journal())[0]?.pid ?? -1;
  const polls = b.sandbox.polls().length;
  const next = b.cli(['start', '--takeover', '--', ...node('polite.mjs')]);
  await until(
    'the new worker to poll',
    () =>
      b.sandbox
        .polls()
        .slice(polls)
        .some((poll) => poll.pid !== old),
    {
      seen: next.seen,
    },
  );
  assert.equal((await holder.exit()).code, 0, holder.seen());
  assert.equal(alive(old), false);
  assert.ok(
    b.journal().some((entry) => entry.ev === 'signal' && entry.pid === old),
    'the old worker was asked, not killed',
  );
  assertNeverTwo(b);
});

test('lock: --takeover with nobody there is a plain start', async (t) => {
  const b = await bed(t);
  await b.polling(['--takeover', '--', ...node('polite.mjs')]);
});
