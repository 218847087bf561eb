// Nothing lost, nothing invented: what was not confirmed comes again, parameters pass untouched, a planned stop confirms;
// and what status and the heartbeat say of it.
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
} from '../support/gateway.ts';
import { puppets } from '../support/puppet.ts';
import { polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

const RESTART = ['--backoff', '10ms,50ms', '--stop-timeout', '1s'];

const delivered = (b: Bed, id: number) => ourPolls(b).some((poll) => poll.delivered.includes(id));
const pending = async (b: Bed) => (await b.sandbox.webhookInfo()).pending_update_count;

describe('gateway, updates', () => {
  test('gateway: a worker killed between the answer of the API and its own reading: the next one gets them', async (t) => {
    const b = await bed(t);
    const run = await b.polling([...RESTART, '--', ...node('polite.mjs')]);
    const ids: number[] = [];
    for (let round = 0; round < 3; round++) {
      const pid = polledBy(b, 'polite.mjs').at(-1) ?? -1;
      await until('its poll to be open', () => ourPolls(b).at(-1)?.endedAtMs === null, { seen: run.seen });
      process.kill(pid, 'SIGSTOP');
      const id = b.sandbox.text(`unread ${round}`);
      ids.push(id);
      await until('the API to answer', () => delivered(b, id), { seen: run.seen });
      process.kill(pid, 'SIGKILL');
      await allHandled(b, ids, run);
    }
    assert.deepEqual(handledCounts(b, ids), [1, 1, 1]);
    assertOnePoll(b);
  });

  test('gateway: a worker killed while its poll is open: what comes just then goes to the next one', async (t) => {
    const b = await bed(t);
    const run = await b.polling([...RESTART, '--max-restarts', '50/1m', '--', ...node('polite.mjs')]);
    const ids: number[] = [];
    for (let round = 0; round < 6; round++) {
      const pid = polledBy(b, 'polite.mjs').at(-1) ?? -1;
      await until('its poll to be open', () => ourPolls(b).at(-1)?.endedAtMs === null, { seen: run.seen });
      if (round % 2 === 0) ids.push(b.sandbox.text(`just before ${round}`));
      process.kill(pid, 'SIGKILL');
      ids.push(b.sandbox.text(`just after ${round}`));
      await allHandled(b, ids, run);
      await until('the next worker', () => polledBy(b, 'polite.mjs').at(-1) !== pid, { seen: run.seen });
    }
    assertOnePoll(b);
  });

  test('gateway: workers that die as soon as they have asked leave no owner behind', async (t) => {
    const b = await bed(t);
    const options = [...RESTART, '--max-restarts', '1000/1m'];
    const run = b.cli(['start', ...options, '--', ...node('dies-polling.mjs', '25')]);
    await until('the worker that stays', () => polledBy(b, 'dies-polling.mjs').length > 0, {
      ms: 40_000,
      seen: run.seen,
    });
    const id = b.sandbox.text('m');
    await allHandled(b, [id], run, 5_000);
    assert.doesNotMatch(run.stderr(), /second poller/i);
    assertOnePoll(b);
  });

  test('gateway: 3 MB of updates in one answer reach the worker whole', async (t) => {
    const b = await bed(t);
    const strings = await puppets(t, b);
    const { puppet } = await strings.start();
    await puppet.call('getUpdates', { timeout: 1 });
    const texts = Array.from({ length: 100 }, (_, index) => `${index} ${'ä€😀'.repeat(3_400)}`);
    for (const text of texts) b.sandbox.text(text);
    const { json } = await puppet.call('getUpdates', { timeout: 5 });
    const got = (json.result as { message: { text: string } }[]).map((update) => update.message.text);
    assert.deepEqual(got, texts);
  });

  test('gateway: offset, limit, allowed_updates reach the API as the worker wrote them, or not at all', async (t) => {
    const b = await bed(t);
    const strings = await puppets(t, b);
    const { puppet } = await strings.start();
    const first = b.sandbox.text('one');
    for (const index of [2, 3, 4]) b.sandbox.text(`${index}`);
    const asked = [
      { timeout: '1' },
      { timeout: '1', offset: '0', limit: '2' },
      { timeout: '1', offset: '-2' },
      { timeout: '1', offset: String(first), limit: '100', allowed_updates: '["message","callback_query"]' },
      { timeout: '1', offset: String(first + 3), limit: '', allowed_updates: '[]' },
      { timeout: '1', offset: `${first + 4}abc` },
      { timeout: '1', offset: '', poller: 'x', unknown: 'ü &=+%' },
    ];
    for (const params of asked) {
      const before = ourPolls(b).length;
      const query = new URLSearchParams(params);
      const answer = await puppet.request({ path: `/bot${b.token}/getUpdates?${query}` });
      assert.equal(answer.status, 200);
      const { timeout: _, ...wanted } = params;
      for (const poll of ourPolls(b).slice(before)) {
        const { timeout: __, ...seen } = poll.params;
        assert.deepEqual(seen, wanted, JSON.stringify(params));
      }
    }
    assert.equal(gatewayOf(await b.status()).offset, first + 4);
    assertOnePoll(b);
  });

  test('gateway: a repeat inside one poll keeps the offset and does not confirm more than was asked', async (t) => {
    const b = await bed(t);
    const strings = await puppets(t, b);
    const { puppet } = await strings.start();
    const ids = [b.sandbox.text('one'), b.sandbox.text('two')];
    // The answer with both is lost on its way to the gateway, twice.
    b.sandbox.raw.fault({ kind: 'gone', method: 'getUpdates', count: 2 });
    const { json } = await puppet.call('getUpdates', { offset: ids[0], timeout: 20 });
    const got = (json.result as { update_id: number }[]).map((update) => update.update_id);
    assert.equal(got[0], ids[0]);
    assert.deepEqual([...new Set(ourPolls(b).map((poll) => poll.offset))], [ids[0]]);
    const rest = await puppet.call('getUpdates', { offset: got.at(-1)! + 1, timeout: 2 });
    got.push(...(rest.json.result as { update_id: number }[]).map((update) => update.update_id));
    assert.deepEqual(got, ids);
  });

  for (const [name, args] of [
    ['3 s after the signal', ['3000']],
    ['beside a long poll that it left open', ['0', 'open']],
  ] as const) {
    test(`gateway: a planned stop: the last getUpdates, ${name}, passes and confirms`, async (t) => {
      const b = await bed(t);
      const id = b.sandbox.text('the last one');
      const run = await b.polling(['--', ...node('confirms.mjs', ...args)]);
      await allHandled(b, [id], run);
      if (args.length === 1) assert.equal(await pending(b), 1);
      const result = await b.run(['stop']);
      assert.equal(result.code, 0, result.stderr);
      assert.equal((await run.exit(10_000)).code, 0, run.seen());
      const end = b.journal().find((entry) => entry.ev === 'end')?.text ?? '';
      assert.match(end, /^200 after \d+ ms$/);
      assert.equal(await pending(b), 0, `${end}\n${run.seen()}`);
      assert.ok(
        b.journal().some((entry) => entry.ev === 'signal'),
        'it was asked to leave',
      );
      assertOnePoll(b);
    });
  }

  test('gateway: the JSON heartbeat counts offset, polls, updates, conflicts', async (t) => {
    const b = await bed(t);
    const run = await b.polling([
      '--heartbeat',
      '1s',
      '--log-format',
      'json',
      '--',
      ...node('poll-every.mjs', '1', '0'),
    ]);
    const ids = await messages(b, run, 'm', 4, 300);
    await allHandled(b, ids, run);
    await b.sandbox.call('getUpdates', { timeout: 1, poller: 'rival.0' }).catch(() => undefined);
    const last = (ids.at(-1) ?? 0) + 1;
    const beats = () => heartbeats(run);
    const beat = await until(
      'a heartbeat with all of it',
      () => beats().find((one) => one.offset === last && one.updates === 4 && hasConflict(one)),
      { ms: 20_000, seen: run.seen },
    );
    assert.equal(beat.level, 'info');
    assert.match(String(beat.message), /^alive offset=\d+/);
    const polls = beats().map((one) => Number(one.polls));
    assert.ok(polls.length >= 2 && polls.every((count, index) => index === 0 || count >= polls[index - 1]!));
    const completed = b.journal().filter((entry) => entry.ev === 'poll').length - 1;
    assert.ok(polls.at(-1)! <= completed + 1 && polls.at(-1)! >= 4, `${polls.at(-1)} of ${completed}`);
  });

  test('gateway: status tells the polls, the offset, the updates, the latency and the poller', async (t) => {
    const b = await bed(t);
    const strings = await puppets(t, b);
    const { puppet } = await strings.start();
    const before = gatewayOf(await b.status());
    assert.deepEqual(
      [
        before.polls,
        before.lastPollAt,
        before.offset,
        before.updates,
        before.refused,
        before.webhookAttempts,
      ],
      [0, null, null, 0, 0, 0],
    );
    assert.deepEqual(before.conflicts, { poller: 0, webhook: 0 });
    for (const index of [1, 2, 3]) b.sandbox.text(`${index}`);
    const first = await puppet.call('getUpdates', { timeout: 1 });
    const ids = (first.json.result as { update_id: number }[]).map((update) => update.update_id);
    await puppet.call('getUpdates', { timeout: 1, offset: ids[2]! + 1 });
    await puppet.call('getUpdates', { timeout: 1, offset: ids[2]! + 1 });
    for (let index = 0; index < 5; index++) await puppet.call('sendMessage', { chat_id: 1, text: 'm' });
    const status = await b.status();
    const after = gatewayOf(status);
    assert.deepEqual([after.polls, after.updates, after.offset], [3, 3, ids[2]! + 1]);
    assert.ok(Math.abs(Date.parse(after.lastPollAt ?? '') - Date.now()) < 10_000, String(after.lastPollAt));
    assert.ok(after.latencyMs !== null && after.latencyMs >= 0 && after.latencyMs < 500);
    assert.deepEqual(after.pollers, [{ pid: puppet.pid, role: 'owner' }]);
    assert.deepEqual([status.state, status.healthy, status.problems], ['polling', true, []]);
  });
});

function hasConflict(beat: Record<string, unknown>): boolean {
  const { conflicts } = beat;
  if (typeof conflicts === 'number') return conflicts > 0;
  return (conflicts as { poller?: number } | undefined)?.poller === 1;
}

/** Heartbeats of a run with `--log-format json`, oldest first. */
function heartbeats(run: Running): Record<string, unknown>[] {
  return linesOf(run.stderr(), /^\{.*"event":"hb"/).map((line) => JSON.parse(line));
}
