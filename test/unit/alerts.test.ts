/** What becomes an alert and when, its text and bodies, and its way to one place: all with times that are given. */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { createQueue, type Delivery, GIVE_UP_AFTER_MS, judge } from '../../src/alerts/deliver.ts';
import { eventOfEnd, eventsBetween, isWell, type Look } from '../../src/alerts/events.ts';
import { type AlertEvent, type AlertKind, createAlertGate, createDaily } from '../../src/alerts/gate.ts';
import { alertMessage, digestMessage, type Message, postOf } from '../../src/alerts/message.ts';
import type { AlertPreset } from '../../src/config/targets.ts';
import { maskText } from '../../src/output/mask.ts';
import type { Summary } from '../../src/supervisor/history.ts';
import { newRecord } from '../../src/supervisor/record.ts';
import { initial } from '../../src/supervisor/table.ts';
import { SAMPLE_NOW_MS, sampleLease, sampleStatus } from '../support/status-sample.ts';

const MINUTE = 60_000;
const COOLDOWN_MS = 15 * MINUTE;
const UNIX = 1_700_000_000_000;

function story(saved: unknown = null, nowMs = UNIX) {
  const gate = createAlertGate(COOLDOWN_MS, JSON.parse(JSON.stringify(saved)), nowMs);
  return {
    at(atMs: number, well: boolean, ...kinds: AlertKind[]): string[] {
      const events: AlertEvent[] = kinds.map((kind) => ({ kind, text: kind, hint: null, atMs: UNIX }));
      const out = gate.step(UNIX + atMs, events, well);
      return out.map(({ kind, more }) => (more > 0 ? `${kind}+${more}` : kind));
    },
    gate,
  };
}

const TOKEN = '123456:AAbbCCddEEffGGhhIIjjKKllMMnnOOppQQr';
const FROM = { bot: '@my_bot', botId: 123456, host: 'box', secrets: [TOKEN] };
const MESSAGE = alertMessage(
  {
    kind: 'crash-loop',
    text: '11 exits of the worker within 5 min; singlepoll has given up (exit 1)',
    hint: 'singlepoll start',
    lines: [
      'Traceback <main> & so on',
      `it is ${TOKEN}, ${TOKEN.split(':')[1]}`,
      '*bold* \u001b[31m @everyone',
    ],
    atMs: SAMPLE_NOW_MS,
    more: 2,
    over: [],
  },
  FROM,
);

test('cooldown: the first goes out at once, more of the same are told together at its end, other kinds at once', () => {
  const it = story();
  assert.deepEqual(it.at(0, true, 'stray-stopped'), ['stray-stopped']);
  for (const at of [1, 2, 3, 4]) assert.deepEqual(it.at(at * MINUTE, true, 'stray-stopped'), []);
  assert.deepEqual(it.at(15 * MINUTE - 1, true), []);
  const [alert] = it.gate.step(UNIX + 15 * MINUTE, [], true);
  assert.equal(alert?.more, 3);
  assert.deepEqual(it.at(40 * MINUTE, true, 'stray-stopped', 'deaf'), ['stray-stopped', 'deaf']);
});

describe('recovered', () => {
  type Step = readonly [atMs: number, well: boolean, events: AlertKind[], told: string[]];
  const stories: [string, ...Step[]][] = [
    [
      'once, when all has been well for the settle time after an alerted problem',
      [0, false, ['rival'], ['rival']],
      [60_000, true, [], []],
      [69_999, true, [], []],
      [70_000, true, [], ['recovered']],
      [200_000, true, [], []],
    ],
    [
      'a new problem and a moment that is not well begin the wait anew',
      [0, true, ['webhook-set'], ['webhook-set']],
      [5_000, false, [], []],
      [6_000, true, [], []],
      [12_000, true, ['webhook-set'], []],
      [16_000, true, [], []],
      [26_000, true, [], ['recovered']],
    ],
    [
      'what is told late and was well since then is not followed by one',
      [0, true, ['webhook-set'], ['webhook-set']],
      [10_000, true, [], []],
      [20_000, true, [], ['recovered']],
      [30_000, true, ['webhook-set'], []],
      [31_000, true, [], []],
      [15 * MINUTE, true, [], ['webhook-set']],
      [60 * MINUTE, true, [], []],
    ],
  ];
  for (const [title, ...steps] of stories)
    test(title, () => {
      const it = story();
      for (const [atMs, well, events, told] of steps) assert.deepEqual(it.at(atMs, well, ...events), told);
    });
});

test('a run that is started again does not tell the same, but counts it; what makes no sense in its file is nothing', () => {
  const first = story();
  assert.deepEqual(first.at(0, false, 'stray-back'), ['stray-back']);
  const second = story(first.gate.saved(), UNIX + MINUTE);
  assert.deepEqual(second.at(MINUTE, false, 'stray-back'), []);
  const third = story(second.gate.saved(), UNIX + 20 * MINUTE);
  assert.deepEqual(third.at(20 * MINUTE, false, 'stray-back'), ['stray-back+1']);
  third.at(21 * MINUTE, true);
  assert.deepEqual(third.at(22 * MINUTE, true), ['recovered']);
  for (const saved of [
    ...[null, 1, 'x', [], { kinds: 3, owed: [] }],
    { kinds: { rival: { sentAt: 'x', held: -1 } }, owed: { kinds: ['x'], since: 'y' } },
    // The clock was set back.
    { kinds: { rival: { sentAt: UNIX + 1e9, held: 0 } }, owed: null },
  ])
    assert.deepEqual(story(saved).gate.saved(), story().gate.saved());
});

describe('queue', () => {
  const LATER: Delivery = { kind: 'later', error: 'HTTP 500', afterMs: null };
  /** Answers are given out one by one; time passes when `pass` says so. */
  const bench = (t: TestContext) => {
    t.mock.timers.reset();
    t.mock.timers.enable({ apis: ['setTimeout'] });
    let nowMs = 0;
    let waiting: ((delivery: Delivery) => void) | null = null;
    const tried: number[] = [];
    const place = {
      name: 'there',
      rest() {},
      send({ title }: Message) {
        assert.equal(waiting, null, 'one at a time');
        tried.push(Number(title));
        return new Promise<Delivery>((resolve) => {
          waiting = resolve;
        });
      },
    };
    const queue = createQueue(place, { line: () => {} }, () => nowMs);
    return {
      queue,
      tried,
      post: (title: number) => queue.post({ ...MESSAGE, title: String(title) }),
      isSending: () => waiting !== null,
      async answer(delivery: Delivery) {
        const give = waiting!;
        waiting = null;
        give(delivery);
        await new Promise(setImmediate);
      },
      async pass(ms: number) {
        nowMs += ms;
        t.mock.timers.tick(ms);
        await new Promise(setImmediate);
      },
    };
  };

  test('waits double up to 5 min, and end after an hour', async (t) => {
    const it = bench(t);
    it.post(1);
    const waits: number[] = [];
    while (it.isSending()) {
      await it.answer(LATER);
      let waited = 0;
      for (; !it.isSending() && it.queue.counts().waiting > 0; waited += 1) await it.pass(1_000);
      waits.push(waited);
    }
    assert.deepEqual(waits.slice(0, 11), [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    const wholeMs = waits.reduce((sum, wait) => sum + wait * 1_000, 0);
    assert.equal(wholeMs, GIVE_UP_AFTER_MS);
    const { failed, waiting, lastError } = it.queue.counts();
    assert.deepEqual([failed, waiting, lastError], [1, 0, 'there: HTTP 500']);
  });
  test('a pause that is asked for is kept, also in a hurry; another wait is not', async (t) => {
    for (const afterMs of [5_000, null]) {
      const it = bench(t);
      it.post(1);
      await it.answer({ kind: 'later', error: '429', afterMs });
      const done = it.queue.hurry();
      await new Promise(setImmediate);
      assert.equal(it.tried.length, afterMs === null ? 2 : 1);
      await it.pass(5_000);
      await it.answer({ kind: 'ok' });
      await done;
    }
  });
  test('what is refused for good makes room for the next, and is a problem until one is delivered', async (t) => {
    const it = bench(t);
    it.post(1);
    it.post(2);
    await it.answer({ kind: 'never', error: '403' });
    assert.deepEqual([it.tried.length, it.queue.isFailing()], [2, true]);
    await it.answer({ kind: 'ok' });
    assert.deepEqual([it.queue.counts().sent, it.queue.isFailing()], [1, false]);
    it.post(3);
    for (let tries = 0; tries < 3; tries += 1) {
      assert.equal(it.queue.isFailing(), false, 'only tries in a row are a problem');
      await it.answer(LATER);
      await it.pass(10_000);
    }
    assert.equal(it.queue.isFailing(), true);
  });
});

const body = (format: AlertPreset, url = 'https://example.com/hook', message: Message = MESSAGE) => {
  const post = postOf(message, { url, format });
  return { ...post, json: JSON.parse(post.body) as Record<string, unknown> };
};

test('text: what, when, how often, the last lines, the next command; no token and nothing that steers a terminal', () => {
  assert.equal(
    `${MESSAGE.title}\n${MESSAGE.message}`,
    `\
crash loop: @my_bot on box
11 exits of the worker within 5 min; singlepoll has given up (exit 1)
at 2026-11-21 12:00:00 UTC
and 2 times more since the last alert
its last lines:
| Traceback <main> & so on
| it is 123456:…, …
| *bold* \\e[31m @everyone
next: singlepoll start`,
  );
});

test('bodies: all parts, the signs of each format escaped, nobody pinged, at most what it takes', () => {
  assert.deepEqual(body('json').json, { ...MESSAGE, text: `${MESSAGE.title}\n${MESSAGE.message}` });
  const slack = body('slack').json;
  assert.equal(slack.mrkdwn, false);
  assert.match(String(slack.text), /^crash loop: @my_bot on box\n[\s\S]*Traceback &lt;main&gt; &amp; so on/);
  const discord = body('discord').json;
  assert.deepEqual(discord.allowed_mentions, { parse: [] });
  assert.match(String(discord.content), /\\\*bold\\\*/);
  for (const filler of ['*', 'a*', '🌊', 'a🌊', 'x']) {
    const long = { ...MESSAGE, message: filler.repeat(3_000) };
    const content = String(body('discord', undefined, long).json.content);
    assert.ok(content.length <= 2_000 && content.length >= 1_950, `${filler} ${content.length}`);
    assert.doesNotMatch(content, /(^|[^\\])(\\\\)*\\…$|\p{Surrogate}/u);
  }
  // JSON to the root, the topic in the body.
  const ntfy = body('ntfy', 'https://user:pass@push.example.com/my%2Dtopic/?x=1');
  assert.equal(ntfy.url.href, 'https://user:pass@push.example.com/?x=1');
  const { title, message } = MESSAGE;
  assert.deepEqual(ntfy.json, { topic: 'my-topic', title, message, priority: 4, tags: ['warning'] });
  const long = { ...MESSAGE, message: 'ü'.repeat(5_000) };
  const cut = String(body('ntfy', 'https://ntfy.sh/t', long).json.message);
  assert.ok(Buffer.byteLength(cut) <= 4_000 && /^ü+…$/.test(cut));
});

test('answers of a URL: what is tried again, after how long, and what never works', () => {
  const kind = (status: number, retryAfter?: string) => {
    const it = judge(status, retryAfter);
    return it.kind === 'later' ? `later ${it.afterMs}` : it.kind;
  };
  for (const status of [200, 204]) assert.equal(kind(status), 'ok');
  for (const status of [301, 400, 401, 403, 404, 410]) assert.equal(kind(status), 'never');
  for (const status of [408, 425, 429, 500, 502, 503]) assert.equal(kind(status), 'later null');
  assert.equal(kind(429, '7'), 'later 7000');
  assert.equal(kind(429, '0.5'), 'later 500');
  assert.equal(kind(429, '999999'), 'later 3600000');
});

const supervisor = { pid: 1, startedAt: null, version: null, command: [], cwd: null };
const { tally: TALLY } = newRecord({ bot: null, supervisor, deafAfterMs: 1 }, 'gateway');
const look = (
  { tally, ...more }: Partial<Omit<Look, 'tally'>> & { tally?: Partial<Look['tally']> } = {},
  doc: Parameters<typeof sampleStatus>[0] = {},
): Look => ({
  ...{ doc: sampleStatus(doc), tally: { ...TALLY, ...tally }, unixMs: SAMPLE_NOW_MS },
  ...{ pollingMs: 0, hasRivalElsewhere: false },
  ...more,
});
const kinds = (before: Look, after: Look) => eventsBetween(before, after).map(({ kind }) => kind);
const RIVAL = { problems: [{ code: 'rival', message: 'a rival takes the poll', hint: 'stop it' }] };
const CONFLICT = { problems: [{ code: 'conflict', message: 'somebody else polls' }] };

describe('what has happened', () => {
  const polling = { ...look().doc.polling!, stolen: 12 };
  const changes: [string, Look, Look, string[], RegExp?][] = [
    ['nothing', look(), look(), []],
    [
      'counters that rise',
      look(),
      look({
        tally: {
          ...{ straysStopped: 1, lastStray: 'pid 9 (x)' },
          webhookSetAgain: 2,
          deafReplaced: 1,
          leasesLost: 1,
        },
      }),
      ['stray-stopped', 'webhook-set', 'deaf', 'lease-lost'],
      /^a stray poller was stopped: pid 9 \(x\)$/,
    ],
    ['updates: as many as are new', look(), look({}, { polling }), ['stolen'], /^3 updates probably taken/],
    ['a rival', look(), look({}, RIVAL), ['rival']],
    ['a rival that was told', look({}, RIVAL), look({}, RIVAL), []],
    ['a rival without a gateway', look({}, CONFLICT), look({ hasRivalElsewhere: true }, CONFLICT), ['rival']],
    ['a conflict', look(), look({}, CONFLICT), []],
    ['a rival that the end tells of', look(), look({}, { ...RIVAL, state: 'stopping' }), []],
    [
      "a lease that was another's",
      look(),
      look({ tally: { leasesTaken: 1, lastHolder: 'box-b:1' } }, { lease: sampleLease }),
      ['lease-taken'],
      /from box-b:1 \(epoch 7\)/,
    ],
  ];
  for (const [title, before, after, expected, words = /^/] of changes)
    test(title, () => {
      assert.deepEqual(kinds(before, after), expected);
      assert.match(eventsBetween(before, after)[0]?.text ?? '', words);
    });
  test('what is well', () => {
    const standby = (holder: string | null) =>
      look({}, { state: 'standby', lease: { ...sampleLease, mine: false, holder } });
    const well = [
      look(),
      look({}, { earlier: [{ code: 'webhook-set', message: 'of the past', at: '2026-01-01T00:00:00Z' }] }),
      look({}, { problems: [{ code: 'alerts', message: 'not delivered' }] }),
      standby('box-b:1'),
    ];
    const unwell = [
      look({}, RIVAL),
      look({}, CONFLICT),
      look({}, { problems: [{ code: 'webhook-set', message: 'a webhook is set' }] }),
      standby(null),
      ...(['starting', 'backoff', 'stopping', 'stopped'] as const).map((state) => look({}, { state })),
    ];
    assert.deepEqual(well.map(isWell), Array(well.length).fill(true));
    assert.deepEqual(unwell.map(isWell), Array(unwell.length).fill(false));
  });
  test('the end of a run', () => {
    const end = (code: number, reason: string, record: object = {}, isStray = false) => {
      const state = { ...initial, lastExit: { code: 3, signal: null, atMs: 0 } };
      const known = { crashLoop: null, overlap: null, state, ...record };
      const end = { code, reason };
      const { kind, text, lines } = eventOfEnd(end, false, known, () => isStray, ['last'], UNIX);
      return [kind, text, ...(lines ?? [])];
    };
    const crash = { crashLoop: { exits: 11, periodMs: 300_000 } };
    const crashed =
      '11 exits of the worker within 5 min, the last with code 3; singlepoll has given up (exit 1)';
    assert.deepEqual(end(1, 'crash loop', crash), ['crash-loop', crashed, 'last']);
    assert.deepEqual(end(75, 'it stays', {}, true), ['stray-back', 'it stays (exit 75)']);
    const overlap = { sinceMs: 0, kicks: 3, isRival: true };
    assert.deepEqual(end(75, 'a rival', { overlap }), ['rival', 'a rival (exit 75)']);
    assert.deepEqual(end(77, 'token refused'), ['ended', 'token refused (exit 77)']);
    const ended = 'the worker ended and is not started again (exit 3)';
    assert.deepEqual(end(3, 'the worker ended'), ['ended', ended, 'last']);
  });
});

test('the digest counts since the last one', () => {
  const DAY = 86_400_000;
  const since = {
    ...look({ tally: { straysStopped: 4, ends: { 'with code 1': 2 }, deafReplaced: 1 } }),
    unixMs: SAMPLE_NOW_MS - DAY,
  };
  const now = look(
    {
      tally: {
        ...{ straysStopped: 5, webhookSetAgain: 1, deafReplaced: 2 },
        ends: { 'with code 1': 4, 'by SIGKILL': 1, 'on request': 3 },
      },
    },
    {
      worker: { ...sampleStatus().worker!, restarts: 8 },
      polling: { ...since.doc.polling!, polls: 2_920, updates: 160, conflicts: { poller: 6, webhook: 1 } },
      alerts: { sent: 3, failed: 0, waiting: 0, lastError: null },
    },
  );
  const span = { fromMs: SAMPLE_NOW_MS - 3_600_000, untilMs: SAMPLE_NOW_MS - 2_880_000, times: 1 };
  const day: Summary = {
    ...{ fromMs: since.unixMs, untilMs: SAMPLE_NOW_MS, minutes: '' },
    ...{ notPolledMs: 720_000, polledMs: DAY - 720_000 },
    sums: { polled: 1_427, standby: 0, restart: 1, outage: 0, conflict: 0, gap: 12, unknown: 0 },
    spans: [{ ...span, state: 'gap', lastedMs: 720_000, cause: `crash ${FROM.secrets[0]}`, lasts: false }],
  };
  assert.deepEqual(digestMessage(since, now, () => day, FROM).message.split('\n'), [
    'in the last 24 h: polled 99.16 % of the time, supervisor up 3 h',
    'polls: 2880, updates: 153',
    'the last day by minutes: polled 23 h 47 min, restart 1 min, gap 12 min',
    `the longest trouble: gap of 12 min, Sat 11:00:00 to 11:12:00: crash ${maskText(FROM.secrets[0]!, FROM.secrets)}`,
    'restarts: 6 (workers: 2 ended with code 1, 2 ended on request, 1 ended by SIGKILL, 1 replaced as deaf)',
    'conflicts (409): 2 with another poller, 0 with a webhook',
    'strays stopped: 1',
    'webhook: set again 1 time, now none, 8 updates waiting',
    'problems now: none',
    'alerts since the start: 3 delivered, 0 failed',
    `singlepoll 1.2.3, Node ${process.version.slice(1)}`,
  ]);
  assert.match(digestMessage(since, now, () => day, FROM).title, /^daily digest: @my_bot on box$/);
});

describe('the time of the digest', () => {
  /** The moments of three days, looked at every minute. */
  const moments = (time: string, zone: string, from: string): string => {
    const startMs = Date.parse(`${from}Z`);
    const isDue = createDaily({ time, zone }, startMs);
    const found: string[] = [];
    for (let ms = startMs; ms < startMs + 3 * 86_400_000; ms += MINUTE)
      if (isDue(ms)) found.push(new Date(ms).toISOString().slice(5, 16));
    return found.join(' ');
  };
  for (const [title, time, zone, from, expected] of [
    ['today', '09:00', 'UTC', '2026-11-22T08:59', '11-22T09:00 11-23T09:00 11-24T09:00'],
    ['else tomorrow', '09:00', 'UTC', '2026-11-22T09:00', '11-23T09:00 11-24T09:00'],
    ['jump', '02:30', 'Europe/Berlin', '2026-03-28T00:00', '03-28T01:30 03-29T01:00 03-30T00:30'],
    ['twice: the first', '02:30', 'Europe/Berlin', '2026-10-24T00:00', '10-24T00:30 10-25T00:30 10-26T01:30'],
    ['no midnight', '00:00', 'Asia/Beirut', '2026-03-27T23:00', '03-28T22:00 03-29T21:00 03-30T21:00'],
  ] as const)
    test(title, () => assert.equal(moments(time, zone, from), expected));
  test('a clock that is set back tells no day again, a machine that slept tells the last one once', () => {
    const at = (text: string) => Date.parse(text);
    const isDue = createDaily({ time: '09:00', zone: 'UTC' }, at('2026-01-01T08:00Z'));
    const asked = ['01T09:00', '01T08:00', '01T09:00', '04T12:00', '04T12:01', '05T08:59'];
    const due = asked.filter((text) => isDue(at(`2026-01-${text}Z`)));
    assert.deepEqual(due, ['01T09:00', '04T12:00']);
  });
});
