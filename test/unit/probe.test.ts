/** The active probe against the rules of getUpdates, on a virtual clock: what it finds, and what it must never claim. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createArgs } from '../../src/gateway/params.ts';
import { hintOfRetry } from '../../src/gateway/rivals.ts';
import { tooManyRequests } from '../../src/sandbox/bot.ts';
import { startProbe, stepProbe, type Verdict } from '../../src/telegram/probe-table.ts';
import { NOW_S, type Outcome, probeWorld } from '../support/probe-world.ts';

const near = (actual: number | null, expected: number, within = 120) =>
  assert.ok(actual !== null && Math.abs(actual - expected) <= within, `${actual} is not about ${expected}`);

const polls = ({ actions }: Outcome) => actions.filter(({ action }) => action.kind === 'poll');

function assertResult(verdict: Verdict, result: Verdict['result'], reason: Verdict['reason'] = null) {
  assert.deepEqual([verdict.result, verdict.reason], [result, reason], JSON.stringify(verdict));
}

describe('rhythm', () => {
  for (const [retryMs, askedMs, rhythmMs] of [
    [0, 10_000, 3_000],
    [250, 10_000, 3_250],
    [1_000, 10_000, 4_000],
    [1_900, 10_000, 4_900],
    [2_000, 20_000, 5_000],
    [5_000, 40_000, 8_000],
    [10_000, 40_000, 13_000],
  ] as const) {
    test(`a rival that polls again ${retryMs} ms after a conflict, probed for ${askedMs} ms`, () => {
      const world = probeWorld();
      world.rival({ retryMs });
      const { verdict, atMs } = world.probe(askedMs);
      assertResult(verdict, 'rival');
      near(verdict.afterMs, retryMs < 3_000 ? retryMs + 3_000 : retryMs);
      near(verdict.rhythmMs, rhythmMs);
      near(verdict.retryMs, retryMs);
      assert.ok(atMs <= askedMs + 3_100, `it took ${atMs} ms`);
    });
  }

  test('a rival that is seen once in the time has no rhythm', () => {
    const world = probeWorld();
    world.rival({ retryMs: 5_000 });
    const { verdict, atMs } = world.probe(10_000);
    assertResult(verdict, 'rival');
    near(verdict.afterMs, 5_000);
    assert.deepEqual([verdict.rhythmMs, verdict.retryMs, verdict.conflicts], [null, null, 1]);
    assert.ok(atMs <= 13_100);
  });

  test('after the third conflict it is known well enough: the rival is left alone', () => {
    const world = probeWorld();
    const rival = world.rival({ retryMs: 250 });
    const { verdict, atMs } = world.probe(300_000);
    assert.equal(verdict.conflicts, 3);
    near(atMs, 3 * 3_250);
    assert.ok(rival.conflicts <= 4);
  });

  test('with too little time left to see it come back, a rival is left alone', () => {
    const world = probeWorld();
    const rival = world.rival({ retryMs: 250 });
    const { verdict, atMs } = world.probe(6_000);
    assertResult(verdict, 'rival');
    near(atMs, 3_250);
    assert.equal(rival.conflicts, 1);
  });

  test('delays that grow give the mean', () => {
    const world = probeWorld();
    world.rival({ retryMs: [1_000, 1_500, 2_250, 3_375] });
    const { verdict } = world.probe(40_000);
    near(verdict.rhythmMs, (4_500 + 5_250) / 2);
  });

  test('several rivals are faster than one can be: no delay is made up', () => {
    const world = probeWorld();
    world.rival({ retryMs: 700 });
    world.rival({ retryMs: 900, atMs: 300 });
    world.rival({ retryMs: 1_100, atMs: 600 });
    const { verdict } = world.probe(40_000);
    assertResult(verdict, 'rival');
    if (verdict.rhythmMs !== null && verdict.rhythmMs < 2_800) assert.equal(verdict.retryMs, null);
  });

  test('a rival that polls again only after it handled an update is seen, too', () => {
    const world = probeWorld();
    world.rival({ retryMs: 1_000, handleMs: 4_000 });
    world.text();
    const { verdict } = world.probe(20_000);
    assertResult(verdict, 'rival');
  });

  test('one that begins in the midst is seen; its 409 may come 3 s after the end', () => {
    for (const atMs of [4_000, 9_900]) {
      const world = probeWorld();
      world.rival({ retryMs: 1_000, atMs });
      const outcome = world.probe(10_000);
      assertResult(outcome.verdict, 'rival');
      assert.ok(outcome.atMs <= 13_100, `it took ${outcome.atMs} ms`);
    }
  });

  test('a rival that came twice and ended', () => {
    const world = probeWorld();
    const rival = world.rival({ retryMs: 1_000, endsAfter: 2 });
    const { verdict } = world.probe(20_000);
    assertResult(verdict, 'rival');
    assert.equal(verdict.conflicts, 1);
    assert.equal(rival.ended, true);
  });
});

describe('nobody', () => {
  test('none seen, after the whole time, with one poll and nothing else', () => {
    const outcome = probeWorld().probe(10_000);
    assertResult(outcome.verdict, 'none');
    near(outcome.verdict.quietMs, 10_000);
    near(outcome.atMs, 10_000);
    assert.deepEqual(
      outcome.actions.map(({ action }) => action.kind),
      ['look', 'poll', 'end'],
    );
    assert.deepEqual(polls(outcome)[0]?.action, { kind: 'poll', afterMs: 0, timeoutS: 10 });
  });

  test('a rival that ends at its 409 is not seen', () => {
    const world = probeWorld();
    const rival = world.rival();
    assertResult(world.probe(10_000).verdict, 'none');
    assert.equal(rival.ended, true);
  });

  test('more than 50 s are several polls, one after the other, and one quiet time', () => {
    const outcome = probeWorld().probe(120_000);
    assertResult(outcome.verdict, 'none');
    assert.deepEqual(
      polls(outcome).map(({ action }) => action.kind === 'poll' && action.timeoutS),
      [50, 50, 20],
    );
    near(outcome.verdict.quietMs, 120_000);
    near(outcome.atMs, 120_000);
  });

  test('a rival with a long back-off is met by the second of several polls', () => {
    const world = probeWorld();
    world.rival({ retryMs: 55_000 });
    const { verdict } = world.probe(100_000);
    assertResult(verdict, 'rival');
    near(verdict.afterMs, 55_000);
  });

  test('the shortest probe', () => {
    const outcome = probeWorld().probe(1_000);
    assertResult(outcome.verdict, 'none');
    assert.deepEqual(polls(outcome)[0]?.action, { kind: 'poll', afterMs: 0, timeoutS: 1 });
  });
});

describe('updates that wait', () => {
  test('nobody fetches them: cannot tell; nothing is confirmed', () => {
    const world = probeWorld();
    for (let index = 0; index < 3; index++) world.text();
    const outcome = world.probe(10_000);
    assertResult(outcome.verdict, 'cannot-tell', 'updates');
    assert.equal(world.bot.state().pendingUpdates, 3);
    assert.ok(polls(outcome).length <= 11, `${polls(outcome).length} polls`);
    assert.ok(outcome.atMs > 8_500 && outcome.atMs <= 10_000);
  });

  test('somebody fetches them: a rival, though no conflict was seen', () => {
    const world = probeWorld();
    const id = world.text();
    const rival = world.rival({ retryMs: 1_000, atMs: 2_500 });
    const { verdict } = world.probe(10_000);
    assertResult(verdict, 'rival');
    assert.deepEqual(rival.handled, [id]);
  });

  test('one of two was fetched by somebody who then hangs: a rival', () => {
    const world = probeWorld();
    const first = world.text();
    world.text();
    const confirm = () => world.bot.call('getUpdates', createArgs({ offset: String(first + 1) }), () => {});
    const { verdict, atMs } = world.probe(10_000, (at) => at(2_500, confirm));
    assertResult(verdict, 'rival');
    near(verdict.afterMs, 3_000, 300);
    assert.equal(verdict.conflicts, 0);
    assert.ok(atMs <= 10_000);
  });

  test('one that expired was fetched by nobody', () => {
    const world = probeWorld();
    world.bot.push({ callback_query: { id: '1' } });
    world.clock.advance(146_000);
    const { verdict } = world.probe(10_000);
    // 2 s before the probe and 148 s of age: it goes 2 s into it.
    assert.notEqual(verdict.result, 'rival');
    assert.equal(world.bot.state().pendingUpdates, 0);
  });

  test('an old message that expires was fetched by nobody', () => {
    const world = probeWorld();
    world.text(NOW_S - 24 * 3600 + 5);
    world.clock.advance(24 * 3_600_000 - 7_000);
    const { verdict } = world.probe(20_000);
    assert.notEqual(verdict.result, 'rival');
    assert.equal(world.bot.state().pendingUpdates, 0);
  });

  test('one that comes while the poll is held and stays: what was quiet before counts, when it is half', () => {
    for (const [ms, result, reason] of [
      [7_000, 'none', null],
      [3_000, 'cannot-tell', 'updates'],
    ] as const) {
      const world = probeWorld();
      const { verdict } = world.probe(10_000, (at) => at(ms, () => world.text()));
      assertResult(verdict, result, reason);
      if (result === 'none') near(verdict.quietMs, ms);
      assert.equal(world.bot.state().pendingUpdates, 1);
    }
  });

  test('a busy bot with a rival: every message is handled by the rival, none is lost', () => {
    const world = probeWorld();
    const rival = world.rival({ retryMs: 1_000 });
    const ids: number[] = [];
    const { verdict } = world.probe(20_000, (at) => {
      for (let ms = 100; ms < 20_000; ms += 700) at(ms, () => ids.push(world.text()));
    });
    assertResult(verdict, 'rival');
    world.clock.advance(20_000);
    assert.deepEqual([...new Set(rival.handled)], ids);
  });
});

describe('webhook', () => {
  test('set: nothing is polled', () => {
    const world = probeWorld();
    world.setWebhook('https://hooks.example.com/a');
    world.clock.advance(10);
    const outcome = world.probe(10_000);
    assertResult(outcome.verdict, 'cannot-tell', 'webhook');
    assert.equal(outcome.verdict.detail, 'https://hooks.example.com/a');
    assert.equal(polls(outcome).length, 0);
  });

  test('set meanwhile: cannot tell, whatever was quiet before', () => {
    const world = probeWorld();
    const { verdict, atMs } = world.probe(10_000, (at) =>
      at(8_000, () => world.setWebhook('https://hooks.example.com/a')),
    );
    assertResult(verdict, 'cannot-tell', 'webhook');
    assert.equal(verdict.detail, 'https://hooks.example.com/a');
    near(atMs, 9_000);
  });

  test('one that is turned down ends the poll, too: the probe goes on', () => {
    const world = probeWorld();
    const outcome = world.probe(20_000, (at) =>
      at(2_000, () => world.setWebhook('http://hooks.example.com/a')),
    );
    assertResult(outcome.verdict, 'none');
    assert.equal(polls(outcome).length, 2);
    near(outcome.verdict.quietMs, 17_000);
  });
});

describe('faults', () => {
  test('at the beginning: retried, and what is left is enough', () => {
    const world = probeWorld();
    world.fault(world.badGateway, 2_500);
    const { verdict, atMs } = world.probe(10_000);
    assertResult(verdict, 'none');
    near(verdict.quietMs, 7_000, 300);
    assert.ok(atMs <= 10_500);
  });

  test('all the time: cannot tell, with what was said; not a storm of calls', () => {
    for (const method of ['getUpdates', null] as const) {
      const world = probeWorld();
      world.fault(world.badGateway, Number.POSITIVE_INFINITY, method);
      const outcome = world.probe(10_000);
      assertResult(outcome.verdict, 'cannot-tell', 'api');
      assert.match(outcome.verdict.detail, /Bad Gateway/);
      assert.ok(outcome.actions.length <= 10, `${outcome.actions.length} calls`);
      assert.ok(outcome.atMs <= 10_000);
    }
  });

  test('429: waits as long as it was told, and not at all where that is too long', () => {
    const short = probeWorld();
    short.fault(tooManyRequests(3), 500);
    const waited = short.probe(10_000);
    assertResult(waited.verdict, 'none');
    near(polls(waited)[0]?.atMs ?? 0, 3_000);
    const long = probeWorld();
    long.fault(tooManyRequests(30));
    const given = long.probe(10_000);
    assertResult(given.verdict, 'cannot-tell', 'api');
    assert.ok(given.atMs < 100, 'no waiting for nothing');
  });

  test('no answer at all is not quiet', () => {
    const world = probeWorld();
    world.fault(null, Number.POSITIVE_INFINITY, 'getUpdates');
    const { verdict, atMs } = world.probe(10_000);
    assertResult(verdict, 'cannot-tell', 'api');
    near(atMs, 15_000);
  });

  test('empty answers that come at once are not quiet', () => {
    const world = probeWorld();
    world.fault({ status: 200, body: { ok: true, result: [] } }, Number.POSITIVE_INFINITY, 'getUpdates');
    const outcome = world.probe(10_000);
    assertResult(outcome.verdict, 'cannot-tell', 'api');
    assert.ok(polls(outcome).length <= 11);
  });

  test('quiet times with a break between them are not added up', () => {
    let { probe } = startProbe(10_000, 0);
    let step = stepProbe(probe, { kind: 'webhook-info', url: '' }, 0);
    for (const [sentAtMs, endedAtMs] of [
      [0, 3_000],
      [4_000, 7_000],
      [8_000, 10_000],
    ] as const) {
      assert.equal(step.action.kind, 'poll');
      probe = step.probe;
      step = stepProbe(probe, { kind: 'empty', sentAtMs }, endedAtMs);
    }
    assert.ok(step.action.kind === 'end');
    assertResult(step.action.verdict, 'cannot-tell', 'api');
    assert.equal(step.action.verdict.quietMs, 3_000);
  });

  test('a rival that was seen before the faults stays seen', () => {
    const world = probeWorld();
    world.rival({ retryMs: 500 });
    const { verdict } = world.probe(30_000, (at) => at(1_000, () => world.fault(world.badGateway)));
    assertResult(verdict, 'rival');
    assert.equal(verdict.rhythmMs, null);
  });

  test('a refused token ends it at once', () => {
    const world = probeWorld();
    world.fault({ status: 401, body: { ok: false, error_code: 401, description: 'Unauthorized' } });
    const { verdict, atMs } = world.probe(10_000);
    assertResult(verdict, 'cannot-tell', 'token');
    assert.ok(atMs < 100);
  });
});

describe('ended from outside', () => {
  const begun = () => {
    const { probe } = startProbe(10_000, 0);
    return stepProbe(probe, { kind: 'webhook-info', url: '' }, 1).probe;
  };

  test('a supervisor that starts meanwhile, an interruption: cannot tell, however quiet it was', () => {
    const quiet = stepProbe(
      begun(),
      { kind: 'updates', sentAtMs: 1, firstId: 1, lasting: true },
      8_000,
    ).probe;
    for (const event of [{ kind: 'supervisor', pid: 7 }, { kind: 'interrupted' }] as const) {
      const { action } = stepProbe(quiet, event, 8_500);
      assert.equal(action.kind, 'end');
      if (action.kind === 'end') assertResult(action.verdict, 'cannot-tell', event.kind);
    }
  });

  test('a rival that was seen before is told', () => {
    const seen = stepProbe(begun(), { kind: 'conflict', sentAtMs: 1 }, 4_001).probe;
    for (const event of [{ kind: 'supervisor', pid: 7 }, { kind: 'interrupted' }] as const) {
      const { action } = stepProbe(seen, event, 5_000);
      assert.ok(action.kind === 'end' && action.verdict.result === 'rival');
    }
  });
});

test('delays hint at the libraries that keep them', () => {
  for (const [ms, hint] of [
    [20, /node-telegram-bot-api/],
    [200, /node-telegram-bot-api/],
    [250, /pyTelegramBotAPI/],
    [500, /pyTelegramBotAPI/],
    [1_000, /python-telegram-bot and aiogram/],
    [1_500, /python-telegram-bot and aiogram/],
    [5_000, /hand-written/],
    [60_000, /hand-written/],
  ] as const) {
    assert.match(hintOfRetry(ms), hint);
    assert.match(hintOfRetry(ms), /hand-written/);
  }
});
