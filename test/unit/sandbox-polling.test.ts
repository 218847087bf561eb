/**
 * getUpdates as the server does it, on a virtual clock: order of work, long poll, rapid repeats, who gets the 409 and when.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createArgs } from '../../src/gateway/params.ts';
import { type Answer, CONFLICT, createBot } from '../../src/sandbox/bot.ts';
import { manualClock } from '../support/manual-clock.ts';

const FIRST_ID = 500_000;
const WEBHOOK = 'https://a.example/';

function setup() {
  const clock = manualClock();
  const bot = createBot(clock, FIRST_ID);
  const startMs = clock.nowMs();
  const call = (method: string, params: Record<string, string | number> = {}) => {
    const made: Made = { answer: null, atMs: -1 };
    const texts = Object.entries(params).map(([name, value]) => [name, String(value)]);
    const isKnown = bot.call(method, createArgs(Object.fromEntries(texts)), (answer) => {
      assert.equal(made.answer, null, 'answered twice');
      made.answer = answer;
      made.atMs = clock.nowMs() - startMs;
    });
    assert.ok(isKnown);
    return made;
  };
  return {
    clock,
    bot,
    call,
    poll: (params: Record<string, string | number> = {}) => call('getUpdates', params),
    text: (name = 'x') => bot.push({ message: { text: name } }),
    pending: () => bot.state().pendingUpdates,
  };
}

type Made = { answer: Answer | null; atMs: number };

const ids = (made: Made) => {
  assert.equal(made.answer?.status, 200, JSON.stringify(made.answer));
  return made.answer?.delivered;
};
const description = (made: Made) => (made.answer?.body as { description?: string } | undefined)?.description;
const open = (made: Made) => made.answer === null;

describe('offset', () => {
  it('0 starts at the oldest and confirms nothing', () => {
    const { poll, text } = setup();
    const all = [text(), text()];
    assert.deepEqual(ids(poll()), all);
    assert.deepEqual(ids(poll({ offset: 0, limit: 50 })), [all[0]], 'limit 1: repeated within 0.5 s');
  });

  it('forgets every smaller id at once, even if this request ends in a 409', () => {
    const { poll, text, clock, pending } = setup();
    const [first, second] = [text(), text()];
    const waiting = poll({ offset: second + 1, timeout: 50 });
    assert.equal(pending(), 0);
    const newcomer = poll({ offset: second + 1, timeout: 40 });
    assert.equal(description(waiting), CONFLICT.poller);
    assert.ok(open(newcomer) && first < second);
    clock.advance(40_000);
    assert.deepEqual(ids(newcomer), []);
  });

  it('negative keeps the last n and forgets the rest', () => {
    const { poll, text, pending } = setup();
    const all = [text(), text(), text()];
    assert.deepEqual(ids(poll({ offset: -2 })), all.slice(1));
    assert.equal(pending(), 2);
    assert.deepEqual(ids(poll({ offset: -10 })), all.slice(1));
  });
});

describe('limit and timeout', () => {
  it('limit is clamped to 1…100', () => {
    const { poll, text } = setup();
    for (let i = 0; i < 120; i++) text();
    assert.equal(ids(poll({ limit: 1000 }))?.length, 100);
    assert.equal(ids(poll({ limit: 0, offset: -120 }))?.length, 1);
    assert.equal(ids(poll({ limit: -5, offset: -119 }))?.length, 1);
  });

  it('timeout is clamped to 0…50 s and ends with an empty list', () => {
    const { poll, clock } = setup();
    const long = poll({ timeout: 60 });
    clock.advance(49_999);
    assert.ok(open(long));
    clock.advance(1);
    assert.deepEqual(ids(long), []);
    assert.deepEqual(ids(poll({ timeout: -5, offset: 7 })), []);
  });
});

describe('long poll', () => {
  it('ends 1 ms after a new update, 2 ms after the first if more keep coming', () => {
    const { poll, text, clock } = setup();
    const one = poll({ timeout: 30 });
    const first = text();
    assert.ok(open(one));
    clock.advance(1);
    assert.deepEqual(ids(one), [first]);

    const two = poll({ offset: first + 1, timeout: 30 });
    const startMs = clock.nowMs();
    const second = text();
    clock.advance(0.9);
    const third = text();
    clock.advance(0.9);
    const fourth = text();
    clock.advance(0.3);
    assert.deepEqual(ids(two), [second, third, fourth]);
    assert.ok(clock.nowMs() - startMs < 2.2);
    assert.ok(two.atMs - 1 <= 2.0001, `answered after ${two.atMs - 1} ms`);
  });

  it('answers at once when updates wait, whatever the timeout', () => {
    const { poll, text } = setup();
    const id = text();
    const made = poll({ timeout: 50 });
    assert.deepEqual(ids(made), [id]);
  });
});

describe('rapid repeats, by anyone', () => {
  it('same offset, timeout below 3 s, within 3 s: becomes a 3 s long poll', () => {
    const { poll, clock } = setup();
    assert.deepEqual(ids(poll({ offset: 0 })), []);
    clock.advance(2999);
    const second = poll({ offset: 0, timeout: 2 });
    assert.ok(open(second));
    clock.advance(2999);
    assert.ok(open(second));
    clock.advance(1);
    assert.deepEqual(ids(second), []);
  });

  it('not after 3.0 s, not with another offset', () => {
    const { poll, clock } = setup();
    poll({ offset: 0 });
    clock.advance(3000);
    assert.deepEqual(ids(poll({ offset: 0 })), []);
    assert.deepEqual(ids(poll({ offset: -1 })), []);
  });

  it('same offset within 0.5 s: limit 1', () => {
    const { poll, text, clock } = setup();
    const all = [text(), text()];
    poll({ offset: 0 });
    clock.advance(499);
    assert.deepEqual(ids(poll({ offset: 0 })), [all[0]]);
    clock.advance(500);
    assert.deepEqual(ids(poll({ offset: 0 })), all);
  });

  it('a getUpdates refused because of a webhook does not count', () => {
    const { poll, call, clock } = setup();
    call('setWebhook', { url: WEBHOOK });
    clock.advance(10);
    poll();
    call('deleteWebhook');
    clock.advance(10);
    assert.deepEqual(ids(poll()), []);
  });
});

describe('conflict', () => {
  it('the waiting poll gets the 409, the newcomer waits', () => {
    const { poll, clock } = setup();
    const older = poll({ timeout: 30 });
    clock.advance(100);
    const newer = poll({ timeout: 30, offset: 1 });
    assert.equal(older.answer?.status, 409);
    assert.equal(description(older), CONFLICT.poller);
    assert.ok(open(newer));
  });

  it('a request that is answered at once disturbs nobody', () => {
    const { poll, clock } = setup();
    const waiting = poll({ timeout: 30 });
    clock.advance(3000);
    assert.deepEqual(ids(poll({ timeout: 0 })), []);
    assert.ok(open(waiting));
  });

  it('a timeout=0 request inside the 3 s rule does abort the waiting one', () => {
    const { poll, clock } = setup();
    const waiting = poll({ timeout: 30 });
    clock.advance(100);
    const quick = poll({ timeout: 0 });
    assert.equal(description(waiting), CONFLICT.poller);
    clock.advance(3000);
    assert.deepEqual(ids(quick), []);
  });

  it('a second conflict within 3 s of one sent at once is held for 3 s, and holding does not extend the window', () => {
    const { poll, clock } = setup();
    const [a, b] = [poll({ timeout: 30 }), poll({ timeout: 30 })];
    assert.equal(a.atMs, 0);
    clock.advance(1000);
    const c = poll({ timeout: 30 });
    assert.ok(open(b), 'held');
    clock.advance(1999);
    const d = poll({ timeout: 30 });
    assert.ok(open(c), 'held as well: 2.999 s after the immediate one');
    clock.advance(1);
    const e = poll({ timeout: 30 });
    assert.equal(description(d), CONFLICT.poller, 'at once again, 3.0 s after the immediate one');
    clock.advance(1000);
    assert.equal(b.atMs, 4000);
    clock.advance(2000);
    assert.equal(c.atMs, 5999);
    assert.ok(open(e));
  });

  it('a held request gets no updates', () => {
    const { poll, text, clock } = setup();
    poll({ timeout: 30 });
    const held = poll({ timeout: 30 });
    const holder = poll({ timeout: 30 });
    const id = text();
    clock.advance(1);
    assert.deepEqual(ids(holder), [id]);
    assert.ok(open(held));
    clock.advance(3000);
    assert.equal(description(held), CONFLICT.poller);
  });

  for (const [retryS, cycleMs] of [
    [0.25, 3500],
    [1, 5000],
    [2, 7000],
    [5, 10_000],
  ] as const)
    it(`two pollers retrying after ${retryS} s settle into a cycle of ${cycleMs} ms, one 409 each per cycle`, () => {
      const { bot, clock } = setup();
      const seen: Record<string, number[]> = { a: [], b: [] };
      const loop = (name: 'a' | 'b') => {
        bot.call('getUpdates', createArgs({ timeout: '30' }), (answer) => {
          assert.equal(answer.status, 409);
          seen[name]?.push(clock.nowMs());
          clock.after(retryS * 1000, () => loop(name));
        });
      };
      loop('a');
      clock.advance(40);
      loop('b');
      clock.advance(200_000);
      for (const times of Object.values(seen)) {
        const gaps = times.slice(3).map((atMs, i) => atMs - (times[i + 2] ?? 0));
        const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
        assert.ok(Math.abs(mean - cycleMs) < 120, `mean gap ${mean} ms`);
      }
    });
});

describe('webhook and polling', () => {
  it('refuses before anything else: offset and allowed_updates are not taken', () => {
    const { poll, call, text, pending } = setup();
    const id = text();
    call('setWebhook', { url: WEBHOOK });
    const during = poll({ offset: id + 1, allowed_updates: '["poll"]' });
    assert.equal(description(during), CONFLICT.webhookActive);
    assert.equal(pending(), 1);
    assert.notEqual(text(), 0, 'messages are still allowed');
  });

  it('alternates at once and after 3 s for a tight loop', () => {
    const { call, bot, clock } = setup();
    call('setWebhook', { url: WEBHOOK });
    clock.advance(10);
    const waits: number[] = [];
    const loop = (): void => {
      const startedMs = clock.nowMs();
      bot.call('getUpdates', createArgs({ timeout: '30' }), () => {
        waits.push(clock.nowMs() - startedMs);
        clock.after(10, loop);
      });
    };
    loop();
    clock.advance(20_000);
    assert.deepEqual(waits.slice(0, 6), [0, 3000, 0, 3000, 0, 3000]);
  });

  it('setWebhook ends a waiting poll, deleteWebhook does not', () => {
    const { poll, call, clock } = setup();
    const waiting = poll({ timeout: 30 });
    call('deleteWebhook');
    clock.advance(10);
    assert.ok(open(waiting));
    call('setWebhook', { url: '' });
    assert.ok(open(waiting), 'an empty url is a delete');
    call('deleteWebhook', { drop_pending_updates: '1' });
    assert.ok(open(waiting), 'not even one that empties the queue');
    call('setWebhook', { url: WEBHOOK });
    assert.equal(description(waiting), CONFLICT.setWebhook);
  });

  it('setWebhook ends it even if the url proves bad', () => {
    const { poll, call } = setup();
    const waiting = poll({ timeout: 30 });
    const set = call('setWebhook', { url: 'nonsense' });
    assert.equal(description(waiting), CONFLICT.setWebhook);
    assert.equal(description(set), 'Bad Request: invalid webhook URL specified');
  });

  it('the hold rule is shared by all conflict texts', () => {
    const { poll, call, clock } = setup();
    poll({ timeout: 30 });
    const second = poll({ timeout: 30 });
    call('setWebhook', { url: WEBHOOK });
    assert.ok(open(second));
    const third = poll();
    assert.ok(open(third));
    clock.advance(3000);
    assert.equal(description(second), CONFLICT.setWebhook);
    assert.equal(description(third), CONFLICT.webhookActive);
  });
});

describe('allowed_updates', () => {
  it('filters when updates are created, and is kept for later calls until it is changed', () => {
    const { poll, bot } = setup();
    const may = () => ['poll', 'message', 'chat_member'].filter((kind) => bot.push({ [kind]: {} }) !== 0);
    assert.deepEqual(may(), ['poll', 'message']);
    poll({ allowed_updates: '["poll","chat_member"]' });
    assert.deepEqual(may(), ['poll', 'chat_member']);
    for (const unchanged of ['', 'not json', '"message"', '["message",1]', '{}']) {
      poll({ offset: 5, allowed_updates: unchanged });
      assert.deepEqual(may(), ['poll', 'chat_member'], unchanged);
    }
    poll({ offset: 6, allowed_updates: '[]' });
    assert.deepEqual(may(), ['poll', 'message']);
  });
});

describe('the session', () => {
  it('revoked: the waiting poll is answered 200 with what there is, the next call is refused', () => {
    const { poll, bot, call } = setup();
    const waiting = poll({ timeout: 30 });
    bot.end('revoked');
    assert.deepEqual(ids(waiting), []);
    assert.equal(call('getMe').answer?.status, 401);
  });

  it('logOut empties the queue, drops the webhook, then refuses everything', () => {
    const { text, call, poll, pending } = setup();
    const waiting = poll({ timeout: 30 });
    text();
    assert.deepEqual(call('logOut').answer?.body, { ok: true, result: true });
    assert.deepEqual(ids(waiting), []);
    assert.equal(description(call('getMe')), 'Logged out');
    assert.equal(pending(), 0);
  });

  it('shutdown: polls get 200, held conflicts 429 retry after 5, and nothing keeps waiting', () => {
    const { bot, poll, clock } = setup();
    poll({ timeout: 30 });
    const held = poll({ timeout: 30 });
    const waiting = poll({ timeout: 30 });
    bot.end('shutdown');
    assert.deepEqual(ids(waiting), []);
    assert.equal(held.answer?.status, 429);
    assert.equal(held.answer?.retryAfter, 5);
    assert.equal(clock.pending(), 0);
  });
});
