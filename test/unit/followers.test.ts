// Those who watch a supervisor: a document at each change, the newest only for a slow reader, nothing while there is none.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LiveDocument } from '../../src/core/live.ts';
import type { Asker } from '../../src/machine/control.ts';
import { createFollowers } from '../../src/supervise/followers.ts';
import { sampleStatus } from '../support/status-sample.ts';
import { until } from '../support/wait.ts';

/** A reader that takes what it is sent only when told to, unless `quick`. */
function reader(quick: boolean) {
  const gone = new AbortController();
  const got: string[] = [];
  const untaken: (() => void)[] = [];
  const asker: Asker = {
    gone: gone.signal,
    push(line, taken) {
      got.push(line);
      if (quick) setImmediate(taken);
      else untaken.push(taken);
    },
    drop: () => gone.abort(),
  };
  /** The offsets of the documents that it got. */
  const offsets = () =>
    got
      .filter((line) => line.includes('status'))
      .map((line) => (JSON.parse(line) as LiveDocument).status.polling?.offset);
  return { asker, got, offsets, leave: () => gone.abort(), take: () => untaken.shift()?.() };
}

function world(beatMs = 60_000, stalledMs = 60_000) {
  const listeners = new Set<() => void>();
  const it = { offset: 1, looks: 0 };
  const followers = createFollowers({
    changes: {
      listen(listener) {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
    },
    look() {
      it.looks += 1;
      const { polling } = sampleStatus();
      return { status: sampleStatus({ polling: polling && { ...polling, offset: it.offset } }), lines: [] };
    },
    beatMs,
    stalledMs,
  });
  const change = (offset: number) => {
    it.offset = offset;
    for (const listener of listeners) listener();
  };
  return { followers, listeners, it, change };
}

test('a document at once, then at each change that shows; the same is not sent twice', async () => {
  const { followers, change, listeners } = world();
  const one = reader(true);
  const answer = followers.follow(one.asker);
  assert.deepEqual(one.offsets(), [1]);
  change(1);
  change(2);
  await until('the second', () => one.offsets().length > 1);
  change(2);
  assert.deepEqual(one.offsets(), [1, 2]);
  assert.equal(listeners.size, 1);
  one.leave();
  assert.equal((await answer).ok, false);
  assert.equal(listeners.size, 0);
});

test('a slow reader gets the newest only, and keeps nobody else waiting', async () => {
  const { followers, change } = world();
  const slow = reader(false);
  const quick = reader(true);
  const answers = [followers.follow(slow.asker), followers.follow(quick.asker)];
  for (let offset = 2; offset <= 50; offset++) change(offset);
  assert.deepEqual(slow.offsets(), [1]);
  await until('the quick one to have all', () => quick.offsets().at(-1) === 50);
  slow.take();
  assert.deepEqual(slow.offsets(), [1, 50]);
  followers.end();
  assert.deepEqual(await Promise.all(answers), [
    { ok: true, ended: true },
    { ok: true, ended: true },
  ]);
});

test('beats between documents, while there is a reader', async () => {
  const { followers, it } = world(5);
  const one = reader(true);
  const answer = followers.follow(one.asker);
  await until('three beats', () => one.got.filter((line) => line === '{"say":""}').length >= 3);
  assert.deepEqual(one.offsets(), [1]);
  // What no event tells comes with a beat.
  it.offset = 9;
  await until('the next', () => one.offsets().length === 2);
  one.leave();
  await answer;
  const { looks } = it;
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(it.looks, looks);
});

test('who takes nothing any more loses the connection', async () => {
  const { followers } = world(5, 50);
  const stopped = reader(false);
  const quick = reader(true);
  void followers.follow(quick.asker);
  const answer = followers.follow(stopped.asker);
  await until('it to be dropped', () => stopped.asker.gone.aborted);
  assert.equal((await answer).ok, false);
  assert.equal(stopped.got.length, 1);
  assert.equal(quick.asker.gone.aborted, false);
  followers.end();
});

test('not more than 16 at a time', async () => {
  const { followers } = world();
  const readers = Array.from({ length: 16 }, () => reader(true));
  for (const { asker } of readers) void followers.follow(asker);
  assert.match((await followers.follow(reader(true).asker)).error ?? '', /16 watch it already/);
  readers[3]?.leave();
  const late = reader(true);
  void followers.follow(late.asker);
  assert.deepEqual(late.offsets(), [1]);
  followers.end();
});
