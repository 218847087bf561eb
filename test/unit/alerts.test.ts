/** What becomes an alert and when, its text and bodies, and its way to one place: all with times that are given. */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { createDaily } from '../../src/alerts/daily.ts';
import { judge } from '../../src/alerts/deliver.ts';
import { eventsBetween, isWell, type Look, type Tally } from '../../src/alerts/events.ts';
import { postOf } from '../../src/alerts/formats.ts';
import {
  ALERT_KINDS,
  type Alert,
  type AlertEvent,
  type AlertKind,
  createAlertGate,
} from '../../src/alerts/gate.ts';
import { alertMessage, digestMessage, type Message } from '../../src/alerts/message.ts';
import { createQueue, type Delivery, GIVE_UP_AFTER_MS, WAITING_MAX } from '../../src/alerts/queue.ts';
import type { AlertPreset } from '../../src/config/targets.ts';
import { createRandom } from '../simulation/random.ts';
import { SAMPLE_NOW_MS, sampleLease, sampleStatus } from '../support/status-sample.ts';

/** Kinds that are over when they are told: nothing is to be recovered from. */
const NEWS: readonly string[] = ['stray-stopped', 'stolen', 'lease-taken'];
const MINUTE = 60_000;
const COOLDOWN_MS = 15 * MINUTE;
const UNIX = 1_700_000_000_000;

const event = (kind: AlertKind, text = `${kind} happened`): AlertEvent => ({
  ...{ kind, text, hint: null, lines: [], atMs: UNIX },
});

function story(saved: unknown = null, nowMs = UNIX) {
  const gate = createAlertGate(COOLDOWN_MS, JSON.parse(JSON.stringify(saved)), nowMs);
  return {
    at(atMs: number, well: boolean, ...kinds: AlertKind[]): string[] {
      const events = kinds.map((it) => event(it));
      const out = gate.step(UNIX + atMs, events, well);
      return out.map(({ kind, more }) => (more > 0 ? `${kind}+${more}` : kind));
    },
    dueMs: () => (gate.dueMs() === null ? null : gate.dueMs()! - UNIX),
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
    lines: ['Traceback <main> & so on', `token is ${TOKEN}`, '*bold* \u001b[31m @everyone'],
    atMs: SAMPLE_NOW_MS,
    more: 2,
    moreInMs: 720_000,
    over: [],
  },
  FROM,
);
describe('cooldown and grouping', () => {
  test('the first goes out at once, more of the same are told together at the end of the cooldown', () => {
    const it = story();
    assert.deepEqual(it.at(0, true, 'stray-stopped'), ['stray-stopped']);
    assert.equal(it.dueMs(), null);
    for (const at of [1, 2, 3, 4]) assert.deepEqual(it.at(at * MINUTE, true, 'stray-stopped'), []);
    assert.equal(it.dueMs(), 15 * MINUTE);
    assert.deepEqual(it.at(15 * MINUTE - 1, true), []);
    assert.deepEqual(it.at(15 * MINUTE, true), ['stray-stopped+3']);
    assert.deepEqual(it.at(40 * MINUTE, true, 'stray-stopped'), ['stray-stopped']);
  });
  test('the text is that of the latest, and says within how long the others came', () => {
    const { gate } = story();
    const out: Alert[] = [];
    for (const [at, text] of [
      [0, 'first'],
      [3, 'second'],
      [5, 'third'],
      [15, null],
    ] as const)
      out.push(...gate.step(UNIX + at * MINUTE, text === null ? [] : [event('deaf', text)], false));
    assert.deepEqual([out[1]?.text, out[1]?.more, out[1]?.moreInMs], ['third', 1, 12 * MINUTE]);
  });
  test('kinds do not hold each other up', () => {
    const it = story();
    assert.deepEqual(it.at(0, true, 'deaf', 'webhook-set'), ['deaf', 'webhook-set']);
    assert.deepEqual(it.at(1, true, 'rival', 'deaf'), ['rival']);
  });
});

describe('recovered', () => {
  test('once, when all has been well for the settle time after an alerted problem', () => {
    const it = story();
    assert.deepEqual(it.at(0, false, 'rival'), ['rival']);
    assert.equal(it.dueMs(), null, 'nothing to wait for while it lasts');
    assert.deepEqual(it.at(60_000, true), []);
    assert.equal(it.dueMs(), 70_000);
    assert.deepEqual(it.at(69_999, true), []);
    assert.deepEqual(it.at(70_000, true), ['recovered']);
    assert.deepEqual(it.at(200_000, true), []);
  });
  test('a new problem and a moment that is not well begin the wait anew', () => {
    const it = story();
    it.at(0, true, 'webhook-set');
    it.at(5_000, false);
    it.at(6_000, true);
    assert.deepEqual(it.at(12_000, true, 'webhook-set'), []);
    assert.deepEqual(it.at(16_000, true), []);
    assert.deepEqual(it.at(26_000, true), ['recovered']);
  });
  test('not after what is no problem', () => {
    const it = story();
    it.at(0, true, 'stray-stopped', 'lease-taken');
    assert.deepEqual(it.at(60_000, true), []);
  });
  test('what is told late and was well since then is not followed by one', () => {
    const it = story();
    it.at(0, true, 'webhook-set');
    assert.deepEqual(it.at(10_000, true), []);
    assert.deepEqual(it.at(20_000, true), ['recovered']);
    it.at(30_000, true, 'webhook-set');
    it.at(31_000, true);
    assert.deepEqual(it.at(15 * MINUTE, true), ['webhook-set']);
    assert.deepEqual(it.at(60 * MINUTE, true), []);
  });
});

describe('across runs', () => {
  test('a run that is started again does not tell the same, but counts it; and tells that all is well', () => {
    const first = story();
    assert.deepEqual(first.at(0, false, 'stray-back'), ['stray-back']);
    const second = story(first.gate.saved(), UNIX + MINUTE);
    assert.deepEqual(second.at(MINUTE, false, 'stray-back'), []);
    const third = story(second.gate.saved(), UNIX + 20 * MINUTE);
    assert.deepEqual(third.at(20 * MINUTE, false, 'stray-back'), ['stray-back+1']);
    third.at(21 * MINUTE, true);
    assert.deepEqual(third.at(22 * MINUTE, true), ['recovered']);
  });
  test('what a file may hold', () => {
    const empty = story().gate.saved();
    for (const saved of [
      ...[null, 1, 'x', [], { kinds: 3, owed: [] }],
      { kinds: { rival: { sentAt: 'x', held: -1 } }, owed: { kinds: ['x'], since: UNIX } },
      // The clock was set back.
      { kinds: { rival: { sentAt: UNIX + 1e9, held: 0 } }, owed: null },
    ])
      assert.deepEqual(story(saved).gate.saved(), empty);
  });
});

test('seeded histories: none within the cooldown, none lost uncounted, recovered only after its problem, no spinning', () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = createRandom(seed);
    const { gate } = story();
    let nowMs = UNIX;
    let [happened, told, open] = [0, 0, false];
    const last = new Map<AlertKind, number>();
    for (let step = 0; step < 200; step++) {
      const dueMs = gate.dueMs();
      const later = nowMs + random.int(0, 5 * MINUTE);
      nowMs = dueMs !== null && random.chance(0.4) ? Math.max(nowMs, dueMs) : later;
      const list = Array.from({ length: random.chance(0.5) ? 0 : random.int(1, 3) }, () =>
        event(random.pick(ALERT_KINDS.filter((it) => it !== 'recovered'))),
      );
      happened += list.length;
      const well = random.chance(0.6);
      for (const { kind, more } of gate.step(nowMs, list, well)) {
        const label = `seed ${seed}, step ${step}, ${kind}`;
        assert.ok(nowMs - (last.get(kind) ?? 0) >= COOLDOWN_MS, label);
        last.set(kind, nowMs);
        if (kind === 'recovered')
          assert.ok(open && well && list.every((it) => NEWS.includes(it.kind)), label);
        else told += 1 + more;
        open = kind === 'recovered' ? false : open || !NEWS.includes(kind);
      }
      const { kinds } = gate.saved() as { kinds: Record<string, { held: number }> };
      const held = Object.values(kinds).reduce((sum, it) => sum + it.held, 0);
      assert.equal(happened, told + held, `seed ${seed}, step ${step}`);
      assert.ok((gate.dueMs() ?? Number.POSITIVE_INFINITY) > nowMs, 'no spinning');
    }
  }
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
    const queue = createQueue(
      place,
      { line: () => {} },
      () => {},
      () => nowMs,
    );
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
      pass(ms: number) {
        nowMs += ms;
        t.mock.timers.tick(ms);
      },
    };
  };

  test('waits double up to 5 min, and end after an hour', async (t) => {
    const it = bench(t);
    it.post(1);
    const waits: number[] = [];
    while (it.isSending()) {
      await it.answer(LATER);
      const before = it.tried.length;
      let waited = 0;
      for (; it.tried.length === before && it.queue.counts().waiting > 0; waited += 1) it.pass(1_000);
      waits.push(waited);
    }
    assert.deepEqual(waits.slice(0, 11), [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    const wholeMs = waits.reduce((sum, wait) => sum + wait * 1_000, 0);
    assert.equal(wholeMs, GIVE_UP_AFTER_MS);
    const { failed, waiting, lastError } = it.queue.counts();
    assert.deepEqual([failed, waiting, lastError], [1, 0, 'there: HTTP 500']);
  });
  test('a pause that is asked for is kept, also in a hurry; another wait is not', async (t) => {
    for (const [afterMs, tries] of [
      [5_000, 1],
      [null, 2],
    ] as const) {
      const it = bench(t);
      it.post(1);
      await it.answer({ kind: 'later', error: '429', afterMs });
      it.queue.hurry();
      assert.equal(it.tried.length, tries);
      assert.equal(it.queue.isPending(4_000), tries === 2);
      assert.equal(it.queue.isPending(6_000), true);
    }
  });
  test('what is refused for good makes room for the next, and is a problem until one is delivered', async (t) => {
    const it = bench(t);
    it.post(1);
    it.post(2);
    await it.answer({ kind: 'never', error: '403' });
    assert.deepEqual([it.tried.length, it.queue.counts().isFailing], [2, true]);
    await it.answer({ kind: 'ok' });
    assert.deepEqual([it.queue.counts().sent, it.queue.counts().isFailing], [1, false]);
    it.post(3);
    for (let tries = 0; tries < 3; tries += 1) {
      assert.equal(it.queue.counts().isFailing, false, 'only tries in a row are a problem');
      await it.answer(LATER);
      it.pass(10_000);
    }
    assert.equal(it.queue.counts().isFailing, true);
  });
  test('seeded: in order, bounded, every message is sent, failed or waiting', async (t) => {
    for (let seed = 1; seed <= 30; seed++) {
      const random = createRandom(seed);
      const it = bench(t);
      let made = 0;
      for (let step = 0; step < 200; step++) {
        if (random.chance(0.4)) it.post(made++);
        if (it.isSending() && random.chance(0.5)) {
          const afterMs = random.chance(0.2) ? random.int(0, 100_000) : null;
          const kinds: Delivery[] = [{ kind: 'ok' }, { ...LATER, afterMs }, { kind: 'never', error: 'y' }];
          await it.answer(random.pick(kinds));
        } else it.pass(random.int(0, 30_000));
        const { sent, failed, waiting } = it.queue.counts();
        assert.equal(made, sent + failed + waiting, `seed ${seed}, step ${step}`);
        assert.ok(waiting <= WAITING_MAX);
      }
      const order = [...it.tried].sort((a, b) => a - b);
      assert.deepEqual(it.tried, order);
    }
  });
});

const body = (format: AlertPreset, url = 'https://example.com/hook', message: Message = MESSAGE) => {
  const post = postOf(message, { url, format });
  return { ...post, json: JSON.parse(post.body) as Record<string, unknown> };
};

describe('text', () => {
  test('what, when, how often, the last lines, the next command; no token and nothing that steers a terminal', () => {
    assert.equal(MESSAGE.title, 'crash loop: @my_bot on box');
    assert.deepEqual(MESSAGE.message.split('\n'), [
      '11 exits of the worker within 5 min; singlepoll has given up (exit 1)',
      'at 2026-11-21 12:00:00 UTC',
      'and 2 times more in the last 12 min',
      'its last lines:',
      '| Traceback <main> & so on',
      '| token is 123456:…',
      '| *bold* \\e[31m @everyone',
      'next: singlepoll start',
    ]);
  });
});

describe('bodies', () => {
  test('json has every part', () => {
    const { json } = body('json');
    assert.deepEqual(json, { ...MESSAGE, text: `${MESSAGE.title}\n${MESSAGE.message}` });
  });
  test('slack: text with three entities, no markup', () => {
    const { json } = body('slack');
    assert.equal(json.mrkdwn, false);
    assert.match(String(json.text), /^crash loop: @my_bot on box\n[\s\S]*Traceback &lt;main&gt; &amp; so on/);
  });
  test('discord: at most 2000 characters, pings nobody, markdown escaped', () => {
    const { json } = body('discord');
    assert.deepEqual(json.allowed_mentions, { parse: [] });
    assert.match(String(json.content), /\\\*bold\\\*/);
    for (const [filler, units] of [
      ['*', 2],
      ['🌊', 2],
      ['x', 1],
    ] as const)
      for (const shift of ['', 'a']) {
        const long = { ...MESSAGE, message: shift + filler.repeat(3_000) };
        const content = String(body('discord', undefined, long).json.content);
        assert.ok(content.length <= 2_000 && content.length >= 1_999 - units, `${filler} ${content.length}`);
        assert.doesNotMatch(content, /(^|[^\\])(\\\\)*\\…$/);
        assert.doesNotMatch(content, /\p{Surrogate}/u);
      }
  });
  test('ntfy: JSON to the root, the topic in the body', () => {
    const { json, url } = body('ntfy', 'https://user:pass@push.example.com/my%2Dtopic/?x=1');
    assert.equal(url.href, 'https://user:pass@push.example.com/?x=1');
    assert.equal(json.topic, 'my-topic');
    assert.equal(json.title, MESSAGE.title);
    assert.equal(json.message, MESSAGE.message);
    assert.deepEqual([json.priority, json.tags], [4, ['warning']]);
    const long = { ...MESSAGE, message: 'ü'.repeat(5_000) };
    const cut = String(body('ntfy', 'https://ntfy.sh/t', long).json.message);
    assert.ok(Buffer.byteLength(cut) <= 4_000 && /^ü+…$/.test(cut));
  });
});

test('answers of a URL: what is tried again, after how long, and what never works', () => {
  const kind = (status: number, text = '', retryAfter: string | null = null) => {
    const it = judge(status, text, retryAfter);
    return it.kind === 'later' ? `later ${it.afterMs}` : it.kind;
  };
  assert.deepEqual(
    [200, 204].map((it) => kind(it)),
    ['ok', 'ok'],
  );
  assert.deepEqual(
    [301, 400, 401, 403, 404, 410].map((it) => kind(it)),
    Array(6).fill('never'),
  );
  assert.deepEqual(
    [408, 425, 429, 500, 502, 503].map((it) => kind(it)),
    Array(6).fill('later null'),
  );
  assert.equal(kind(429, '', '7'), 'later 7000');
  assert.equal(kind(429, '{"retry_after": 0.5}'), 'later 500');
  assert.equal(kind(429, '', '999999'), 'later 3600000');
});

const TALLY: Tally = {
  ...{
    straysStopped: 0,
    webhooksCleared: 0,
    webhookSetAgain: 0,
    deafReplaced: 0,
    leasesTaken: 0,
    leasesLost: 0,
    ends: {},
    pollingMs: 0,
  },
  ...{
    lastStray: null,
    lastWebhook: null,
    lastLeaseLoss: null,
    lastHolder: null,
    contested: false,
    rivalElsewhere: false,
  },
};
const look = (tally: Partial<Tally> = {}, doc: Parameters<typeof sampleStatus>[0] = {}): Look => ({
  doc: sampleStatus(doc),
  tally: { ...TALLY, ...tally },
  unixMs: SAMPLE_NOW_MS,
});
const kinds = (before: Look, after: Look) => eventsBetween(before, after).map(({ kind }) => kind);
const RIVAL = {
  problems: [{ code: 'rival', message: 'a rival takes the poll: 3 conflicts', hint: 'stop it' }],
};
const CONFLICT = { problems: [{ code: 'conflict', message: 'somebody else polls' }] };

describe('what has happened', () => {
  test('nothing', () => assert.deepEqual(kinds(look(), look({ pollingMs: 5 })), []));
  test('counters that rise', () => {
    const after = look({
      straysStopped: 1,
      webhookSetAgain: 2,
      deafReplaced: 1,
      leasesLost: 1,
      lastStray: 'pid 9 (x)',
    });
    assert.deepEqual(kinds(look(), after), ['stray-stopped', 'webhook-set', 'deaf', 'lease-lost']);
    assert.match(eventsBetween(look(), after)[0]?.text ?? '', /^a stray poller was stopped: pid 9 \(x\)$/);
  });
  test('updates that somebody else has taken: as many as are new', () => {
    const polling = { ...look().doc.polling!, stolen: 12 };
    assert.deepEqual(kinds(look(), look()), []);
    assert.match(
      eventsBetween(look(), look({}, { polling }))[0]?.text ?? '',
      /^3 updates were probably taken/,
    );
  });
  test('a rival: once, also without a gateway; not where the end tells of it', () => {
    assert.deepEqual(kinds(look(), look({}, RIVAL)), ['rival']);
    assert.deepEqual(kinds(look({}, RIVAL), look({}, RIVAL)), []);
    assert.deepEqual(kinds(look({}, CONFLICT), look({ rivalElsewhere: true }, CONFLICT)), ['rival']);
    assert.deepEqual(kinds(look(), look({}, CONFLICT)), []);
    assert.deepEqual(kinds(look(), look({}, { ...RIVAL, state: 'stopping' })), []);
  });
  test("a lease that was another's", () => {
    const taken = look({ leasesTaken: 1, lastHolder: 'box-b:1' }, { lease: sampleLease });
    assert.deepEqual(kinds(look(), taken), ['lease-taken']);
    assert.match(eventsBetween(look(), taken)[0]?.text ?? '', /from box-b:1 \(epoch 7\)/);
  });
  test('what is well', () => {
    assert.equal(isWell(look()), true);
    assert.equal(isWell(look({}, { problems: [{ code: 'webhook-set', message: 'of the past' }] })), true);
    assert.equal(isWell(look({}, { problems: [{ code: 'alerts', message: 'not delivered' }] })), true);
    assert.equal(isWell(look({}, RIVAL)), false);
    assert.equal(isWell(look({ contested: true })), false);
    assert.equal(
      isWell(look({}, { webhook: { url: 'https://x', pendingUpdates: 0, lastError: null } })),
      false,
    );
    for (const state of ['starting', 'backoff', 'stopping', 'stopped'] as const)
      assert.equal(isWell(look({}, { state })), false);
    assert.equal(isWell(look({}, { state: 'standby', lease: { ...sampleLease, mine: false } })), true);
    assert.equal(
      isWell(look({}, { state: 'standby', lease: { ...sampleLease, mine: false, holder: null } })),
      false,
    );
  });
});

test('the digest counts since the last one', () => {
  const DAY = 86_400_000;
  const since = {
    ...look({ straysStopped: 4, ends: { 'with code 1': 2 }, pollingMs: 1_000, deafReplaced: 1 }),
    unixMs: SAMPLE_NOW_MS - DAY,
  };
  const now = look(
    {
      ...{ straysStopped: 5, webhookSetAgain: 1, deafReplaced: 2, pollingMs: DAY - 60_000 },
      ends: { 'with code 1': 4, 'by SIGKILL': 1, 'on request': 3 },
    },
    {
      worker: { ...sampleStatus().worker!, restarts: 8 },
      polling: {
        ...sampleStatus().polling!,
        polls: 2_920,
        updates: 160,
        conflicts: { poller: 6, webhook: 1 },
      },
      alerts: { sent: 3, failed: 0, waiting: 0, lastError: null },
    },
  );
  assert.deepEqual(digestMessage(since, now, FROM).message.split('\n'), [
    'in the last 24 h: polled 99.92 % of the time, supervisor up 3 h',
    'polls: 2880, updates: 153',
    'restarts: 6 (workers: 2 ended with code 1, 2 ended on request, 1 ended by SIGKILL, 1 replaced as deaf)',
    'conflicts (409): 2 with another poller, 0 with a webhook',
    'strays stopped: 1',
    'webhook: set again 1 time, now none, 8 updates waiting',
    'problems now: none',
    'alerts since the start: 3 delivered, 0 failed',
    `singlepoll 1.2.3, Node ${process.version.slice(1)}`,
  ]);
  assert.match(digestMessage(since, now, FROM).title, /^daily digest: @my_bot on box$/);
});

describe('the time of the digest', () => {
  /** The moments of three days, looked at every minute. */
  const moments = (time: string, zone: string, from: string): string => {
    const [hour = 0, minute = 0] = time.split(':').map(Number);
    const startMs = Date.parse(`${from}Z`);
    const isDue = createDaily({ hour, minute, zone }, startMs);
    const found: string[] = [];
    for (let ms = startMs; ms < startMs + 3 * 86_400_000; ms += MINUTE)
      if (isDue(ms)) found.push(new Date(ms).toISOString().slice(5, 16));
    return found.join(' ');
  };
  for (const [title, time, zone, from, expected] of [
    [
      'today where it is still to come',
      '09:00',
      'UTC',
      '2026-11-22T08:59',
      '11-22T09:00 11-23T09:00 11-24T09:00',
    ],
    ['else tomorrow', '09:00', 'UTC', '2026-11-22T09:00', '11-23T09:00 11-24T09:00'],
    ['midnight', '00:00', 'Asia/Tokyo', '2026-11-22T14:00', '11-22T15:00 11-23T15:00 11-24T15:00'],
    [
      'skipped: at the jump',
      '02:30',
      'Europe/Berlin',
      '2026-03-28T00:00',
      '03-28T01:30 03-29T01:00 03-30T00:30',
    ],
    ['twice: the first', '02:30', 'Europe/Berlin', '2026-10-24T00:00', '10-24T00:30 10-25T00:30 10-26T01:30'],
    [
      'half an hour',
      '02:15',
      'Australia/Lord_Howe',
      '2026-10-02T16:00',
      '10-03T15:30 10-04T15:15 10-05T15:15',
    ],
    ['no midnight', '00:00', 'Asia/Beirut', '2026-03-27T23:00', '03-28T22:00 03-29T21:00 03-30T21:00'],
    ['no such day', '12:00', 'Pacific/Apia', '2011-12-28T23:00', '12-29T22:00 12-30T22:00 12-31T22:00'],
  ] as const)
    test(title, () => assert.equal(moments(time, zone, from), expected));
  test('a clock that is set back tells no day again, a machine that slept tells the last one once', () => {
    const at = (text: string) => Date.parse(text);
    const isDue = createDaily({ hour: 9, minute: 0, zone: 'UTC' }, at('2026-01-01T08:00Z'));
    const asked = ['01T09:00', '01T08:00', '01T09:00', '04T12:00', '04T12:01', '05T08:59'];
    assert.deepEqual(
      asked.map((text) => isDue(at(`2026-01-${text}Z`))),
      [true, false, false, true, false, false],
    );
  });
});
