/** The active probe against the rules of getUpdates, on a virtual clock: what it finds, what it must never claim, and how it is told. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createArgs } from '../../src/gateway/params.ts';
import { tooManyRequests } from '../../src/sandbox/bot.ts';
import type { Verdict } from '../../src/telegram/probe.ts';
import { NOW_S, type Outcome, probeWorld } from '../support/probe-world.ts';

const near = (actual: number | null, expected: number, within = 120) =>
  assert.ok(actual !== null && Math.abs(actual - expected) <= within, `${actual} is not about ${expected}`);

const polls = ({ calls }: Outcome) => calls.filter((method) => method === 'getUpdates').length;

function assertResult(verdict: Verdict, result: Verdict['result'], reason: Verdict['reason'] = null) {
  assert.deepEqual([verdict.result, verdict.reason], [result, reason], JSON.stringify(verdict));
}

type World = ReturnType<typeof probeWorld>;

const UNAUTHORIZED = { status: 401, body: { ok: false, error_code: 401, description: 'Unauthorized' } };
const EMPTY = { status: 200, body: { ok: true, result: [] } };

const waits = (update: object) => ({ ...EMPTY, body: { ok: true, result: [{ update_id: 5, ...update }] } });

/** What may happen to the bot; a number behind a word is in ms. */
const STEPS: Readonly<Record<string, (world: World, of: (name: string) => number | undefined) => unknown>> = {
  rival: (world, of) =>
    world.rival({ retryMs: of('retry') ?? 0, atMs: of('at') ?? -2_000, endsAfter: of('ends') ?? 99 }),
  text: (world) => world.text(),
  'waits-callback': (world, of) =>
    world.fault(waits({ callback_query: { id: '1' } }), of('ms')!, 'getUpdates'),
  'waits-text': (world, of) => world.fault(waits({ message: { date: NOW_S } }), of('ms')!, 'getUpdates'),
  webhook: (world) => world.setWebhook('https://hooks.example.com/a'),
  advance: (world, of) => world.clock.advance(of('ms') ?? 0),
  '502': (world, of) => world.fault(world.badGateway, of('ms') ?? Number.POSITIVE_INFINITY, null),
  '429': (world, of) => world.fault(tooManyRequests(of('s') ?? 0), of('ms') ?? Number.POSITIVE_INFINITY),
  '401': (world) => world.fault(UNAUTHORIZED),
  silence: (world) => world.fault(null, Number.POSITIVE_INFINITY, 'getUpdates'),
  empty: (world) => world.fault(EMPTY, Number.POSITIVE_INFINITY, 'getUpdates'),
};

/** `STEP name=ms; probe SECONDS; +MS STEP → RESULT name=value`, steps before the probe and while it runs; times are about. */
async function play(script: string): Promise<void> {
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
  const outcome = await world.probe(askedMs, (at) => {
    for (const [ms, ...words] of steps.slice(begin + 1)) at(Number(ms), () => step(words));
  });
  const { verdict } = outcome;
  const [result, ...facts] = after.split(' ');
  assert.equal(verdict.result, result, JSON.stringify(verdict));
  const seen: Record<string, unknown> = {
    ...verdict,
    took: outcome.atMs,
    polls: polls(outcome),
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
  assert.ok(outcome.calls.length <= 8 + askedMs / 1_000, `${outcome.calls.length} calls`);
  assert.ok(outcome.atMs <= askedMs + 5_100, `it took ${outcome.atMs} ms`);
}

for (const [what, script] of [
  ['comes back at once', 'rival; probe 10 → rival after=3000 rhythm=3000 retry=0'],
  ['comes back after 250 ms', 'rival retry=250; probe 10 → rival after=3250 rhythm=3250 retry=250'],
  ['is seen once', 'rival retry=5000; probe 10 → rival after=5000 rhythm=null retry=null conflicts=1'],
  ['is known well after its third conflict', 'rival retry=250; probe 300 → rival conflicts=3 took=9750'],
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
  [
    'updates that nobody fetches are not confirmed',
    'text; text; probe 10 → cannot-tell reason=updates pending=2',
  ],
  ['a callback query that expires: nobody fetched it', 'waits-callback ms=3000; probe 10 → none quiet=7000'],
  ['a message of today that waited and is gone: fetched', 'waits-text ms=3000; probe 10 → rival conflicts=0'],
  [
    'an update in the second half: the quiet before it counts',
    'probe 10; 7000 text → none quiet=7000 pending=1',
  ],
  ['an update in the first half', 'probe 10; 3000 text → cannot-tell reason=updates pending=1'],
  [
    'a webhook: no poll',
    'webhook; advance ms=10; probe 10 → cannot-tell reason=webhook detail=hooks polls=0',
  ],
  ['a webhook set meanwhile', 'probe 10; 8000 webhook → cannot-tell reason=webhook detail=hooks took=9000'],
  ['faults at the beginning: what is left is enough', '502 ms=2500; probe 10 → none quiet=7000'],
  ['faults all the time: with what was said', '502; probe 10 → cannot-tell reason=api detail=Bad.Gateway'],
  ['429 waits as long as it was told', '429 s=3 ms=500; probe 10 → none quiet=7000'],
  ['429 does not wait where that is too long', '429 s=30; probe 10 → cannot-tell reason=api took=0'],
  ['no answer at all is not quiet', 'silence; probe 10 → cannot-tell reason=api took=15000'],
  ['empty answers that come at once are not quiet', 'empty; probe 10 → cannot-tell reason=api'],
  ['a refused token ends it at once', '401; probe 10 → cannot-tell reason=token took=0'],
] as const)
  test(what, () => play(script));

test('delays that grow give the mean', async () => {
  const world = probeWorld();
  world.rival({ retryMs: [1_000, 1_500, 2_250, 3_375] });
  near((await world.probe(40_000)).verdict.rhythmMs, (4_500 + 5_250) / 2);
});

test('one of two updates was fetched by somebody who then hangs: a rival', async () => {
  const world = probeWorld();
  const first = world.text();
  world.text();
  const confirm = () => world.bot.call('getUpdates', createArgs({ offset: String(first + 1) }), () => {});
  const { verdict } = await world.probe(10_000, (at) => at(2_500, confirm));
  assertResult(verdict, 'rival');
  near(verdict.afterMs, 3_000, 300);
  assert.equal(verdict.conflicts, 0);
});

test('a busy bot with a rival: every message is handled by the rival, none is lost', async () => {
  const world = probeWorld();
  const { handled } = world.rival({ retryMs: 1_000 });
  const ids: number[] = [];
  const { verdict } = await world.probe(20_000, (at) => {
    for (let ms = 100; ms < 20_000; ms += 700) at(ms, () => ids.push(world.text()));
  });
  assertResult(verdict, 'rival');
  world.clock.advance(20_000);
  assert.deepEqual([...new Set(handled)], ids);
});

for (const reason of ['supervisor', 'interrupted'] as const)
  test(`${reason} meanwhile: cannot tell, however quiet it was; a rival that was seen before is told`, async () => {
    for (const seen of [false, true]) {
      const world = probeWorld();
      if (seen) world.rival({ retryMs: 500 });
      let isOver = false;
      const interfere = (at: (ms: number, act: () => void) => void, interrupt: AbortController) => {
        at(3_000, () => world.text());
        at(4_500, () => {
          isOver = true;
          if (reason === 'interrupted') interrupt.abort();
        });
      };
      const { verdict } = await world.probe(20_000, interfere, () =>
        isOver && reason === 'supervisor' ? 7 : null,
      );
      assertResult(verdict, seen ? 'rival' : 'cannot-tell', seen ? null : reason);
    }
  });
