import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Bell, createWake, type Wake } from '../../src/lease/wake.ts';

const never = new AbortController().signal;

function watched(onOpen: (bell: Bell) => void = () => {}): { wake: Wake; bells: Bell[]; cuts: () => number } {
  const bells: Bell[] = [];
  let cut = 0;
  const wake = createWake((_after, _ms, bell) => {
    bells.push(bell);
    onOpen(bell);
    return () => {
      cut++;
    };
  });
  return { wake, bells, cuts: () => cut };
}

async function timed(wait: Promise<void>): Promise<number> {
  const begin = performance.now();
  await wait;
  return performance.now() - begin;
}

describe('waiting for a change', () => {
  it('takes its time where nothing rings, and keeps the watch', async () => {
    const { wake, bells, cuts } = watched((bell) => bell.up());
    await wake.wait('a', 20, never);
    for (let i = 0; i < 3; i++) assert.ok((await timed(wake.wait('a', 20, never))) >= 15);
    assert.deepEqual([bells.length, cuts()], [1, 0]);
    wake.close();
    assert.equal(cuts(), 1);
  });

  it('ends at a ring, and remembers one that came between two waits', async () => {
    const { wake, bells } = watched((bell) => bell.up());
    await wake.wait('a', 20, never);
    const wait = timed(wake.wait('a', 5_000, never));
    bells[0]!.ring();
    assert.ok((await wait) < 1_000);
    bells[0]!.ring();
    bells[0]!.ring();
    assert.ok((await timed(wake.wait('a', 5_000, never))) < 1_000);
    assert.ok((await timed(wake.wait('a', 20, never))) >= 15, 'once');
    wake.close();
  });

  it('tries a watch that does not come up ever less often', async () => {
    const { wake, bells } = watched((bell) => bell.down());
    for (let i = 0; i < 20; i++) await wake.wait('a', 5, never);
    assert.equal(bells.length, 1);
    wake.close();
  });

  it('gives up a watch that has not come up within the wait', async () => {
    const { wake, cuts, bells } = watched();
    await wake.wait('a', 10, never);
    assert.equal(cuts(), 1);
    bells[0]!.up();
    bells[0]!.ring();
    assert.ok((await timed(wake.wait('a', 20, never))) >= 15, 'what it says later counts no more');
    wake.close();
  });

  it('gives up a watch that has missed three changes', async () => {
    const { wake, cuts } = watched((bell) => bell.up());
    for (const rev of ['a', 'b', 'c']) await wake.wait(rev, 5, never);
    assert.equal(cuts(), 0);
    await wake.wait('d', 5, never);
    assert.equal(cuts(), 1);
    wake.close();
  });

  it('survives an engine that throws instead of opening a watch', async () => {
    const wake = createWake(() => {
      throw new Error('no such file');
    });
    assert.ok((await timed(wake.wait('a', 20, never))) >= 15);
    wake.close();
  });

  it('ends when it is told to, and when it is closed; after that it opens nothing', async () => {
    const { wake, bells } = watched();
    const stop = new AbortController();
    const wait = timed(wake.wait('a', 5_000, stop.signal));
    stop.abort();
    assert.ok((await wait) < 1_000);
    const other = timed(wake.wait('a', 5_000, never));
    wake.close();
    assert.ok((await other) < 1_000);
    const opened = bells.length;
    await wake.wait('a', 5, never);
    assert.equal(bells.length, opened);
  });
});
