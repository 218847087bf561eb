/** Cooldown, grouping, "recovered" and retries on a virtual clock: by hand, and in seeded histories. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  ALERT_KINDS,
  type Alert,
  type AlertKind,
  type Alerts,
  alertsDueMs,
  type Happening,
  heldBack,
  noAlerts,
  restoreAlerts,
  saveAlerts,
  stepAlerts,
} from '../../src/core/alerts.ts';
import {
  answered,
  type Delivery,
  emptyOutbox,
  GIVE_UP_AFTER_MS,
  hurry,
  isFailing,
  type Outbox,
  outboxDueMs,
  put,
  take,
  WAITING_MAX,
} from '../../src/core/outbox.ts';
import { createRandom } from '../simulation/random.ts';

/** Kinds that are over when they are told: nothing is to be recovered from. */
const NEWS: readonly string[] = ['stray-stopped', 'stolen', 'lease-taken'];
const MINUTE = 60_000;
const POLICY = { cooldownMs: 15 * MINUTE, settleMs: 10_000 };
const UNIX = 1_700_000_000_000;

const happening = (kind: AlertKind, text = `${kind} happened`): Happening => ({
  ...{ kind, text, hint: null, lines: [], atUnixMs: UNIX },
});

function story(before: Alerts = noAlerts) {
  let state = before;
  return {
    at(atMs: number, well: boolean, ...kinds: AlertKind[]): string[] {
      const event = { atMs, unixMs: UNIX + atMs, happenings: kinds.map((it) => happening(it)), well };
      const [next, out] = stepAlerts(state, event, POLICY);
      state = next;
      return out.map(({ kind, more }) => (more > 0 ? `${kind}+${more}` : kind));
    },
    dueMs: () => alertsDueMs(state, POLICY),
    state: () => state,
  };
}

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
    let state = noAlerts;
    let out: readonly Alert[] = [];
    for (const [atMs, text] of [
      [0, 'first'],
      [3 * MINUTE, 'second'],
      [5 * MINUTE, 'third'],
    ] as const) {
      const event = { atMs, unixMs: UNIX, happenings: [happening('deaf', text)], well: false };
      [state, out] = stepAlerts(state, event, POLICY);
    }
    [state, out] = stepAlerts(
      state,
      { atMs: 15 * MINUTE, unixMs: UNIX, happenings: [], well: false },
      POLICY,
    );
    assert.deepEqual([out[0]?.text, out[0]?.more, out[0]?.moreInMs], ['third', 1, 12 * MINUTE]);
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
  const again = (it: ReturnType<typeof story>, afterMs: number) =>
    story(
      restoreAlerts(
        JSON.parse(JSON.stringify(saveAlerts(it.state(), 1_000, UNIX))),
        5,
        UNIX + afterMs,
        POLICY,
      ),
    );

  test('a run that is started again does not tell the same, but counts it; and tells that all is well', () => {
    const first = story();
    assert.deepEqual(first.at(1_000, false, 'stray-back'), ['stray-back']);
    const second = again(first, MINUTE);
    assert.deepEqual(second.at(10, false, 'stray-back'), []);
    const third = story(restoreAlerts(saveAlerts(second.state(), 10, UNIX), 7, UNIX + 20 * MINUTE, POLICY));
    assert.deepEqual(third.at(10, false, 'stray-back'), ['stray-back+1']);
    third.at(20, true);
    assert.deepEqual(third.at(20_020, true), ['recovered']);
  });
  test('what a file may hold', () => {
    const strange = [
      null,
      1,
      'x',
      [],
      { kinds: 3, owed: [] },
      { kinds: { rival: { sentAt: 'x', held: -1 } }, owed: { kinds: ['x'], since: UNIX } },
    ];
    for (const saved of strange) assert.deepEqual(restoreAlerts(saved, 0, UNIX, POLICY), noAlerts);
    const future = { kinds: { rival: { sentAt: UNIX + 1e9, held: 0 } }, owed: null };
    assert.deepEqual(restoreAlerts(future, 0, UNIX, POLICY), noAlerts, 'the clock was set back');
  });
});

test('seeded histories: none within the cooldown, none lost uncounted, recovered only after its problem, bounded', () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = createRandom(seed);
    let state = noAlerts;
    let atMs = 0;
    let happened = 0;
    let told = 0;
    let open = false;
    const last = new Map<AlertKind, number>();
    for (let step = 0; step < 200; step++) {
      const dueMs = alertsDueMs(state, POLICY);
      atMs = dueMs !== null && random.chance(0.4) ? Math.max(atMs, dueMs) : atMs + random.int(0, 5 * MINUTE);
      const list = Array.from({ length: random.chance(0.5) ? 0 : random.int(1, 3) }, () =>
        happening(random.pick(ALERT_KINDS.filter((it) => it !== 'recovered'))),
      );
      happened += list.length;
      const event = { atMs, unixMs: UNIX + atMs, happenings: list, well: random.chance(0.6) };
      const [next, out] = stepAlerts(state, event, POLICY);
      state = next;
      for (const { kind, more } of out) {
        const label = `seed ${seed}, step ${step}, ${kind}`;
        assert.ok(atMs - (last.get(kind) ?? Number.NEGATIVE_INFINITY) >= POLICY.cooldownMs, label);
        last.set(kind, atMs);
        if (kind === 'recovered')
          assert.ok(open && event.well && list.every((it) => NEWS.includes(it.kind)), label);
        else told += 1 + more;
        open = kind === 'recovered' ? false : open || !NEWS.includes(kind);
      }
      assert.equal(happened, told + heldBack(state), `seed ${seed}, step ${step}`);
      assert.ok(JSON.stringify(state).length < 5_000);
      assert.ok((alertsDueMs(state, POLICY) ?? Number.POSITIVE_INFINITY) > atMs, 'no spinning');
    }
  }
});

describe('outbox', () => {
  const LATER: Delivery = { kind: 'later', error: 'HTTP 500', afterMs: null };
  const failures = (times: number) => {
    const waits: number[] = [];
    let box = put(emptyOutbox<number>(), 1, 0);
    let nowMs = 0;
    for (let i = 0; i < times; i++) {
      let item: number | null;
      [box, item] = take(box, nowMs);
      if (item === null) break;
      box = answered(box, LATER, nowMs);
      const dueMs = outboxDueMs(box) ?? nowMs;
      waits.push((dueMs - nowMs) / 1_000);
      nowMs = dueMs;
    }
    return { waits, box, nowMs };
  };
  test('waits double up to 5 min, and end after an hour', () => {
    const { waits, box, nowMs } = failures(100);
    assert.deepEqual(waits.slice(0, 11), [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert.equal(nowMs, GIVE_UP_AFTER_MS);
    assert.deepEqual([box.failed, box.waiting.length, box.lastError], [1, 0, 'HTTP 500']);
  });
  test('a pause that is asked for is kept, also in a hurry; another wait is not', () => {
    let [box] = take(put(emptyOutbox<number>(), 1, 0), 0);
    const paused = answered(box, { kind: 'later', error: '429', afterMs: 40_000 }, 0);
    assert.equal(outboxDueMs(hurry(paused, 5)), 40_000);
    box = answered(box, LATER, 0);
    assert.equal(outboxDueMs(box), 1_000);
    assert.equal(outboxDueMs(hurry(box, 5)), 5);
  });
  test('what will never work is given up at once, and the next one sent', () => {
    let box = put(put(emptyOutbox<number>(), 1, 0), 2, 0);
    [box] = take(box, 0);
    box = answered(box, { kind: 'never', error: '403' }, 0);
    assert.deepEqual([box.failed, isFailing(box), outboxDueMs(box)], [1, true, 0]);
    const [taken, item] = take(box, 0);
    assert.equal(item, 2);
    assert.equal(isFailing(answered(taken, { kind: 'ok' }, 0)), false);
  });
  test('seeded: every message is sent, failed or waiting; in order; one at a time; bounded', () => {
    for (let seed = 1; seed <= 300; seed++) {
      const random = createRandom(seed);
      let box: Outbox<number> = emptyOutbox();
      let nowMs = 0;
      let made = 0;
      let lastItem = 0;
      let busy = false;
      for (let step = 0; step < 300; step++) {
        const dueMs = outboxDueMs(box);
        nowMs =
          dueMs !== null && random.chance(0.5) ? Math.max(nowMs, dueMs) : nowMs + random.int(0, 400_000);
        if (random.chance(0.4)) box = put(box, ++made, nowMs);
        if (!busy) {
          const [next, item] = take(box, nowMs);
          box = next;
          if (item !== null) {
            assert.ok(item >= lastItem, 'in order');
            lastItem = item;
            busy = true;
          }
        } else {
          assert.equal(take(box, nowMs)[1], null, 'one at a time');
          if (random.chance(0.7)) {
            const afterMs = random.chance(0.2) ? random.int(0, 100_000) : null;
            const kinds: Delivery[] = [
              { kind: 'ok' },
              { kind: 'later', error: 'x', afterMs },
              { kind: 'never', error: 'y' },
            ];
            box = answered(box, random.pick(kinds), nowMs);
            busy = false;
          }
        }
        assert.equal(made, box.sent + box.failed + box.waiting.length, `seed ${seed}, step ${step}`);
        assert.ok(box.waiting.length <= WAITING_MAX);
      }
    }
  });
});
