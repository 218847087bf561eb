// An engine that stands still, dies, or was never there: polling goes on as long as it is safe, then nobody polls, and all comes back.
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { node } from '../support/bed.ts';
import { type EngineName, openEngine } from '../support/engines.ts';
import { assertNeverTwo } from '../support/judge.ts';
import {
  clockOf,
  FAST_STOP_MS,
  FAST_TTL_MS,
  justRenewed,
  type LeaseBed,
  leaseBed,
  leaseEngine,
  leaseOf,
  stateIs,
  workerGone,
  workerNumber,
  workersOf,
} from '../support/lease-bed.ts';
import { alive } from '../support/proc.ts';
import { pollingStray } from '../support/strays.ts';
import { until } from '../support/wait.ts';

/** An engine of the test's own: it is going to suffer. */
async function ownEngine(t: TestContext, name: EngineName = 'redis'): Promise<LeaseBed> {
  const engine = await leaseEngine(name);
  t.after(() => engine.close());
  return await leaseBed(t, engine);
}

/** Of the polls that the API has seen: none began after the moment (Date.now() of the stand-in's clock). */
function noPollAfter(b: LeaseBed, at: number): void {
  const late = b.sandbox.polls().filter((poll) => poll.at > at);
  assert.deepEqual(late, [], `${late.map((poll) => Math.round(poll.at - at))} ms after the stop point`);
}

const unreachableIn = ({ problems }: { problems: readonly { code: string; message: string }[] }) =>
  problems.find(({ code }) => code === 'lease-unreachable');

describe('lease, an engine in trouble', () => {
  // [engine, what befalls it]: in time for the next renewals.
  for (const [name, what] of [
    ['redis', 'stands still'],
    ['kubernetes', 'dies and comes back empty'],
  ] as const)
    test(`outage: ${name} ${what}, within the margin: nothing happens`, async (t) => {
      const b = await ownEngine(t, name);
      // A margin that a busy machine keeps too.
      const run = await b.holding(['--lease-ttl', '20s'], node('poll-every.mjs', '0', '100'));
      const rec = await b.record();
      await justRenewed(b);
      if (what === 'stands still') {
        await b.engine.pause();
        const polls = b.sandbox.polls().length;
        await until('polls to pass meanwhile', () => b.sandbox.polls().length > polls);
        b.engine.resume();
      } else {
        await b.engine.kill();
        await b.engine.start();
      }
      await until('renewals', async () => ((await b.record())?.seq ?? 0) > (rec?.seq ?? 0) + 2, run);
      assert.equal((await b.record())?.epoch, rec?.epoch);
      await until('healthy again', async () => (await b.status()).healthy, run);
      const workers = workersOf(b, 'poll-every.mjs');
      assert.deepEqual([workers.length, alive(workers[0]?.pid ?? -1)], [1, true]);
    });

  test('outage: beyond the stop point: door shut, worker gone before the ttl, back again', async (t) => {
    const b = await ownEngine(t);
    const run = await b.holding([], node('poll-every.mjs', '0', '50'));
    const [first] = workersOf(b, 'poll-every.mjs');
    const renewed = await justRenewed(b);
    await b.engine.pause();
    const pausedAt = clockOf(run);
    const problem = await until('the problem', async () => unreachableIn(await b.status()), run);
    assert.match(problem.message, /\d/, 'with the time that is left');
    const gone = await workerGone(first?.pid, run);
    assert.ok(gone < pausedAt + FAST_TTL_MS, `gone ${Math.round(gone - pausedAt)} ms after the last renewal`);
    assert.ok(performance.now() - renewed > 2_000, 'polling went on at first');
    const status = await stateIs(b, 'standby', run);
    assert.deepEqual([status.healthy, leaseOf(status).mine], [false, false]);
    assert.ok(unreachableIn(status));
    assert.equal((await b.run(['status'])).code, 1);
    noPollAfter(b, pausedAt + FAST_STOP_MS + 150 + Date.now() - clockOf(run));
    b.engine.resume();
    await workerNumber(b, 2, run, 'poll-every.mjs');
    await until('healthy', async () => (await b.status()).healthy, run);
    await run.waitFor(/answers again/i);
    assertNeverTwo(b);
  });

  test('outage: no engine at the start: stands by, says so, takes over when it comes', async (t) => {
    const engine = await openEngine('redis', { idle: true });
    t.after(() => engine.close());
    const b = await leaseBed(t, engine);
    const stray = await pollingStray(b, 'poller.py');
    const run = b.cli(['start', ...b.fast, '--', ...node('polite.mjs')]);
    await run.waitFor(/out of reach/i);
    const status = await stateIs(b, 'standby', run);
    assert.ok(unreachableIn(status)?.message.includes('redis'));
    assert.deepEqual([status.healthy, leaseOf(status).mine, leaseOf(status).holder], [false, false, null]);
    assert.deepEqual([alive(stray.pid), run.ended()], [true, null], 'nothing is touched');
    await engine.start();
    await workerNumber(b, 1, run);
    await until('the stray to be gone', () => !alive(stray.pid), run);
  });

  test('outage: standby and holder end though the engine stands still, the worker gracefully', async (t) => {
    const b = await ownEngine(t);
    const holder = await b.holding();
    const [only] = workersOf(b);
    await b.engine.pause();
    await holder.stop();
    assert.equal(alive(only?.pid ?? -1), false);
    assert.ok(b.journal().some((entry) => entry.ev === 'signal' && entry.pid === only?.pid));
    const standby = b.cli(['start', ...b.fast, '--', ...node('polite.mjs')]);
    await standby.waitFor(/out of reach/i);
    await standby.stop();
    // Without a supervisor, who and status say it too.
    const env = { ...b.env, SINGLEPOLL_LEASE: b.url };
    for (const args of [['status'], ['status', '--json'], ['who'], ['who', '--json']]) {
      const answer = await b.run(args, { env });
      assert.match(answer.stdout, /redis/, args.join(' '));
      assert.match(answer.stdout, /out of reach|unreachable/i, args.join(' '));
      assert.equal(answer.code, args[0] === 'status' ? 3 : 0, answer.stderr);
    }
    b.engine.resume();
  });
});
