/** What counts as a reaction to a getUpdates of ours: times, sizes, and what two or three of them amount to. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Counters,
  type Poke,
  type Reaction,
  reactionsTo,
  strengthOf,
  unmovedBy,
} from '../../src/strays/reactions.ts';

const POKE: Poke = { sentAtMs: 10_000, pingedAtMs: 9_900, rttMs: 40, listingMs: 5, conflictBytes: 450 };
const TIMES = { lastSendMs: 5_000, lastReceiveMs: 5_100, minRttMs: 40 };
const HELD: Counters = { bytesSent: 300, bytesReceived: 1_000, ...TIMES };

/** One connection in listings at these times after the poke; undefined: it is missing. */
type Change = readonly [ms: number, counters: Partial<Counters> | undefined];
function listings(base: Counters, after: readonly Change[], poke: Poke) {
  const sample = (atMs: number, counters: Counters | undefined) => ({
    atMs,
    sockets: new Map(counters ? [['it', counters]] : []),
  });
  return [
    sample(poke.sentAtMs - 1, base),
    ...after.map(([ms, change]) => sample(poke.sentAtMs + ms, change && { ...base, ...change })),
  ];
}
const seen = (base: Counters, after: readonly Change[], poke = POKE) =>
  reactionsTo(poke, listings(base, after, poke))[0];
const isUnmoved = (base: Counters, after: readonly Change[]) =>
  unmovedBy(POKE, listings(base, after, POKE)).length === 1;

const answer = (bytes: number, ms = 20): [number, Partial<Counters>] => [
  ms,
  { bytesReceived: HELD.bytesReceived + bytes, lastReceiveMs: 5, lastSendMs: HELD.lastSendMs + ms },
];

test('an answer as long as a 409 while a request was held is one, at once or 3 s later', () => {
  for (const ms of [20, 100, 3_020]) assert.equal(seen(HELD, [answer(450, ms)])?.isConflict, true, `${ms}`);
  for (const bytes of [430, 500]) assert.equal(seen(HELD, [answer(bytes)])?.isConflict, true, `${bytes}`);
});

test('where a listing was slow, a 409 may be as late, up to 200 ms', () => {
  for (const [ms, listingMs, isSeen] of [
    [200, 5, true],
    [230, 5, false],
    [300, 100, true],
    [3_300, 100, true],
    [420, 1_000, false],
    [3_420, 1_000, false],
  ] as const) {
    const reaction = seen(HELD, [answer(450, ms)], { ...POKE, listingMs });
    assert.equal(reaction?.isConflict ?? false, isSeen, `${ms} ms, a listing of ${listingMs} ms`);
  }
});

test('no reaction: outside of the windows, nothing held, or held for too short a time', () => {
  assert.equal(seen(HELD, [answer(450, 1_500)]), undefined);
  assert.equal(seen(HELD, [answer(450, 5_000)]), undefined);
  assert.equal(seen({ ...HELD, lastSendMs: 5_100, lastReceiveMs: 5_000 }, [answer(450)]), undefined);
  assert.equal(seen({ ...HELD, lastSendMs: 100, lastReceiveMs: 5_000 }, [answer(450)]), undefined);
  assert.equal(seen(HELD, [[20, { bytesSent: 600, lastSendMs: 5 }]]), undefined, 'it sends, and waits on');
});

test('our poll has not ended it: it waits on after both windows, or had waited too long for an earlier 409 and is answered between them', () => {
  const end: Change = [3_300, {}];
  assert.equal(isUnmoved(HELD, [[20, {}], end]), true);
  assert.equal(isUnmoved(HELD, [answer(450, 1_500), end]), true);
  assert.equal(
    isUnmoved(HELD, [
      [20, {}],
      [2_000, {}],
    ]),
    false,
    'not watched to the end',
  );
  assert.equal(
    isUnmoved({ ...HELD, lastSendMs: 2_000 }, [answer(450, 1_500), end]),
    false,
    'an earlier 409 of its own',
  );
  for (const ms of [20, 3_020])
    assert.equal(isUnmoved(HELD, [answer(450, ms), end]), false, `${ms}: it reacts`);
  assert.equal(
    isUnmoved({ ...HELD, lastSendMs: 5_100, lastReceiveMs: 5_000 }, [end]),
    false,
    'nothing is held',
  );
  for (const change of [undefined, { isGone: true }])
    assert.equal(isUnmoved(HELD, [[20, change], end]), false);
});

test('held for a moment only: as long as a 409 it is one, else nothing; less than four round trips never', () => {
  const brief = { ...HELD, lastSendMs: 200, lastReceiveMs: 5_000 };
  assert.equal(seen(brief, [answer(450)])?.isConflict, true);
  assert.equal(seen(brief, [answer(330)]), undefined);
  assert.equal(seen(brief, [answer(450)], { ...POKE, rttMs: 60 }), undefined);
  assert.equal(seen(brief, [answer(450)])?.isUnclear, false);
  // A listing was slow, so may the server be.
  assert.equal(seen(brief, [answer(450)], { ...POKE, listingMs: 60 })?.isUnclear, true);
});

test('a server that has answered nobody since may only have been slow: unclear', () => {
  const held = { ...HELD, lastSendMs: 600, lastReceiveMs: 5_000 };
  assert.equal(seen(held, [answer(512)])?.isUnclear, false);
  assert.equal(seen(held, [answer(450)], { ...POKE, pingedAtMs: 0 })?.isUnclear, false, 'as long as a 409');
  for (const pingedAtMs of [0, 9_300, 9_410, 9_990])
    assert.equal(seen(held, [answer(512)], { ...POKE, pingedAtMs })?.isUnclear, true, `${pingedAtMs}`);
});

test('an empty answer and an update are no 409', () => {
  assert.equal(seen(HELD, [answer(330)])?.isConflict, false);
  assert.equal(seen(HELD, [answer(512)])?.isConflict, false);
  assert.equal(seen(HELD, [answer(512)])?.isTooLong, true);
});

test('the rest of an answer that comes in pieces is added up, until the next request', () => {
  const end = { ...answer(450, 60)[1], bytesSent: 600 };
  const next: Change = [80, { ...end, bytesReceived: 9_999 }];
  assert.equal(seen(HELD, [answer(307), answer(450, 40), [60, end], next])?.bytes, 450);
});

test('a listing that comes late changes nothing, as the kernel tells when the answer came', () => {
  const late: Partial<Counters> = { bytesReceived: 1_450, lastReceiveMs: 1_480, lastSendMs: 6_500 };
  assert.equal(seen(HELD, [[1_500, late]])?.isConflict, true);
});

test('one that closes is known by its last counters, or by its vanishing', () => {
  const gone = { bytesReceived: 1_451, lastReceiveMs: 4, lastSendMs: 5_020, isGone: true };
  assert.equal(seen(HELD, [[20, gone]])?.isConflict, true);
  const vanishes = (seenMs: number, goneMs: number): Change[] => [
    [seenMs, {}],
    [goneMs, undefined],
  ];
  assert.equal(seen(HELD, vanishes(20, 40))?.bytes, null);
  assert.equal(seen(HELD, vanishes(800, 1_500)), undefined);
});

test('within one tick of the clock, a message that was sent and answered is not told from a poll: unclear', () => {
  const equal = { ...HELD, lastReceiveMs: HELD.lastSendMs };
  const both = { ...answer(450)[1], bytesSent: 600 };
  const near = { ...equal, minRttMs: 0.05 };
  // Whatever our own question takes on a busy machine.
  assert.equal(seen(near, [[20, both]])?.isUnclear, true);
  assert.equal(seen(near, [answer(450), [40, both]])?.isUnclear, false, 'the answer came first');
  assert.equal(seen(equal, [[20, both]])?.isUnclear, false, 'a server further away does not answer so soon');
});

const reaction = (bytes: number | null, more: Partial<Reaction> = {}): Reaction => ({
  ...{ socket: 'it', bytes, isConflict: bytes !== null && Math.abs(bytes - 450) < 24 },
  ...{ isTooLong: bytes !== null && bytes > 506, isUnclear: false, ...more },
});
const strength = (...all: (Reaction | null)[]) =>
  strengthOf(all.flatMap((it, poke) => (it === null ? [] : [{ poke, reaction: it }])));

test('once: a single 409; twice: two that agree, to different polls of ours', () => {
  assert.equal(strength(reaction(450)), 'once');
  assert.equal(strength(reaction(450), reaction(455)), 'twice');
  assert.equal(strength(reaction(300)), null, 'HTTP/2, say');
  assert.equal(strength(reaction(300), null, reaction(310)), 'twice');
  assert.equal(strength(reaction(300), reaction(340)), null);
  assert.equal(strength(reaction(null), reaction(null)), 'twice');
  assert.equal(strengthOf([450, 450].map((bytes) => ({ poke: 1, reaction: reaction(bytes) }))), 'once');
});

test('nothing that is longer than a 409, or shorter than its text, ever counts', () => {
  assert.equal(strength(reaction(600), reaction(600), reaction(600)), null);
  assert.equal(strength(reaction(1), reaction(1), reaction(1)), null);
});

test('what is unclear has to be as long as a 409 three times', () => {
  const unclear = { isUnclear: true };
  assert.equal(strength(reaction(450, unclear)), null);
  assert.equal(strength(reaction(450, unclear), reaction(450, unclear)), null);
  assert.equal(strength(reaction(450, unclear), reaction(450, unclear), reaction(450, unclear)), 'twice');
  assert.equal(strength(reaction(300, unclear), reaction(300, unclear), reaction(300, unclear)), null);
});
