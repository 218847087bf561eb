/** The active probe against the stand-in's own rules of getUpdates, on a virtual clock: what it finds, and what it must never claim. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createArgs } from '../../src/gateway/params.ts';
import { type Answer, createBot, failure, tooManyRequests } from '../../src/sandbox/bot.ts';
import { type BotApi, classify, type Reply } from '../../src/telegram/bot-api.ts';
import { runProbe, type Verdict } from '../../src/telegram/probe.ts';
import { manualClock } from '../support/manual-clock.ts';

/** What updates are dated with, seconds since 1970. */
const NOW_S = 1_800_000_000;
const FIRST_ID = 500_000;
const got = (...result: object[]): Answer => ({ status: 200, body: { ok: true, result } });

/** A bot, and what befalls it; the probe begins 2 s later. */
function newWorld() {
  const clock = manualClock();
  const bot = createBot(clock, FIRST_ID);
  const faults: { answer: Answer | null; untilMs: number; method?: string | undefined }[] = [];
  const interrupt = new AbortController();
  const getUpdates = (params: Record<string, unknown>, reply: (answer: Answer) => void) => {
    const texts = Object.entries(params).map(([name, value]) => [name, String(value)]);
    bot.call('getUpdates', createArgs(Object.fromEntries(texts)), reply);
  };
  /** When it begins; from a 409 to its next poll, and at which 409 it ends. */
  function rival({ atMs = 0, retryMs = 0, endsAfter = 99 } = {}): void {
    let [offset, conflicts] = [0, 0];
    const poll = () =>
      getUpdates({ offset, timeout: 30 }, ({ status, delivered = [] }) => {
        if (status === 409) {
          conflicts += 1;
          if (conflicts < endsAfter) clock.after(retryMs, poll);
          return;
        }
        offset = (delivered.at(-1) ?? offset - 1) + 1;
        clock.after(delivered.length > 0 ? 5 : 0, poll);
      });
    clock.after(atMs, poll);
  }

  async function probe(askedMs: number, during: Steps, supervisor: () => number | null) {
    clock.advance(2_000);
    const beganMs = clock.nowMs();
    const calls: string[] = [];
    const api: Pick<BotApi, 'call'> = {
      call: <T>(method: string, params: Record<string, unknown> = {}, { timeoutMs = 0 } = {}) =>
        new Promise<Reply<T>>((resolve) => {
          calls.push(method);
          // One millisecond for the way back.
          const answered = ({ status, body }: Answer) =>
            void clock.after(1, () => resolve(classify<T>(status, JSON.stringify(body))));
          const out = (description: string) => resolve({ kind: 'outage', description });
          interrupt.signal.addEventListener('abort', () => out('given up'), { once: true });
          const nowMs = clock.nowMs() - beganMs;
          const struck = faults.find((it) => nowMs < it.untilMs && (it.method ?? method) === method);
          if (struck?.answer) answered(struck.answer);
          else if (struck) clock.after(timeoutMs, () => out('it did not answer in time'));
          else if (method === 'getUpdates') getUpdates(params, answered);
          else bot.call(method, createArgs(), answered);
        }),
    };
    for (const [ms, act] of Object.entries(during)) clock.after(Number(ms), () => act(world));
    let verdict: Verdict | null = null;
    void runProbe(askedMs, {
      ...{ api, signal: interrupt.signal, supervisor: async () => supervisor(), beforeFirstPoll() {} },
      clock: {
        now: () => clock.nowMs(),
        unixS: () => NOW_S,
        sleep: (ms) => new Promise((resolve) => clock.after(ms, () => resolve(null))),
      },
    }).then((it) => {
      verdict = it;
    });
    for (let tick = 0; tick < 200_000 && !verdict; tick++) {
      await new Promise(setImmediate);
      clock.advance(10);
    }
    assert.ok(verdict, `no verdict: ${calls.slice(-5)}`);
    // Never a storm of calls, and never much longer than asked for.
    assert.ok(calls.length <= 8 + askedMs / 1_000, `${calls.length} calls`);
    assert.ok(clock.nowMs() - beganMs <= askedMs + 5_100, `it took ${clock.nowMs() - beganMs} ms`);
    return verdict as Verdict;
  }

  const world = {
    ...{ bot, interrupt, rival, probe, getUpdates },
    text: () => bot.push({ message: { text: 'x', date: NOW_S } }),
    setWebhook: () => bot.call('setWebhook', createArgs({ url: 'https://hooks.example.com/a' }), () => {}),
    /** Until then calls get this instead; null: they are never answered. */
    fault: (answer: Answer | null, untilMs = Number.POSITIVE_INFINITY, method?: string) =>
      void faults.push({ answer, untilMs, method }),
  };
  return world;
}

type World = ReturnType<typeof newWorld>;
/** What happens so many milliseconds after its beginning. */
type Steps = Readonly<Record<number, (world: World) => unknown>>;

/** Times are about. */
function assertVerdict(verdict: Verdict, expected: Partial<Verdict>): void {
  for (const [name, value] of Object.entries(expected)) {
    const found = verdict[name as keyof Verdict];
    const isAbout = typeof value === 'number' && name.endsWith('Ms');
    const isRight = isAbout ? typeof found === 'number' && Math.abs(found - value) <= 300 : found === value;
    assert.ok(isRight, `${name} is ${found}, not ${value}: ${JSON.stringify(verdict)}`);
  }
}

const BAD_GATEWAY = failure(502, 'Bad Gateway');
const unknown = (reason: Verdict['reason']) => ({ result: 'cannot-tell', reason }) as const;
const rival = (more: Partial<Verdict> = {}) => ({ result: 'rival', ...more }) as const;
const none = (quietMs: number) => ({ result: 'none', quietMs }) as const;

const ROWS: readonly (readonly [string, number, Partial<Verdict>, (world: World) => unknown, Steps?])[] = [
  [
    'one that comes back',
    10,
    rival({ afterMs: 3_250, rhythmMs: 3_250, retryMs: 250 }),
    (it) => it.rival({ retryMs: 250 }),
  ],
  [
    'one that is seen once',
    10,
    rival({ afterMs: 5_000, rhythmMs: null, conflicts: 1 }),
    (it) => it.rival({ retryMs: 5_000 }),
  ],
  ['known well after three', 300, rival({ conflicts: 3, tookMs: 9_750 }), (it) => it.rival({ retryMs: 250 })],
  ['one that ends at its 409: not seen', 10, none(10_000), (it) => it.rival({ endsAfter: 1 })],
  [
    'a long back-off: met by the second poll',
    100,
    rival({ afterMs: 55_000 }),
    (it) => it.rival({ retryMs: 55_000 }),
  ],
  [
    'one that fetches updates: seen without a conflict',
    10,
    rival(),
    (it) => {
      it.text();
      it.rival({ atMs: 4_500, retryMs: 1_000 });
    },
  ],
  [
    'seen before faults: stays seen',
    30,
    rival({ rhythmMs: null }),
    (it) => it.rival({ retryMs: 500 }),
    { 1000: (it) => it.fault(BAD_GATEWAY) },
  ],
  ['more than 50 s: several polls, one quiet time', 120, none(120_000), () => {}],
  [
    'a callback query that expires: nobody fetched it',
    10,
    none(7_000),
    (it) => it.fault(got({ update_id: 5, callback_query: { id: '1' } }), 3_000, 'getUpdates'),
  ],
  [
    'a message of today that waited and is gone: fetched',
    10,
    rival({ conflicts: 0 }),
    (it) => it.fault(got({ update_id: 5, message: { date: NOW_S } }), 3_000, 'getUpdates'),
  ],
  [
    'an update in the second half: the quiet before it counts',
    10,
    none(7_000),
    () => {},
    { 7000: (it) => it.text() },
  ],
  ['an update in the first half', 10, unknown('updates'), () => {}, { 3000: (it) => it.text() }],
  [
    'a webhook set meanwhile',
    10,
    { ...unknown('webhook'), tookMs: 9_000 },
    () => {},
    { 8000: (it) => it.setWebhook() },
  ],
  ['faults at the beginning: what is left is enough', 10, none(7_000), (it) => it.fault(BAD_GATEWAY, 2_500)],
  ['429 waits as long as it was told', 10, none(7_000), (it) => it.fault(tooManyRequests(3), 500)],
  [
    '429 does not wait where that is too long',
    10,
    { ...unknown('api'), tookMs: 0 },
    (it) => it.fault(tooManyRequests(30)),
  ],
  ['no answer at all is not quiet', 10, unknown('api'), (it) => it.fault(null, undefined, 'getUpdates')],
  [
    'empty answers that come at once are not quiet',
    10,
    unknown('api'),
    (it) => it.fault(got(), undefined, 'getUpdates'),
  ],
  [
    'one of two updates was fetched by somebody who then hangs: a rival',
    10,
    rival({ afterMs: 3_000, conflicts: 0 }),
    (it) => {
      it.text();
      it.text();
    },
    { 2500: (it) => it.getUpdates({ offset: FIRST_ID + 1 }, () => {}) },
  ],
];
for (const [what, seconds, expected, before, during = {}] of ROWS)
  test(`probe: ${what}`, async () => {
    const world = newWorld();
    before(world);
    assertVerdict(await world.probe(seconds * 1_000, during, () => null), expected);
  });

for (const reason of ['supervisor', 'interrupted'] as const)
  test(`probe: ${reason} meanwhile: cannot tell, however quiet it was; a rival that was seen before is told`, async () => {
    for (const seen of [false, true]) {
      const world = newWorld();
      if (seen) world.rival({ retryMs: 500 });
      let isOver = false;
      const end = () => {
        isOver = true;
        if (reason === 'interrupted') world.interrupt.abort();
      };
      const verdict = await world.probe(20_000, { 3000: (it) => it.text(), 4500: end }, () =>
        isOver && reason === 'supervisor' ? 7 : null,
      );
      assertVerdict(verdict, seen ? { result: 'rival', reason: null } : unknown(reason));
    }
  });
