// The judge of the chaos table: it must see what it is there for.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Line } from '../chaos/journal.ts';
import {
  delivered,
  longestGap,
  overlap,
  type PollSpan,
  staleCount,
  without,
  workerOverlap,
} from '../chaos/verdict.ts';

const poll = (machine: string, fromMs: number, toMs: number, epoch = 1): PollSpan => ({
  ...{ machine, fromMs, toMs, epoch, status: 200 },
});

describe('verdict of chaos', () => {
  it('measures how long two polls were open at once', () => {
    assert.deepEqual(overlap([poll('A', 0, 10), poll('B', 10, 20)], []), { ms: 0, evicted: 0 });
    assert.deepEqual(overlap([poll('A', 0, 10), poll('B', 7, 20)], []), { ms: 3, evicted: 0 });
    assert.deepEqual(
      overlap([poll('A', 0, 10), poll('A', 4, 6)], []),
      { ms: 2, evicted: 0 },
      'of one machine too',
    );
  });

  it('counts a poll that nobody is behind as thrown out, as long as nobody is', () => {
    const polls = [poll('A', 0, 10), poll('B', 7, 20)];
    assert.deepEqual(overlap(polls, [{ machine: 'A', fromMs: 5, toMs: 30 }]), { ms: 0, evicted: 1 });
    assert.deepEqual(overlap(polls, [{ machine: 'A', fromMs: 5, toMs: 9 }]), { ms: 1, evicted: 0 });
    assert.deepEqual(overlap(polls, [{ machine: 'C', fromMs: 5, toMs: 30 }]), { ms: 3, evicted: 0 });
  });

  it('counts polls that come after one of a later term', () => {
    assert.equal(staleCount([poll('A', 0, 1, 5), poll('B', 2, 3, 6)]), 0);
    assert.equal(staleCount([poll('B', 2, 3, 6), poll('A', 0, 1, 5), poll('A', 4, 5, 5)]), 1);
  });

  it('finds the longest time without a poller, at the ends too', () => {
    const within = { fromMs: 0, toMs: 100 };
    assert.equal(longestGap([poll('A', 0, 60), poll('A', 20, 50), poll('B', 65, 100)], [], within), 5);
    assert.equal(longestGap([poll('A', 0, 60)], [], within), 40);
    assert.equal(longestGap([poll('B', 30, 100)], [], within), 30);
    assert.equal(longestGap([poll('A', 0, 100)], [{ machine: 'A', fromMs: 10, toMs: 35 }], within), 25);
  });

  it('measures how long workers of two machines ran', () => {
    const life = (machine: string, fromMs: number, toMs: number) => ({ machine, pid: 1, fromMs, toMs });
    assert.equal(workerOverlap([life('A', 0, 10), life('B', 10, 20), life('A', 20, 30)]), 0);
    assert.equal(workerOverlap([life('A', 0, 10), life('B', 6, 20)]), 4);
    assert.equal(workerOverlap([life('A', 0, 10), life('A', 6, 20)]), 0, 'a worker and its child');
  });

  it('counts updates that no worker has got, and those that came again', () => {
    const got = (id: number): Line => ({ ev: 'update', name: 'A', pid: 1, epoch: 1, at: 0, id });
    assert.deepEqual(delivered([got(1), got(3), got(3)], [1, 2, 3, 4]), { lost: 2, repeated: 1 });
  });

  it('takes spans out of a span', () => {
    const span = { fromMs: 0, toMs: 10 };
    assert.deepEqual(
      without(span, [
        { fromMs: 2, toMs: 4 },
        { fromMs: 8, toMs: 12 },
      ]),
      [
        { fromMs: 0, toMs: 2 },
        { fromMs: 4, toMs: 8 },
      ],
    );
    assert.deepEqual(without(span, [{ fromMs: -1, toMs: 11 }]), []);
  });
});
