/** Which missing ids of updates were taken by somebody else, and which have another reason. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Untimed } from '../../src/gateway/door-loop.ts';
import { emptyLedger, type LedgerEvent, LOOK_EVERY_MS, stepLedger } from '../../src/gateway/theft.ts';

const S = 1_000;
const DAY = 86_400 * S;

/** A gateway whose clock is turned by hand. */
function gateway() {
  let ledger = emptyLedger;
  let nowMs = 1_000 * S;
  const send = (event: Untimed<LedgerEvent>): number => {
    const [next, taken] = stepLedger(ledger, { ...event, atMs: nowMs } as LedgerEvent);
    ledger = next;
    return taken;
  };
  const it = {
    pause(ms: number) {
      nowMs += ms;
    },
    /** Nothing happens, but the clock of a process that runs is looked at. */
    wait(ms: number) {
      const endMs = nowMs + ms;
      for (nowMs += LOOK_EVERY_MS; nowMs <= endMs; nowMs += LOOK_EVERY_MS) send({ kind: 'looked' });
      nowMs = endMs;
    },
    look: () => void send({ kind: 'looked' }),
    ask: (offset = 0, limit = 100) => void send({ kind: 'asked', offset, limit }),
    pass: (ids: readonly number[], bytes = 500) => send({ kind: 'passed', ids, bytes }),
    /** A poll that is answered after a while; what is missing before its answer. */
    poll(ids: readonly number[], { offset = 0, limit = 100, ms = 10, bytes = 500 } = {}): number {
      it.ask(offset, limit);
      it.wait(ms);
      return it.pass(ids, bytes);
    },
    conflict: () => void send({ kind: 'conflict' }),
    unsure: () => void send({ kind: 'unsure' }),
  };
  return it;
}

/** One that has passed on update 10 just now, with nothing behind it. */
function after10() {
  const it = gateway();
  assert.equal(it.poll([9, 10], { ms: 4 * S }), 0);
  return it;
}

describe('taken by somebody else', () => {
  test('ids that are missing after the worker was busy, told with the next answer', () => {
    const it = after10();
    it.pause(8 * S);
    assert.equal(it.poll([14, 15], { offset: 11 }), 3);
    it.pause(8 * S);
    assert.equal(it.poll([16], { offset: 16 }), 0);
    it.pause(8 * S);
    assert.equal(it.poll([18], { offset: 17 }), 1);
  });

  test('also when the next update comes only after a long wait, and many empty answers', () => {
    const it = after10();
    it.pause(8 * S);
    for (let i = 0; i < 5; i++) assert.equal(it.poll([], { offset: 11, ms: 50 * S }), 0);
    assert.equal(it.poll([13], { offset: 11, ms: 40 * S }), 2);
  });

  test('of a worker that was started again and asks without an offset', () => {
    const it = after10();
    it.pause(5 * S);
    assert.equal(it.poll([12]), 1);
  });

  test('what was not handed on is in the queue still, and counts when it is taken there', () => {
    const it = after10();
    it.pause(2 * S);
    // Answered with update 11; its client had gone.
    it.ask(11);
    it.pause(2 * S);
    assert.equal(it.poll([13], { offset: 11 }), 2);
  });

  test('behind answers that were not all', () => {
    const it = after10();
    it.pause(5 * S);
    assert.equal(it.poll([11, 12], { offset: 11, limit: 2 }), 0);
    it.pause(5 * S);
    assert.equal(it.poll([15], { offset: 13, limit: 2 }), 2);
  });

  test('after a 409 that is long over', () => {
    const it = after10();
    it.conflict();
    it.pause(1 * S);
    assert.equal(it.poll([], { offset: 11, ms: 30 * S }), 0);
    it.pause(8 * S);
    assert.equal(it.poll([12], { offset: 11 }), 1);
  });
});

describe('no theft', () => {
  test('nothing is known before the first answer', () => {
    assert.equal(gateway().poll([500]), 0);
  });

  test('updates that were too old: nobody asked for 25 s', () => {
    const it = after10();
    it.pause(31 * S);
    assert.equal(it.poll([12], { offset: 11 }), 0);
    it.pause(5 * S);
    assert.equal(it.poll([14], { offset: 13 }), 1, 'it goes on from there');
  });

  test('updates that were too old, though an empty answer came in between', () => {
    const it = after10();
    it.pause(40 * S);
    assert.equal(it.poll([], { offset: 11, ms: 5 * S }), 0);
    it.pause(1 * S);
    assert.equal(it.poll([12], { offset: 11 }), 0);
  });

  test('updates that were too old, behind an answer that was not all', () => {
    for (const part of [{ limit: 1 }, { bytes: 4 * 1024 * 1024 }]) {
      const it = after10();
      it.pause(20 * S);
      assert.equal(it.poll([11], { offset: 11, ...part }), 0);
      it.pause(20 * S);
      assert.equal(it.poll([13], { offset: 12 }), 0, JSON.stringify(part));
    }
  });

  test('the server answers a poll that is repeated at once with one update only', () => {
    const it = after10();
    it.pause(20 * S);
    it.ask();
    it.pause(200);
    assert.equal(it.poll([10]), 0);
    it.pause(20 * S);
    assert.equal(it.poll([13], { offset: 11 }), 0);
  });

  test('an update that is given twice, and what has expired behind it', () => {
    const it = after10();
    it.pause(20 * S);
    assert.equal(it.poll([9], { limit: 1 }), 0);
    assert.equal(it.poll([9, 11]), 0);
    assert.equal(it.poll([9, 14]), 0, 'nobody can have confirmed past update 9');
  });

  for (const [name, offset] of [
    ['a negative offset', -1],
    ['an offset that skips', 13],
  ] as const) {
    test(`${name} of the worker, answered or not`, () => {
      const answered = after10();
      assert.equal(answered.poll([14], { offset }), 0);
      const given = after10();
      given.ask(offset);
      given.pause(1 * S);
      assert.equal(given.poll([14]), 0);
    });
  }

  test('an outage, a webhook, dropped updates', () => {
    const it = after10();
    it.unsure();
    assert.equal(it.poll([14], { offset: 11 }), 0);
  });

  test('updates that are dropped while an answer is under way', () => {
    const it = after10();
    it.ask(11);
    it.unsure();
    assert.equal(it.pass([11]), 0);
    assert.equal(it.poll([14], { offset: 12 }), 0);
    assert.equal(it.poll([16], { offset: 15 }), 1, 'it goes on from there');
  });

  test('a server that numbers anew, further on or further back; then it is counted from there', () => {
    for (const [id, offset] of [
      [900_000_000, 11],
      [5, 11],
      [600_000_000, 0],
    ] as const) {
      const it = gateway();
      it.poll([id === 600_000_000 ? 700_000_000 : 10]);
      it.pause(3 * S);
      assert.equal(it.poll([id], { offset }), 0);
      it.pause(3 * S);
      assert.equal(it.poll([id + 2], { offset: id + 1 }), 1);
    }
  });

  test('a week of silence: the next id is random', () => {
    const it = after10();
    for (let ms = 0; ms < 7 * DAY; ms += 50 * S) it.poll([], { offset: 11, ms: 50 * S });
    assert.equal(it.poll([1_500], { offset: 11 }), 0);
  });

  test('a rival: a 409 shortly before the gap or within it', () => {
    const before = gateway();
    before.conflict();
    before.pause(2 * S);
    assert.equal(before.poll([10]), 0);
    before.pause(12 * S);
    assert.equal(before.poll([12], { offset: 11 }), 0);
    const within = after10();
    within.pause(1 * S);
    within.ask(11);
    within.pause(1 * S);
    within.conflict();
    within.pause(1 * S);
    assert.equal(within.poll([12], { offset: 11, ms: 40 * S }), 0);
  });

  test('our own process stood still: it reads late what was answered long before', () => {
    const it = after10();
    it.ask(11);
    it.wait(3 * S);
    it.pause(60 * S);
    assert.equal(it.pass([11]), 0);
    it.pause(1 * S);
    assert.equal(it.poll([13], { offset: 12 }), 0);
  });

  test('our own process stood still: its timer is called before the answer is read', () => {
    const it = after10();
    it.ask(11);
    it.wait(3 * S);
    it.pause(60 * S);
    it.look();
    assert.equal(it.pass([11]), 0);
    it.pause(1 * S);
    assert.equal(it.poll([13], { offset: 12 }), 0);
  });

  test('our own process stood still before the poll was on its way', () => {
    const it = after10();
    it.ask(11);
    it.pause(40 * S);
    assert.equal(it.pass([13]), 0);
    const looked = after10();
    looked.ask(11);
    looked.pause(40 * S);
    looked.look();
    looked.wait(20 * S);
    assert.equal(looked.pass([13]), 0);
  });

  test('ids that are none', () => {
    const it = after10();
    assert.equal(it.poll([Number.NaN]), 0);
    assert.equal(it.poll([13]), 0);
  });
});
