/**
 * getUpdates as the server does it, on a virtual clock: order of work, long poll, rapid repeats, who gets the 409 and when.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createArgs } from '../../src/gateway/params.ts';
import type { Answer } from '../../src/sandbox/answer.ts';
import { CONFLICT, createBot } from '../../src/sandbox/bot.ts';
import { manualClock } from '../support/manual-clock.ts';

const FIRST_ID = 500_000;

function setup() {
  const clock = manualClock();
  const bot = createBot({ clock, firstUpdateId: FIRST_ID, webhookStepMs: 2 });
  const startMs = clock.nowMs();
  const call = (act: (reply: (answer: Answer) => void) => void) => {
    const made: { answer: Answer | null; atMs: number } = { answer: null, atMs: -1 };
    act((answer) => {
      assert.equal(made.answer, null, 'answered twice');
      made.answer = answer;
      made.atMs = clock.nowMs() - startMs;
    });
    return made;
  };
  const poll = (params: Record<string, string | number> = {}) => {
    const args = createArgs(Object.fromEntries(Object.entries(params).map(([k, v]) => [k, String(v)])));
    return call((reply) => bot.getUpdates(args, reply));
  };
  const webhook = (method: 'setwebhook' | 'deletewebhook', params: Record<string, string> = {}) =>
    call((reply) => bot.setWebhook(method, createArgs(params), reply));
  const text = (name = 'x') => bot.push({ message: { text: name } });
  return { clock, bot, poll, webhook, text, call };
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
    const { poll, text, clock, bot } = setup();
    const [first, second] = [text(), text()];
    const waiting = poll({ offset: second + 1, timeout: 50 });
    assert.equal(bot.pendingCount(), 0);
    const newcomer = poll({ offset: second + 1, timeout: 40 });
    assert.equal(description(waiting), CONFLICT.poller);
    assert.ok(open(newcomer) && first < second);
    clock.advance(40_000);
    assert.deepEqual(ids(newcomer), []);
  });

  it('negative keeps the last n and forgets the rest', () => {
    const { poll, text, bot } = setup();
    const all = [text(), text(), text()];
    assert.deepEqual(ids(poll({ offset: -2 })), all.slice(1));
    assert.equal(bot.pendingCount(), 2);
    assert.deepEqual(ids(poll({ offset: -10 })), all.slice(1));
  });

  it('up to 10 past the next id is taken as given, more counts as the oldest', () => {
    const { poll, text, bot } = setup();
    const first = text();
    assert.deepEqual(ids(poll({ offset: first + 12 })), [first], 'next id is first + 1: 11 past it');
    assert.equal(bot.pendingCount(), 1);
    assert.deepEqual(ids(poll({ offset: first + 11 })), []);
    assert.equal(bot.pendingCount(), 0);
  });

  it('far before the oldest counts as the oldest', () => {
    const { poll, text } = setup();
    const first = text();
    assert.deepEqual(ids(poll({ offset: 1 })), [first]);
  });

  it('a waiting poll a few ids ahead forgets what arrives below its offset', () => {
    const { poll, text, clock, bot } = setup();
    const ahead = poll({ offset: FIRST_ID + 3, timeout: 10 });
    text();
    clock.advance(5);
    assert.deepEqual(ids(ahead), []);
    assert.equal(bot.pendingCount(), 0);
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
    assert.equal(long.answer?.waited, true);
    assert.deepEqual(ids(poll({ timeout: -5, offset: 7 })), []);
  });

  it('an answer stops at 4 MiB and the rest stays', () => {
    const { poll, bot } = setup();
    for (let i = 0; i < 5; i++) bot.push({ message: { text: 'x'.repeat(1_000_000) } });
    assert.equal(ids(poll())?.length, 4);
    assert.equal(bot.pendingCount(), 5);
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
    assert.equal(made.answer?.waited, false);
  });

  it('applies its limit when it ends', () => {
    const { poll, text, clock } = setup();
    const made = poll({ timeout: 5, limit: 1 });
    const first = text();
    text();
    clock.advance(5);
    assert.deepEqual(ids(made), [first]);
  });

  it('keeps an update until an offset passes it: delivery is at least once', () => {
    const { poll, text, clock } = setup();
    const lost = poll({ timeout: 30 });
    const id = text();
    clock.advance(2);
    assert.deepEqual(ids(lost), [id], 'answered, though its client may be dead');
    assert.deepEqual(ids(poll({ timeout: 30 })), [id]);
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

  it('compares the raw offset, so absent and 0 are the same', () => {
    const { poll } = setup();
    poll();
    assert.ok(open(poll({ offset: 0 })));
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

  it('counts the first request although it was answered with updates', () => {
    const { poll, text, clock } = setup();
    const id = text();
    assert.deepEqual(ids(poll({ offset: id + 1 })), []);
    clock.advance(600);
    assert.ok(open(poll({ offset: id + 1 })));
  });

  it('a getUpdates refused because of a webhook does not count', () => {
    const { poll, webhook, clock } = setup();
    webhook('setwebhook', { url: 'https://a.example/' });
    clock.advance(10);
    poll();
    webhook('deletewebhook');
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
    assert.equal(b.answer?.waited, true);
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
        bot.getUpdates(createArgs({ timeout: '30' }), (answer) => {
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
    const { poll, webhook, text, clock, bot } = setup();
    const id = text();
    webhook('setwebhook', { url: 'https://a.example/' });
    const during = poll({ offset: id + 1, allowed_updates: '["poll"]' });
    assert.equal(description(during), CONFLICT.webhookActive);
    assert.equal(bot.pendingCount(), 1);
    assert.notEqual(text(), 0, 'messages are still allowed');
    clock.advance(10);
    assert.ok(!('allowed_updates' in bot.webhookInfo()));
  });

  it('alternates at once and after 3 s for a tight loop', () => {
    const { webhook, bot, clock } = setup();
    webhook('setwebhook', { url: 'https://a.example/' });
    clock.advance(10);
    const waits: number[] = [];
    const loop = (): void => {
      const startedMs = clock.nowMs();
      bot.getUpdates(createArgs({ timeout: '30' }), () => {
        waits.push(clock.nowMs() - startedMs);
        clock.after(10, loop);
      });
    };
    loop();
    clock.advance(20_000);
    assert.deepEqual(waits.slice(0, 6), [0, 3000, 0, 3000, 0, 3000]);
  });

  it('setWebhook ends a waiting poll, deleteWebhook does not', () => {
    const { poll, webhook, clock } = setup();
    const waiting = poll({ timeout: 30 });
    webhook('deletewebhook');
    clock.advance(10);
    assert.ok(open(waiting));
    webhook('setwebhook', { url: '' });
    assert.ok(open(waiting), 'an empty url is a delete');
    webhook('deletewebhook', { drop_pending_updates: '1' });
    assert.ok(open(waiting), 'not even one that empties the queue');
    webhook('setwebhook', { url: 'https://a.example/' });
    assert.equal(description(waiting), CONFLICT.setWebhook);
  });

  it('setWebhook ends it even if the url proves bad', () => {
    const { poll, webhook } = setup();
    const waiting = poll({ timeout: 30 });
    const set = webhook('setwebhook', { url: 'ftp://a.example/' });
    assert.equal(description(waiting), CONFLICT.setWebhook);
    assert.equal(description(set), 'Bad Request: invalid webhook URL specified');
  });

  it('the hold rule is shared by all conflict texts', () => {
    const { poll, webhook, clock } = setup();
    poll({ timeout: 30 });
    const second = poll({ timeout: 30 });
    webhook('setwebhook', { url: 'https://a.example/' });
    assert.ok(open(second));
    const third = poll();
    assert.ok(open(third));
    clock.advance(3000);
    assert.equal(description(second), CONFLICT.setWebhook);
    assert.equal(description(third), CONFLICT.webhookActive);
  });
});

describe('allowed_updates', () => {
  const all = '["message","chat_member","poll"]';

  it('filters when updates are created and is kept for later calls', () => {
    const { poll, bot } = setup();
    assert.equal(bot.push({ chat_member: {} }), 0, 'not by default');
    assert.equal(bot.push({ message_reaction: {} }), 0);
    assert.equal(bot.push({ message_reaction_count: {} }), 0);
    poll({ allowed_updates: all });
    assert.notEqual(bot.push({ chat_member: {} }), 0);
    assert.equal(bot.push({ edited_message: {} }), 0);
    poll({ offset: 5 });
    assert.equal(bot.push({ edited_message: {} }), 0, 'absent: unchanged');
    assert.deepEqual((bot.webhookInfo() as { allowed_updates?: string[] }).allowed_updates, [
      'message',
      'chat_member',
      'poll',
    ]);
  });

  for (const [text, change] of [
    ['[]', 'default'],
    ['["nonsense"]', 'default'],
    ['["MESSAGE","chat_Member"]', 'given'],
    ['not json', 'unchanged'],
    ['"message"', 'unchanged'],
    ['["message",1]', 'unchanged'],
    ['{}', 'unchanged'],
  ] as const)
    it(`${text} means ${change}`, () => {
      const { poll, bot } = setup();
      poll({ allowed_updates: '["poll"]' });
      poll({ offset: 1, allowed_updates: text });
      const may = (update: object) => bot.push(update) !== 0;
      const seen = [may({ poll: {} }), may({ message: {} }), may({ chat_member: {} })];
      const expected = {
        default: [true, true, false],
        given: [false, true, true],
        unchanged: [true, false, false],
      };
      assert.deepEqual(seen, expected[change]);
    });
});

describe('queue', () => {
  it('numbers updates in a row, jumps to a wanted id, and never back', () => {
    const { bot, text } = setup();
    assert.equal(text(), FIRST_ID);
    assert.equal(text(), FIRST_ID + 1);
    assert.equal(bot.push({ update_id: FIRST_ID + 50, message: {} }), FIRST_ID + 50);
    assert.equal(bot.push({ update_id: 3, message: {} }), FIRST_ID + 51);
  });

  it('drops messages after 24 h, inline queries after 30 s', () => {
    const { bot, clock, text } = setup();
    text();
    bot.push({ inline_query: {} });
    clock.advance(30_001);
    assert.equal(bot.pendingCount(), 1);
    clock.advance(86_400_000);
    assert.equal(bot.pendingCount(), 0);
  });

  it('holds at most 100,000', () => {
    const { bot, text } = setup();
    for (let i = 0; i < 100_000; i++) text();
    assert.equal(text(), 0);
    assert.equal(bot.pendingCount(), 100_000);
  });
});

describe('the session', () => {
  const anyAnswer = (bot: ReturnType<typeof setup>['bot']) => bot.closedAnswer();

  it('revoked: the waiting poll is answered 200 with what there is, the next call is refused', () => {
    const { poll, bot } = setup();
    const waiting = poll({ timeout: 30 });
    bot.endSession('revoked');
    assert.deepEqual(ids(waiting), []);
    assert.equal(anyAnswer(bot)?.status, 401);
  });

  it('logOut empties the queue, drops the webhook, then refuses everything', () => {
    const { bot, text, call, poll, clock } = setup();
    const waiting = poll({ timeout: 30 });
    text();
    const made = call((reply) => bot.logOut(reply));
    assert.deepEqual(made.answer?.body, { ok: true, result: true });
    assert.deepEqual(ids(waiting), []);
    assert.deepEqual(anyAnswer(bot)?.body, { ok: false, error_code: 400, description: 'Logged out' });
    clock.advance(60_000);
    assert.equal(bot.pendingCount(), 0);
  });

  it('close: 429 in the first ten minutes, then true, a restart error, and service again', () => {
    const { bot, call, clock } = setup();
    const early = call((reply) => bot.close(reply));
    assert.equal(early.answer?.status, 429);
    assert.equal(early.answer?.retryAfter, 600);
    clock.advance(599_500);
    assert.equal(call((reply) => bot.close(reply)).answer?.retryAfter, 1);
    clock.advance(500);
    assert.equal(call((reply) => bot.close(reply)).answer?.status, 200);
    assert.deepEqual(anyAnswer(bot)?.body, {
      ok: false,
      error_code: 500,
      description: 'Internal Server Error: restart',
    });
    clock.advance(1000);
    assert.equal(anyAnswer(bot), null);
  });

  it('shutdown: polls get 200, held conflicts 429 retry after 5, and nothing keeps waiting', () => {
    const { bot, poll, clock } = setup();
    poll({ timeout: 30 });
    const held = poll({ timeout: 30 });
    const waiting = poll({ timeout: 30 });
    bot.endSession('shutdown');
    assert.deepEqual(ids(waiting), []);
    assert.equal(held.answer?.status, 429);
    assert.equal(held.answer?.retryAfter, 5);
    assert.equal(clock.pending(), 0);
  });
});
