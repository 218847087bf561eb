/** The keeper's decisions in examples (src/lease/keeper.ts). The simulation breaks each rule and has to notice. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { leaseEntry } from '../../src/lease/glance.ts';
import {
  holds,
  type Keeper,
  type KeeperEffect,
  type KeeperEvent,
  type KeeperPolicy,
  newKeeper,
  type Outcome,
  stepKeeper,
  takeFromMs,
} from '../../src/lease/keeper.ts';
import type { LeaseRecord } from '../../src/lease/record.ts';
import { LEASE_PROFILES } from '../../src/lease/timing.ts';

const UNIX_MS = 1_700_000_000_000;
const POLICY: KeeperPolicy = {
  ...{ timing: LEASE_PROFILES.default, id: 'me', host: 'here', pid: 4, lock: 'my-lock' },
};
const FREE: LeaseRecord = { v: 1, holder: '', epoch: 0, seq: 0, ttl: 15_000 };
const THEIRS: LeaseRecord = { v: 1, holder: 'them', epoch: 9, seq: 4, ttl: 15_000, host: 'there', pid: 77 };

type Effect<D> = Extract<KeeperEffect, { do: D }>;

/** A keeper whose events and answers the test gives by hand. */
function drive(start: Partial<Keeper> = {}, policy = POLICY) {
  let keeper: Keeper = { ...newKeeper, ...start };
  let effects: readonly KeeperEffect[] = [];
  type Untimed<E> = E extends unknown ? Omit<E, 'atMs' | 'unixMs' | 'random'> : never;
  const it = {
    send(atMs: number, event: Untimed<KeeperEvent>) {
      const timed = { ...event, atMs, unixMs: UNIX_MS + atMs, random: 0.5 } as KeeperEvent;
      [keeper, effects] = stepKeeper(keeper, timed, policy);
      return effects;
    },
    answer: (atMs: number, outcome: Outcome) =>
      it.send(atMs, { kind: 'answer', request: keeper.request?.number ?? -1, outcome }),
    seen: (atMs: number, rec: LeaseRecord | null, rev = text(rec)) =>
      it.answer(atMs, { kind: 'seen', seen: rec && { rev, rec } }),
    conflict: (atMs: number, rec: LeaseRecord | null) =>
      it.answer(atMs, { kind: 'conflict', current: rec && { rev: text(rec), rec } }),
    written: (atMs: number) => it.answer(atMs, { kind: 'written', rev: text(keeper.request!.next) }),
    failed: (atMs: number, settled: boolean, lasting = false) =>
      it.answer(atMs, { kind: 'failed', why: 'away', settled, lasting }),
    due: (atMs: number) => it.send(atMs, { kind: 'due' }),
    one: <D extends KeeperEffect['do']>(what: D): Effect<D> => {
      const found = effects.find((effect): effect is Effect<D> => effect.do === what);
      return found ?? assert.fail(`no ${what} in ${JSON.stringify(effects)}`);
    },
    none: (what: KeeperEffect['do']) =>
      assert.equal(
        effects.find((effect) => effect.do === what),
        undefined,
      ),
    holds: (atMs: number) => holds(keeper, atMs, policy),
    takesInMs: (atMs: number) => takeFromMs(keeper, policy) - atMs,
    entry: (nowMs: number) => leaseEntry('redis', keeper, { nowMs, unixMs: UNIX_MS + nowMs }, policy),
    get keeper() {
      return keeper;
    },
  };
  return it;
}

const text = (rec: LeaseRecord | null) => JSON.stringify(rec);
const mine = (keeper: Keeper) => keeper.term!.seen!.rec;

/** t0 = 1000, answered at 1010. */
function leader() {
  const it = drive();
  it.send(0, { kind: 'seek', takeover: false });
  it.seen(1_000, FREE);
  it.written(1_010);
  return it;
}

test('a standby takes a record that has stood for a whole ttl since it was first seen, by compare-and-set', () => {
  const it = drive();
  it.send(0, { kind: 'seek', takeover: false });
  it.one('read');
  it.seen(40, THEIRS);
  assert.equal(it.one('wake').atMs, 40 + 2_500);
  it.due(2_540);
  it.seen(2_550, THEIRS);
  it.due(15_114);
  it.seen(15_114.5, THEIRS);
  it.none('cas');
  it.due(15_115);
  const { prev, next, ms } = it.one('cas');
  assert.equal(prev, text(THEIRS));
  assert.equal(ms, 2_000);
  assert.deepEqual([next.holder, next.seq, next.ttl, next.lock], ['me', 5, 15_000, 'my-lock']);
  assert.equal(next.epoch, Math.floor((UNIX_MS + 15_115) / 1_000));
  it.written(15_120);
  assert.equal(it.one('won').epoch, next.epoch);
  assert.ok(it.holds(15_120));
});

test('a wish that somebody writes into it makes it no other record', () => {
  const it = drive();
  it.send(0, { kind: 'seek', takeover: false });
  it.seen(0, THEIRS);
  it.due(14_000);
  it.seen(14_000, { ...THEIRS, wants: 'third' });
  it.due(15_075);
  assert.equal(it.one('cas').prev, text({ ...THEIRS, wants: 'third' }));
});

test('a free record is taken at once; one that was left for another only after some looks', () => {
  const free = { ...THEIRS, holder: '' };
  for (const [wants, atMs] of [
    [undefined, 0],
    ['me', 0],
    ['third', 5_000],
  ] as const) {
    const it = drive();
    it.send(0, { kind: 'seek', takeover: false });
    it.seen(0, wants === undefined ? free : { ...free, wants });
    if (atMs > 0) it.none('cas');
    if (atMs > 0) it.due(atMs);
    assert.equal(it.one('cas').next.holder, 'me');
    assert.equal(it.one('cas').next.wants, undefined);
  }
});

test('where the record has vanished that is marked, and the mark is waited for like a record', () => {
  const it = drive();
  it.send(0, { kind: 'seek', takeover: false });
  it.seen(0, { ...THEIRS, ttl: 60_000 });
  it.due(2_500);
  it.seen(2_510, null);
  const { prev, next } = it.one('cas');
  assert.equal(prev, null);
  // The holder may live by its own ttl still.
  assert.deepEqual(next, { v: 1, holder: '', epoch: 9, seq: 5, ttl: 60_000, vacant: 'me' });
  it.written(2_520);
  it.none('cas');
  assert.deepEqual([it.entry(2_520).holder, it.takesInMs(2_520)], [null, 60_300]);
  // Vanished once more: another absence.
  it.due(60_000);
  it.seen(60_000, null);
  assert.equal(it.one('cas').next.seq, 6);
  it.conflict(60_010, { ...next, vacant: 'third', ttl: 15_000 });
  assert.equal(it.takesInMs(60_010), 15_075);
  it.due(75_085);
  assert.equal(it.one('cas').next.holder, 'me');
});

test('its own record is taken back at once, and that of a dead supervisor whose kernel lock we hold', () => {
  for (const rec of [
    { ...THEIRS, holder: 'me' },
    { ...THEIRS, lock: 'my-lock' },
  ]) {
    const it = drive();
    it.send(0, { kind: 'seek', takeover: false });
    it.seen(0, rec);
    assert.equal(it.one('cas').next.epoch, Math.floor(UNIX_MS / 1_000));
  }
  const other = drive();
  other.send(0, { kind: 'seek', takeover: false });
  other.seen(0, { ...THEIRS, lock: 'another' });
  other.none('cas');
  const lockless = drive({}, { ...POLICY, lock: null });
  lockless.send(0, { kind: 'seek', takeover: false });
  lockless.seen(0, THEIRS);
  lockless.none('cas');
});

test('the deadline counts from before the write was sent, and nothing extends it once it has passed', () => {
  const it = leader();
  assert.deepEqual([it.holds(9_424), it.holds(9_425)], [true, false]);
  it.due(4_000);
  assert.equal(it.one('cas').next.seq, 2);
  it.written(5_900);
  assert.deepEqual([it.holds(12_424), it.holds(12_425)], [true, false]);
  it.due(7_000);
  const { request } = it.one('cas');
  it.send(12_425, { kind: 'answer', request, outcome: { kind: 'written', rev: 'r' } });
  assert.deepEqual(it.one('lost'), { do: 'lost', why: 'deadline', killByMs: 4_000 + 13_425 });
  assert.equal(it.holds(12_425), false);
});

test('a record that names another ends the term at once, without grace', () => {
  const it = leader();
  it.due(4_000);
  it.conflict(4_020, THEIRS);
  assert.deepEqual(it.one('lost'), { do: 'lost', why: 'taken', killByMs: 4_020 });
  it.send(4_100, { kind: 'release' });
  assert.equal(it.one('released').free, false);
  it.none('cas');
  // Ours by name, with a number that we never wrote.
  const copied = leader();
  copied.due(4_000);
  copied.conflict(4_020, { ...mine(copied.keeper), seq: 900 });
  assert.equal(copied.one('lost').why, 'taken');
});

test('a record that has vanished is written again at once; never when time may have passed unseen', () => {
  const it = leader();
  it.due(4_000);
  it.conflict(4_020, null);
  assert.equal(it.one('cas').prev, null);
  it.written(4_030);
  assert.ok(it.holds(12_000));

  const marked = leader();
  marked.due(4_000);
  const vacancy: LeaseRecord = { v: 1, holder: '', epoch: 9, seq: 1, ttl: 15_000, vacant: 'third' };
  marked.conflict(4_020, vacancy);
  assert.equal(marked.one('cas').prev, text(vacancy));

  const doubtful = leader();
  doubtful.send(4_000, { kind: 'doubt' });
  doubtful.conflict(4_020, null);
  assert.equal(doubtful.one('lost').why, 'taken');
});

test('a leap shuts the door; only a write that is sent after it opens it again', () => {
  const it = leader();
  it.due(4_000);
  it.send(4_005, { kind: 'doubt' });
  assert.equal(it.holds(4_005), false);
  it.written(4_010);
  assert.equal(it.holds(4_010), false);
  it.written(4_020);
  assert.ok(it.holds(4_020));
});

test('a take whose answer comes too late, or from before a leap, starts no term', () => {
  const late = drive();
  late.send(0, { kind: 'seek', takeover: false });
  late.seen(0, FREE);
  late.written(8_425);
  late.none('won');
  assert.equal(late.one('cas').next.seq, 2);

  const leaped = drive();
  leaped.send(0, { kind: 'seek', takeover: false });
  leaped.seen(0, FREE);
  leaped.send(1, { kind: 'doubt' });
  leaped.written(2);
  leaped.none('won');
  leaped.written(4);
  leaped.one('won');
});

test('release frees the record, keeps its numbers, and writes nothing after', () => {
  const it = leader();
  const { epoch } = mine(it.keeper);
  it.send(2_000, { kind: 'release' });
  const { next } = it.one('cas');
  assert.deepEqual(next, { v: 1, holder: '', epoch, seq: 2, ttl: 15_000 });
  assert.equal(it.holds(2_000), false);
  it.written(2_010);
  assert.equal(it.one('released').free, true);
  assert.equal(it.one('wake').atMs, null);
});

test('release waits for a renewal under way, and has one try and one request time', () => {
  const it = leader();
  it.due(4_000);
  it.send(4_001, { kind: 'release' });
  it.none('cas');
  it.written(4_010);
  assert.equal(it.one('cas').next.holder, '');
  it.failed(4_020, true);
  assert.equal(it.one('released').free, false);

  const hung = leader();
  hung.due(4_000);
  hung.send(4_001, { kind: 'release' });
  hung.due(6_001);
  assert.equal(hung.one('released').free, false);
});

test('a request to hand over: written into the record, told once, kept until the record is free', () => {
  const asker = drive();
  asker.send(0, { kind: 'seek', takeover: true });
  asker.seen(0, THEIRS);
  const { prev, next } = asker.one('cas');
  assert.deepEqual([prev, next], [text(THEIRS), { ...THEIRS, wants: 'me' }]);
  asker.written(10);
  asker.none('cas');
  // It looks more often now.
  assert.equal(asker.one('wake').atMs, 10 + 1_000);

  const holder = leader();
  holder.due(4_000);
  holder.conflict(4_010, { ...mine(holder.keeper), wants: 'third' });
  assert.equal(holder.one('asked').by, 'third');
  assert.equal(holder.one('cas').next.wants, 'third');
  // Its deadline is still that of its own write.
  assert.equal(holder.keeper.term!.sentAtMs, 1_000);
  holder.written(4_020);
  holder.due(7_020);
  holder.none('asked');
  holder.written(7_030);
  holder.send(8_000, { kind: 'release' });
  assert.equal(holder.one('cas').next.wants, 'third');
});

test('hints cause looks, a few at once; those of our own writes none', () => {
  const it = drive();
  it.send(0, { kind: 'seek', takeover: false });
  it.seen(0, THEIRS);
  let looks = 0;
  for (let at = 1; at < 2_000; at += 10) {
    if (it.send(at, { kind: 'hint' }).some((effect) => effect.do === 'read')) looks += 1;
    if (it.keeper.request) it.seen(at + 1, THEIRS);
  }
  assert.equal(looks, 3);

  const holder = leader();
  holder.send(1_100, { kind: 'hint' });
  holder.none('read');
  holder.send(2_000, { kind: 'hint' });
  holder.one('read');
});

test('a standby whose engine tells of changes asks it less than once in two seconds', () => {
  const it = drive();
  it.send(0, { kind: 'seek', takeover: false });
  it.seen(0, THEIRS);
  let reads = 0;
  const count = (effects: readonly KeeperEffect[], at: number, seq: number) => {
    if (!effects.some((effect) => effect.do === 'read')) return;
    reads += 1;
    it.seen(at, { ...THEIRS, seq });
  };
  for (let at = 100; at < 60_000; at += 100) {
    const seq = Math.floor(at / 3_000);
    count(at % 3_000 === 0 ? it.send(at, { kind: 'hint' }) : it.due(at), at, seq);
  }
  assert.ok(reads <= 25, `${reads} in a minute`);
});

test('an engine out of reach: a standby goes on asking at its own pace, and says so once', () => {
  const it = drive();
  it.send(0, { kind: 'seek', takeover: false });
  it.failed(10, true);
  assert.deepEqual(it.one('say').saying, { what: 'unreachable', why: 'away' });
  assert.equal(it.one('wake').atMs, 2_500);
  const { reachable, unreachable } = it.entry(1_010);
  assert.deepEqual([reachable, unreachable], [false, 'away']);
  it.due(2_500);
  it.failed(2_510, true);
  it.none('say');
  it.due(5_000);
  it.seen(5_010, THEIRS);
  assert.equal(it.entry(5_010).reachable, true);
});

test('an engine that turns the first look down for good ends it; later it is only out of reach', () => {
  const it = drive();
  it.send(0, { kind: 'seek', takeover: false });
  it.failed(10, true, true);
  assert.equal(it.one('refused').why, 'away');
  const later = leader();
  later.due(4_000);
  later.failed(4_010, true, true);
  later.none('refused');
  assert.ok(later.holds(4_010));
});

test('an engine that turns writes down for no reason is not asked again and again', () => {
  const it = drive();
  it.send(0, { kind: 'seek', takeover: false });
  it.seen(0, { ...THEIRS, holder: '' });
  it.conflict(5, { ...THEIRS, holder: '' });
  it.none('cas');
  it.none('read');
});

test('what status shows of a standby, and of a holder, whose stop point lies before the end of its term', () => {
  const it = drive();
  const at = (ms: number) => new Date(UNIX_MS + ms).toISOString();
  it.send(0, { kind: 'seek', takeover: false });
  it.seen(100, { ...THEIRS, since: '2026-01-02T03:04:05.000Z' });
  assert.deepEqual(it.entry(1_100), {
    ...{ engine: 'redis', holder: 'there:77', since: '2026-01-02T03:04:05.000Z', mine: false, epoch: 9 },
    ...{ role: 'standby', expiresAt: at(15_175), decision: { what: 'take', at: at(15_175) } },
    ...{ reachable: true, unreachable: null },
  });
  const { role, mine, holder, decision, expiresAt } = leader().entry(2_000);
  assert.deepEqual([role, mine, holder], ['holder', true, 'here:4']);
  assert.deepEqual([decision, expiresAt], [{ what: 'stop', at: at(9_425) }, at(1_000 + 14_925)]);
});
