/** What repeated 409s say: an overlap that passes, or a rival that stays; who yields; and when it is over. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  atPeace,
  interrupted,
  kicked,
  looked,
  quietAtMs,
  type Rivalry,
  type RivalryPolicy,
  type RivalrySaying,
  rhythmOf,
  undisturbed,
} from '../../src/gateway/rivals.ts';

const POLICY: RivalryPolicy = { rivalAfterMs: 90_000, incumbentAfterMs: 60_000, onRival: null };

function follow(policy = POLICY) {
  let rivalry: Rivalry = atPeace;
  const take = ([next, sayings]: readonly [Rivalry, readonly RivalrySaying[]]) => {
    rivalry = next;
    return sayings;
  };
  return {
    get state() {
      return rivalry;
    },
    kick: (atS: number, livedS = 4) => take(kicked(rivalry, atS * 1_000, livedS * 1_000, policy)),
    poll(atS: number) {
      rivalry = undisturbed(rivalry, atS * 1_000, true);
    },
    outage() {
      rivalry = interrupted(rivalry);
    },
    look: (atS: number) => take(looked(rivalry, atS * 1_000, policy)),
  };
}

/** A kick every 5 s, and a poll in between. */
function fight(it: ReturnType<typeof follow>, fromS: number, toS: number): RivalrySaying[] {
  const sayings: RivalrySaying[] = [];
  for (let s = fromS; s <= toS; s += 5) {
    sayings.push(...it.kick(s));
    it.poll(s + 1);
  }
  return sayings;
}

test('a transient overlap is one line at its start and one at its end', () => {
  const it = follow();
  it.poll(0);
  assert.deepEqual(fight(it, 10, 20), [{ what: 'overlap', again: false }]);
  assert.equal(quietAtMs(it.state), 30_000);
  assert.deepEqual(it.look(29.9), []);
  assert.deepEqual(it.look(30), [{ what: 'overlap-over', lastedMs: 10_000, kicks: 3, wasRival: false }]);
  assert.deepEqual(it.look(31), []);
  assert.equal(quietAtMs(it.state), null);
});

test('quiet alone is no end: a poll has to have gone undisturbed', () => {
  const it = follow();
  it.kick(10);
  assert.deepEqual(it.look(60), []);
  it.poll(61);
  assert.deepEqual(
    it.look(61).map(({ what }) => what),
    ['overlap-over'],
  );
});

test('a slow rival is waited for: twice its usual pause, at most 90 s', () => {
  const it = follow();
  for (const s of [0, 30, 60]) it.kick(s);
  assert.equal(quietAtMs(it.state), 120_000);
  const slower = follow();
  for (const s of [0, 80, 160]) slower.kick(s);
  assert.equal(quietAtMs(slower.state), 250_000);
});

test('after 90 s it is a rival, said once, with its rhythm; a newcomer yields', () => {
  const it = follow();
  const sayings = fight(it, 0, 120);
  assert.deepEqual(sayings, [
    { what: 'overlap', again: false },
    {
      what: 'rival',
      kicks: 19,
      lastedMs: 90_000,
      rhythm: { everyMs: 5_000, reactionMs: 4_000 },
      yields: true,
      incumbent: false,
    },
  ]);
});

test('who has polled undisturbed for a minute is an incumbent for good, and insists', () => {
  const it = follow();
  it.poll(0);
  it.poll(60);
  const rival = fight(it, 60, 150).find(({ what }) => what === 'rival');
  assert.ok(rival?.what === 'rival');
  assert.equal(rival.incumbent, true);
  assert.equal(rival.yields, false);
});

test('59 s are not a minute, and an outage is no calm', () => {
  const short = follow();
  short.poll(0);
  short.kick(59);
  assert.equal(short.state.incumbent, false);
  const broken = follow();
  broken.poll(0);
  broken.outage();
  broken.poll(50);
  broken.kick(100);
  assert.equal(broken.state.incumbent, false);
});

test('--on-rival overrides both', () => {
  const yields = follow({ ...POLICY, onRival: 'yield' });
  yields.poll(0);
  const given = fight(yields, 60, 150).at(-1);
  assert.ok(given?.what === 'rival' && given.yields && given.incumbent);
  const insists = follow({ ...POLICY, onRival: 'insist' });
  const taken = fight(insists, 0, 90).at(-1);
  assert.ok(taken?.what === 'rival' && !taken.yields && !taken.incumbent);
});

test('one that comes back soon is the same; one that comes back late is new', () => {
  const it = follow();
  fight(it, 0, 5);
  it.look(20);
  assert.deepEqual(it.kick(40), [{ what: 'overlap', again: true }]);
  it.poll(41);
  it.look(130);
  assert.deepEqual(it.kick(140), [{ what: 'overlap', again: false }]);
  assert.equal(it.state.overlap?.kicks, 1);
});

test('two kicks with a long silence between them (an outage, no worker) are not a rival', () => {
  const it = follow();
  it.kick(0);
  it.outage();
  assert.deepEqual(it.kick(600), [{ what: 'overlap', again: false }]);
});

test('the rhythm: medians of the pauses and of the lives; none from one kick', () => {
  const it = follow();
  it.kick(0, 1);
  assert.equal(rhythmOf(it.state.overlap!), null);
  it.kick(5, 4);
  it.kick(10, 4);
  it.kick(40, 30);
  assert.deepEqual(rhythmOf(it.state.overlap!), { everyMs: 5_000, reactionMs: 4_000 });
});

test('a fight of days is remembered by its last twenty kicks', () => {
  const it = follow({ ...POLICY, onRival: 'insist' });
  fight(it, 0, 5_000);
  assert.equal(it.state.overlap?.kicks, 1_001);
  assert.equal(it.state.overlap?.kicksAtMs.length, 20);
  assert.equal(it.state.overlap?.livesMs.length, 20);
});
