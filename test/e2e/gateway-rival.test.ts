// 409, handled where it arises: a poller elsewhere that goes, one that stays, a webhook that somebody sets. The worker
// (it ends at its first 409) never sees any of it.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Bed, bed, node } from '../support/bed.ts';
import type { Running } from '../support/cli.ts';
import {
  allHandled,
  assertOnePoll,
  gatewayOf,
  handledCounts,
  linesOf,
  messages,
  ourPolls,
  problemOf,
  RIVAL_AFTER,
  troubles,
} from '../support/gateway.ts';
import { assertInOrder, assertNoToken, starts } from '../support/judge.ts';
import { findByEnv } from '../support/proc.ts';
import { startRival } from '../support/rival.ts';
import { staysTrue, until } from '../support/wait.ts';

const WORKER = node('ends-on-409.mjs');
/** A second fight soon after the first says that it is back. */
const BEGINS = /\[gateway\] (another poller|the other poller .*is back)/i;
const GONE = /\[gateway\].*\bgone\b/i;
const STAYS = /^\[(gateway|rival)\].*\brival:/im;
/** An early 409 may be held for 3 s: the time that makes an incumbent (two thirds of this) must be longer. */
const SOON = '9s';

/** A run that has polled undisturbed for so long that it is the incumbent. */
async function incumbent(b: Bed, args: readonly string[] = []): Promise<Running> {
  b.env[RIVAL_AFTER] = SOON;
  const run = await b.polling([...args, '--', ...WORKER]);
  await staysTrue('it polls in peace', 7_500, () => run.ended() === null);
  return run;
}

function assertNothingSeen(b: Bed): void {
  assert.deepEqual(troubles(b), []);
  assert.equal(starts(b.journal()).length, 1, 'one worker all the time');
  assertOnePoll(b);
}

describe('gateway, 409', () => {
  for (const { name, options, ms } of [
    { name: 'that retries after 1 s', options: { pauseMs: 1000 }, ms: 8_000 },
    { name: 'that retries at once', options: { pauseMs: 5 }, ms: 6_000 },
    { name: 'with polls of 1 s, every 4 s', options: { timeout: 1, pauseMs: 3000 }, ms: 10_000 },
  ]) {
    test(`gateway: a rival ${name} for ${ms / 1000} s: one line at its start, one at its end`, async (t) => {
      const b = await bed(t);
      const run = await b.polling(['--', ...WORKER]);
      const rival = startRival(t, b, options);
      const ids = await messages(b, run, 'm', 8, ms / 8);
      const during = await b.status();
      await rival.leave();
      await allHandled(b, ids, run, 30_000);
      await run.waitFor(GONE, 40_000);
      ids.push(b.sandbox.text('peace'));
      await allHandled(b, ids, run);

      assert.deepEqual(
        handledCounts(b, ids),
        ids.map(() => 1),
      );
      assertNothingSeen(b);
      assertInOrder(run.stderr(), [BEGINS, GONE]);
      assert.equal(linesOf(run.stderr(), BEGINS).length, 1, run.stderr());
      assert.equal(linesOf(run.stderr(), GONE).length, 1, run.stderr());
      assert.doesNotMatch(run.stderr(), STAYS);
      assert.equal(during.state, 'polling');
      assert.ok(problemOf(during, 'conflict'), JSON.stringify(during.problems));
      const after = await b.status();
      assert.deepEqual(after.problems, []);
      assert.equal(after.healthy, true);
      const lost = ourPolls(b).filter((poll) => poll.status === 409 && poll.clientGoneAtMs === null).length;
      assert.ok(lost > 0, 'the rival did kick us');
      assert.deepEqual(gatewayOf(after).conflicts, { poller: lost, webhook: 0 });
    });
  }

  test('gateway: a rival that stays: a newcomer stops its worker and ends with 75', async (t) => {
    const b = await bed(t);
    b.env[RIVAL_AFTER] = SOON;
    const rival = startRival(t, b);
    await until('the rival to poll', () => b.sandbox.polls().length > 0);
    const begin = performance.now();
    const run = await b.polling(['--', ...node('polite.mjs')]);
    const exit = await run.exit(30_000);
    assert.equal(exit.code, 75, run.seen());
    assert.ok(performance.now() - begin > 9_000, 'not before its time');
    assert.match(run.stderr(), STAYS);
    assert.match(run.stderr(), /about every|every about|every ~/i);
    assert.deepEqual(troubles(b), []);
    assert.ok(
      b.journal().some((entry) => entry.ev === 'signal' && entry.signal === 'SIGTERM'),
      'the worker was stopped gracefully',
    );
    assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
    assertNoToken(run.stderr() + run.stdout(), b.token);
    // It keeps away: the rival is left alone afterwards.
    const kicked = rival.conflicts;
    await staysTrue('the rival polls in peace', 4_000, () => rival.conflicts - kicked <= 1);
  });

  test('gateway: a rival that stays: an incumbent insists and reports, until the rival is gone', async (t) => {
    const b = await bed(t);
    const run = await incumbent(b);
    const rival = startRival(t, b);
    await run.waitFor(STAYS, 30_000);
    const ids = await messages(b, run, 'm', 5, 1_000);
    const status = await b.run(['status', '--json']);
    assert.equal(status.code, 1, status.stdout);
    const view = JSON.parse(status.stdout);
    assert.equal(view.healthy, false);
    assert.match(problemOf(view, 'rival') ?? '', /poller|rival/i);
    await rival.leave();
    await run.waitFor(GONE, 40_000);
    ids.push(b.sandbox.text('peace'));
    await allHandled(b, ids, run, 30_000);
    assert.deepEqual(
      handledCounts(b, ids),
      ids.map(() => 1),
    );
    const after = await b.status();
    assert.deepEqual([after.healthy, problemOf(after, 'rival')], [true, null]);
    assert.equal(linesOf(run.stderr(), BEGINS).length, 1);
    assertNothingSeen(b);
  });

  test('gateway: --on-rival insist: a newcomer stays', async (t) => {
    const b = await bed(t);
    b.env[RIVAL_AFTER] = SOON;
    startRival(t, b);
    const run = await b.polling(['--on-rival', 'insist', '--', ...WORKER]);
    await run.waitFor(STAYS, 30_000);
    const ids = await messages(b, run, 'm', 4, 1_500);
    await allHandled(b, ids, run, 30_000);
    assertNothingSeen(b);
  });

  test('gateway: --on-rival yield: an incumbent goes with 75', async (t) => {
    const b = await bed(t);
    const run = await incumbent(b, ['--on-rival', 'yield']);
    startRival(t, b);
    assert.equal((await run.exit(30_000)).code, 75, run.seen());
    assert.match(run.stderr(), STAYS);
    assert.doesNotMatch(run.stderr(), /newcomer/i);
    assert.deepEqual(troubles(b), []);
  });

  test('gateway: a webhook set while polling is cleared, the poll goes on, the worker sees no 409', async (t) => {
    const b = await bed(t);
    const run = await b.polling(['--', ...WORKER]);
    const ids: number[] = [];
    for (let round = 0; round < 3; round++) {
      await b.sandbox.setWebhook(`https://thief-${round}.example.com/s3cret-path`);
      ids.push(b.sandbox.text(`while ${round}`));
      await allHandled(b, ids, run, 20_000);
      assert.equal((await b.sandbox.webhookInfo()).url, '');
      await run.waitFor(`thief-${round}.example.com`);
      // The API takes one setWebhook a second.
      await staysTrue('it polls', 1_100, () => run.ended() === null);
    }
    assert.deepEqual(handledCounts(b, ids), [1, 1, 1]);
    assert.doesNotMatch(run.stderr(), /s3cret-path/);
    const { conflicts } = gatewayOf(await b.status());
    assert.ok(conflicts.webhook >= 3, JSON.stringify(conflicts));
    assert.equal(conflicts.poller, 0);
    assertNothingSeen(b);
    for (const request of b.sandbox.requests())
      assert.doesNotMatch(request.params.drop_pending_updates ?? 'false', /^(true|1|yes)$/i);
  });

  test('gateway: a webhook that appears between two polls (409 at once) is cleared as well', async (t) => {
    const b = await bed(t);
    const run = await b.polling(['--', ...node('poll-every.mjs', '1', '1500')]);
    await until('two polls', () => ourPolls(b).length >= 2, { seen: run.seen });
    await until('a pause between two polls', () => ourPolls(b).every((poll) => poll.endedAtMs !== null), {
      everyMs: 1,
    });
    await b.sandbox.setWebhook('https://thief.example.com/');
    const id = b.sandbox.text('m');
    await allHandled(b, [id], run);
    assertNothingSeen(b);
  });

  test('gateway: with --keep-webhook a webhook that appears is left alone: 78, and the worker saw no 409', async (t) => {
    const b = await bed(t);
    const run = await b.polling(['--keep-webhook', '--', ...WORKER]);
    await b.sandbox.setWebhook('https://wanted.example.com/s3cret-path');
    assert.equal((await run.exit(30_000)).code, 78, run.seen());
    assert.match(run.stderr(), /wanted\.example\.com/);
    assert.doesNotMatch(run.stderr(), /s3cret-path/);
    assert.equal((await b.sandbox.webhookInfo()).url, 'https://wanted.example.com/s3cret-path');
    assert.deepEqual(troubles(b), []);
    assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
  });
});
