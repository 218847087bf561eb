// An engine that stands still, dies, or was never there: polling goes on as long as it is safe, then nobody polls, and all comes back.
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { describe, test } from 'node:test';
import { node, PYTHON, worker } from '../support/bed.ts';
import type { Running } from '../support/cli.ts';
import { type Engine, type EngineName, openEngine } from '../support/engines.ts';
import { assertNeverTwo, handled } from '../support/judge.ts';
import {
  FAST_STOP_MS,
  FAST_TTL_MS,
  goneAt,
  type LeaseBed,
  leaseBed,
  leaseEngine,
  leaseOf,
  type Rec,
  stateIs,
  workerNumber,
  workersOf,
} from '../support/lease-bed.ts';
import { alive } from '../support/proc.ts';
import { staysTrue, until } from '../support/wait.ts';

/** An engine of the test's own: it is going to suffer. */
async function ownEngine(t: TestContext, name: EngineName = 'redis'): Promise<LeaseBed> {
  const engine = await leaseEngine(name);
  t.after(() => engine.close());
  return await leaseBed(t, engine);
}

/** Right after a renewal, so that the deadlines can be told; gives performance.now() from before it. */
async function justRenewed(b: LeaseBed): Promise<number> {
  const first = (await b.record())?.seq;
  let before = performance.now();
  await until(
    'a renewal',
    async () => {
      const at = performance.now();
      const renewed = (await b.record())?.seq !== first;
      if (!renewed) before = at;
      return renewed;
    },
    { ms: 5_000, everyMs: 5 },
  );
  return before;
}

/** Of the polls that the API has seen: none began after the moment (Date.now() of the stand-in's clock). */
function noPollAfter(b: LeaseBed, at: number): void {
  const late = b.sandbox.polls().filter((poll) => poll.at > at);
  assert.deepEqual(
    late,
    [],
    `polls after the stop point, at ${late.map((poll) => Math.round(poll.at - at))} ms`,
  );
}

describe('lease, an engine in trouble', () => {
  // The longest first.
  test('outage: --no-wait and an engine that stays out of reach: 69 after the half minute that it announced', async (t) => {
    const engine = await openEngine('redis', { idle: true });
    t.after(() => engine.close());
    const b = await leaseBed(t, engine);
    const run = b.cli(['start', ...b.fast, '--no-wait', '--', ...node('polite.mjs')]);
    await run.waitFor(/out of reach.*trying for 30 s/i);
    const begin = performance.now();
    const { code } = await run.exit(40_000);
    assert.equal(code, 69, run.seen());
    assert.ok(performance.now() - begin > 28_000, `${performance.now() - begin} ms`);
    assert.ok(run.stderr().includes('out of reach'));
    assert.equal(workersOf(b).length, 0);
  });

  for (const name of ['redis', 'etcd'] as const)
    test(`outage: ${name} stands still for 2.5 s: nothing happens`, async (t) => {
      const b = await ownEngine(t, name);
      const run = await b.holding([], node('poll-every.mjs', '0', '100'));
      const rec = await b.record();
      const [only] = workersOf(b, 'poll-every.mjs');
      await justRenewed(b);
      await b.engine.pause();
      const id = b.sandbox.text('meanwhile');
      await staysTrue('the worker lives', 2_500, () => alive(only?.pid ?? -1));
      assert.ok(handled(b.journal()).has(id), 'and polls');
      b.engine.resume();
      await until('a renewal', async () => ((await b.record())?.seq ?? 0) > (rec?.seq ?? 0) + 3, {
        ms: 8_000,
        everyMs: 50,
      });
      assert.equal((await b.record())?.epoch, rec?.epoch);
      assert.equal(alive(only?.pid ?? -1), true);
      await until('healthy again', async () => (await b.status()).healthy, { everyMs: 100, seen: run.seen });
      assert.equal(workersOf(b, 'poll-every.mjs').length, 1);
    });

  for (const name of ['redis', 'postgres', 'etcd'] as const)
    test(`outage: ${name} stands still beyond the stop point: door shut, worker gone before the ttl, back again`, async (t) => {
      const b = await ownEngine(t, name);
      const run = await b.holding([], node('poll-every.mjs', '0', '50'));
      const [first] = workersOf(b, 'poll-every.mjs');
      const renewed = await justRenewed(b);
      await b.engine.pause();
      const wall = Date.now() - performance.now();
      const problem = await until(
        'the problem',
        async () => {
          const status = await b.status();
          return status.state === 'polling'
            ? status.problems.find(({ code }) => code === 'lease-unreachable')
            : null;
        },
        { ms: 3_500, everyMs: 50, seen: run.seen },
      );
      assert.match(problem.message, /\d/, 'with the time that is left');
      const gone = await goneAt(first?.pid ?? -1, 'the worker', run);
      assert.ok(gone - renewed < FAST_TTL_MS, `gone ${Math.round(gone - renewed)} ms after the last renewal`);
      assert.ok(gone - renewed > 2_000, `polling went on: gone after ${Math.round(gone - renewed)} ms`);
      const status = await stateIs(b, 'standby', run);
      assert.equal(status.healthy, false);
      assert.ok(status.problems.some(({ code }) => code === 'lease-unreachable'));
      assert.equal(leaseOf(status).mine, false);
      assert.equal((await b.run(['status'])).code, 1);
      // One more renewal may have been on its way; from the stop point on nothing passes.
      noPollAfter(b, renewed + wall + FAST_STOP_MS + 150 + 1_000);
      await staysTrue(
        'it lives, and nobody polls',
        FAST_TTL_MS,
        () => run.ended() === null && workersOf(b, 'poll-every.mjs').length === 1,
      );
      b.engine.resume();
      const back = performance.now();
      await workerNumber(b, 2, run, 15_000, 'poll-every.mjs');
      assert.ok(performance.now() - back < FAST_TTL_MS + 4_000);
      await until('healthy', async () => (await b.status()).healthy, { everyMs: 100, seen: run.seen });
      await run.waitFor(/answers again/i);
      assertNeverTwo(b);
    });

  test('outage: the shut door answers the worker empty, and nothing reaches the API', async (t) => {
    const b = await ownEngine(t);
    // It ignores SIGTERM, so it is alive and polls on while the door is shut.
    const run = await b.holding([], node('ignores-term.mjs'));
    const [first] = workersOf(b, 'ignores-term.mjs');
    const renewed = await justRenewed(b);
    const pollsOf = () => b.journal().filter(({ ev, pid }) => ev === 'poll' && pid === first?.pid).length;
    const polls = pollsOf();
    await b.engine.pause();
    await run.waitFor(/\[lease\] lost/i);
    const shut = Date.now();
    await until('its open poll to be answered', () => pollsOf() > polls, { ms: 1_000, seen: run.seen });
    const text = b.sandbox.text('while nobody may poll');
    const gone = await goneAt(first?.pid ?? -1, 'the worker', run);
    assert.ok(gone - renewed < FAST_TTL_MS, `gone ${Math.round(gone - renewed)} ms after the last renewal`);
    noPollAfter(b, shut + 20);
    const seen = b.journal().filter((entry) => entry.pid === first?.pid && entry.at > shut);
    assert.ok(!seen.some((entry) => entry.ev === 'conflict' || entry.ev === 'update'), JSON.stringify(seen));
    b.engine.resume();
    await until(
      'the update to be handled by the next',
      () => b.journal().some((entry) => entry.id === text),
      {
        ms: 15_000,
        seen: run.seen,
      },
    );
    assertNeverTwo(b);
  });

  test('outage: another machine takes over meanwhile: never two', async (t) => {
    const b = await ownEngine(t);
    const run = await b.holding();
    const [first] = workersOf(b);
    await justRenewed(b);
    const epoch = ((await b.record())?.epoch ?? 0) + 1;
    await b.engine.pause();
    await goneAt(first?.pid ?? -1, 'the worker', run);
    // Written before the engine goes on: to a record that is still its own it would come back.
    const taking = b.another({ epoch });
    b.engine.resume();
    const other = await taking;
    other.live();
    await until('it to name the other one', async () => leaseOf(await b.status()).holder === other.shown, {
      everyMs: 100,
      seen: run.seen,
    });
    await staysTrue('it stands by', 2_000, () => workersOf(b).length === 1);
    await other.free();
    await workerNumber(b, 2, run);
  });

  test('outage: an engine that dies and comes back with what it knew, within the margin: nothing happens', async (t) => {
    const b = await ownEngine(t);
    const run = await b.holding();
    const rec = await b.record();
    await justRenewed(b);
    await b.engine.kill();
    await b.engine.start();
    await until('a renewal', async () => ((await b.record())?.seq ?? 0) > (rec?.seq ?? 0) + 2, {
      ms: 8_000,
      everyMs: 50,
      seen: run.seen,
    });
    await assertUndisturbed(b, rec);
  });

  test('outage: an engine that dies and comes back empty, within the margin: written again, nothing happens', async (t) => {
    const b = await ownEngine(t, 'kubernetes');
    const run = await b.holding();
    const rec = await b.record();
    await justRenewed(b);
    await b.engine.kill();
    await b.engine.start();
    await until('the record to be back', async () => (await b.record())?.holder === rec?.holder, {
      ms: 6_000,
      everyMs: 50,
      seen: run.seen,
    });
    await assertUndisturbed(b, rec);
  });

  for (const name of ['redis', 'postgres', 'etcd', 'kubernetes'] as const)
    test(`outage: ${name} is not there at the start: stands by, says so, takes over when it comes`, async (t) => {
      const engine: Engine = await openEngine(name, { idle: true });
      t.after(() => engine.close());
      const b = await leaseBed(t, engine);
      const stray = b.spawn(PYTHON, [worker('poller.py')], {
        env: { LEGACY_TOKEN: b.token, LEGACY_ROOT: b.sandbox.root },
      });
      await until('the stray to poll', () => b.sandbox.polls().length > 0);
      const run: Running = b.cli(['start', ...b.fast, '--', ...node('polite.mjs')]);
      await run.waitFor(/out of reach/i);
      const status = await stateIs(b, 'standby', run);
      assert.equal(status.healthy, false);
      const [problem] = status.problems.filter(({ code }) => code === 'lease-unreachable');
      assert.ok(problem?.message.includes(name), problem?.message);
      assert.deepEqual([leaseOf(status).mine, leaseOf(status).holder], [false, null]);
      assert.equal((await b.run(['status'])).code, 1);
      await staysTrue(
        'it stands by, nothing is touched',
        1_000,
        () => run.ended() === null && alive(stray.pid),
      );
      await engine.start();
      await workerNumber(b, 1, run, 20_000);
      assert.equal(alive(stray.pid), false);
      await until('healthy', async () => (await b.status()).healthy, { everyMs: 100, seen: run.seen });
    });

  test('outage: a standby stops at once though the engine stands still', async (t) => {
    const b = await ownEngine(t);
    await b.another();
    const run = await b.standby();
    await b.engine.pause();
    await run.waitFor(/out of reach/i);
    const begin = performance.now();
    run.signal('SIGTERM');
    assert.equal((await run.exit()).code, 0, run.seen());
    assert.ok(performance.now() - begin < 4_000, `${performance.now() - begin} ms`);
  });

  test('outage: a holder stops in time though the engine stands still, its worker gracefully', async (t) => {
    const b = await ownEngine(t);
    const run = await b.holding();
    const [only] = workersOf(b);
    await b.engine.pause();
    const begin = performance.now();
    run.signal('SIGTERM');
    assert.equal((await run.exit()).code, 0, run.seen());
    assert.ok(performance.now() - begin < 5_000, `${performance.now() - begin} ms`);
    assert.equal(alive(only?.pid ?? -1), false);
    assert.ok(b.journal().some((entry) => entry.ev === 'signal' && entry.pid === only?.pid));
  });

  test('outage: a standby whose engine stood still for a while waits a whole ttl of what it then sees', async (t) => {
    const b = await ownEngine(t);
    const other = await b.another();
    const run = await b.standby();
    await b.engine.pause();
    await staysTrue('nobody polls', 4_000, () => workersOf(b).length === 0);
    b.engine.resume();
    const last = await other.renew();
    await workerNumber(b, 1, run);
    assert.ok(performance.now() - last >= FAST_TTL_MS, `${performance.now() - last} ms`);
  });

  test('outage: without a supervisor, who and status say that the engine is out of reach, within seconds', async (t) => {
    const b = await ownEngine(t);
    await b.another();
    const env = { ...b.env, SINGLEPOLL_LEASE: b.url };
    await b.engine.pause();
    for (const args of [['status'], ['status', '--json'], ['who'], ['who', '--json']]) {
      const answer = await b.run(args, { env, ms: 15_000 });
      assert.match(answer.stdout, /redis/, args.join(' '));
      assert.match(answer.stdout, /out of reach|unreachable/i, args.join(' '));
      assert.ok(answer.ms < 8_000, `${args.join(' ')} took ${Math.round(answer.ms)} ms`);
      assert.equal(answer.code, args[0] === 'status' ? 3 : 0, answer.stderr);
    }
    b.engine.resume();
    await b.engine.kill();
    for (const args of [['status', '--json'], ['who']]) {
      const answer = await b.run(args, { env, ms: 15_000 });
      assert.match(answer.stdout, /out of reach|unreachable/i, args.join(' '));
      assert.ok(answer.ms < 6_000, `${args.join(' ')} took ${Math.round(answer.ms)} ms`);
    }
  });
});

/** One worker, and still the term of `rec`. */
async function assertUndisturbed(b: LeaseBed, rec: Rec | null): Promise<void> {
  await staysTrue('one worker', 1_000, () => workersOf(b).length === 1 && alive(workersOf(b)[0]?.pid ?? -1));
  assert.equal((await b.record())?.epoch, rec?.epoch);
}
