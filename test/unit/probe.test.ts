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

type World = ReturnType<typeof probeWorld>;

const UNAUTHORIZED = { status: 401, body: { ok: false, error_code: 401, description: 'Unauthorized' } };
const EMPTY = { status: 200, body: { ok: true, result: [] } };

/** What may happen to the bot; a number behind a word is in ms. */
const STEPS: Readonly<Record<string, (world: World, of: (name: string) => number | undefined) => unknown>> = {
  rival: (world, of) =>
    world.rival({
      retryMs: of('retry') ?? 0,
      atMs: of('at') ?? -2_000,
      handleMs: of('handle') ?? 5,
      endsAfter: of('ends') ?? 99,
    }),
  text: (world) => world.text(),
  'old-text': (world) => world.text(NOW_S - 24 * 3600 + 5),
  callback: (world) => world.bot.push({ callback_query: { id: '1' } }),
  webhook: (world) => world.setWebhook('https://hooks.example.com/a'),
  'bad-webhook': (world) => world.setWebhook('http://hooks.example.com/a'),
  advance: (world, of) => world.clock.advance(of('ms') ?? 0),
  '502': (world, of) => world.fault(world.badGateway, of('ms') ?? Number.POSITIVE_INFINITY, null),
  '429': (world, of) => world.fault(tooManyRequests(of('s') ?? 0), of('ms') ?? Number.POSITIVE_INFINITY),
  '401': (world) => world.fault(UNAUTHORIZED),
  silence: (world) => world.fault(null, Number.POSITIVE_INFINITY, 'getUpdates'),
  empty: (world) => world.fault(EMPTY, Number.POSITIVE_INFINITY, 'getUpdates'),
};

/** `STEP name=ms; probe SECONDS; +MS STEP → RESULT name=value`, steps before the probe and while it runs; times are about. */
function play(script: string): void {
  const [before = '', after = ''] = script.split(' → ');
  const world = probeWorld();
  const step = (words: readonly string[]) => {
    const of = (name: string) => {
      const value = words.find((word) => word.startsWith(`${name}=`))?.slice(name.length + 1);
      return value === undefined ? undefined : Number(value);
    };
    STEPS[words[0]!]!(world, of);
  };
  const steps = before.split('; ').map((it) => it.split(' '));
  const begin = steps.findIndex(([word]) => word === 'probe');
  for (const words of steps.slice(0, begin)) step(words);
  const askedMs = Number(steps[begin]![1]) * 1_000;
  const outcome = world.probe(askedMs, (at) => {
    for (const [ms, ...words] of steps.slice(begin + 1)) at(Number(ms), () => step(words));
  });
  const { verdict } = outcome;
  const [result, ...facts] = after.split(' ');
  assert.equal(verdict.result, result, JSON.stringify(verdict));
  const seen: Record<string, unknown> = {
    ...verdict,
    took: outcome.atMs,
    polls: polls(outcome).length,
    pending: world.bot.state().pendingUpdates,
  };
  for (const fact of facts) {
    const [name = '', value = ''] = fact.split('=');
    const known = seen[name] ?? seen[`${name}Ms`] ?? null;
    if (name === 'took' || (`${name}Ms` in seen && value !== 'null'))
      near(known as number | null, Number(value), 300);
    else if (name === 'detail') assert.match(String(known), new RegExp(value));
    else assert.equal(String(known), value, fact);
  }
  // Never a storm of calls, and never much longer than asked for.
  assert.ok(outcome.actions.length <= 8 + askedMs / 1_000, `${outcome.actions.length} calls`);
  assert.ok(outcome.atMs <= askedMs + 5_100, `it took ${outcome.atMs} ms`);
}

for (const [what, script] of [
  ['comes back at once', 'rival; probe 10 → rival after=3000 rhythm=3000 retry=0'],
  ['comes back after 250 ms', 'rival retry=250; probe 10 → rival after=3250 rhythm=3250 retry=250'],
  ['comes back after 1.9 s', 'rival retry=1900; probe 10 → rival after=4900 rhythm=4900 retry=1900'],
  ['comes back after 10 s', 'rival retry=10000; probe 40 → rival after=10000 rhythm=13000 retry=10000'],
  [
    'is seen once: no rhythm',
    'rival retry=5000; probe 10 → rival after=5000 rhythm=null retry=null conflicts=1',
  ],
  [
    'is known well enough after its third conflict',
    'rival retry=250; probe 300 → rival conflicts=3 took=9750',
  ],
  ['is left alone with too little time left', 'rival retry=250; probe 6 → rival conflicts=1 took=3250'],
  ['polls again only after it handled an update', 'rival retry=1000 handle=4000; text; probe 20 → rival'],
  ['begins at the end: its 409 comes 3 s after it', 'rival retry=1000 at=9900; probe 10 → rival'],
  ['came twice and ended', 'rival retry=1000 ends=2; probe 20 → rival conflicts=1'],
  ['ends at its 409: not seen', 'rival ends=1; probe 10 → none'],
  ['has a long back-off: met by the second poll', 'rival retry=55000; probe 100 → rival after=55000'],
  ['fetches updates: seen without a conflict', 'text; rival retry=1000 at=2500; probe 10 → rival'],
  ['was seen before faults: stays seen', 'rival retry=500; probe 30; 1000 502 → rival rhythm=null'],
] as const)
  test(`a rival that ${what}`, () => play(script));

for (const [what, script] of [
  ['nobody: one poll for the whole time', 'probe 10 → none quiet=10000 took=10000 polls=1'],
  ['more than 50 s: several polls, one quiet time', 'probe 120 → none quiet=120000 polls=3'],
  ['the shortest probe', 'probe 1 → none polls=1'],
  [
    'updates that nobody fetches: nothing is confirmed',
    'text; text; probe 10 → cannot-tell reason=updates pending=2',
  ],
  [
    'a callback query that expired was fetched by nobody',
    'callback; advance ms=146000; probe 10 → none pending=0',
  ],
  [
    'an old message that expires was fetched by nobody',
    'old-text; advance ms=86393000; probe 20 → none pending=0',
  ],
  [
    'an update after half of the time: the quiet before it counts',
    'probe 10; 7000 text → none quiet=7000 pending=1',
  ],
  ['an update before half of the time', 'probe 10; 3000 text → cannot-tell reason=updates pending=1'],
  [
    'a webhook: nothing is polled',
    'webhook; advance ms=10; probe 10 → cannot-tell reason=webhook detail=hooks polls=0',
  ],
  [
    'a webhook that is set meanwhile',
    'probe 10; 8000 webhook → cannot-tell reason=webhook detail=hooks took=9000',
  ],
  [
    'a webhook that is turned down: the probe goes on',
    'probe 20; 2000 bad-webhook → none polls=2 quiet=17000',
  ],
  ['faults at the beginning: what is left is enough', '502 ms=2500; probe 10 → none quiet=7000'],
  ['faults all the time: with what was said', '502; probe 10 → cannot-tell reason=api detail=Bad.Gateway'],
  ['429 waits as long as it was told', '429 s=3 ms=500; probe 10 → none quiet=7000'],
  ['429 does not wait where that is too long', '429 s=30; probe 10 → cannot-tell reason=api took=0'],
  ['no answer at all is not quiet', 'silence; probe 10 → cannot-tell reason=api took=15000'],
  ['empty answers that come at once are not quiet', 'empty; probe 10 → cannot-tell reason=api'],
  ['a refused token ends it at once', '401; probe 10 → cannot-tell reason=token took=0'],
] as const)
  test(what, () => play(script));

test('delays that grow give the mean', () => {
  const world = probeWorld();
  world.rival({ retryMs: [1_000, 1_500, 2_250, 3_375] });
  near(world.probe(40_000).verdict.rhythmMs, (4_500 + 5_250) / 2);
});

test('several rivals are faster than one can be: no delay is made up', () => {
  const world = probeWorld();
  for (const [retryMs, atMs] of [
    [700, 0],
    [900, 300],
    [1_100, 600],
  ] as const)
    world.rival({ retryMs, atMs });
  const { verdict } = world.probe(40_000);
  assertResult(verdict, 'rival');
  if (verdict.rhythmMs !== null && verdict.rhythmMs < 2_800) assert.equal(verdict.retryMs, null);
});

test('one of two updates was fetched by somebody who then hangs: a rival', () => {
  const world = probeWorld();
  const first = world.text();
  world.text();
  const confirm = () => world.bot.call('getUpdates', createArgs({ offset: String(first + 1) }), () => {});
  const { verdict } = world.probe(10_000, (at) => at(2_500, confirm));
  assertResult(verdict, 'rival');
  near(verdict.afterMs, 3_000, 300);
  assert.equal(verdict.conflicts, 0);
});

test('a busy bot with a rival: every message is handled by the rival, none is lost', () => {
  const world = probeWorld();
  const { handled } = world.rival({ retryMs: 1_000 });
  const ids: number[] = [];
  const { verdict } = world.probe(20_000, (at) => {
    for (let ms = 100; ms < 20_000; ms += 700) at(ms, () => ids.push(world.text()));
  });
  assertResult(verdict, 'rival');
  world.clock.advance(20_000);
  assert.deepEqual([...new Set(handled)], ids);
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
