// Those who watch a supervisor: a document at each change, the newest only for a slow reader, nothing while there is none.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Asker } from '../../src/supervisor/control.ts';
import { createFollowers } from '../../src/supervisor/serve.ts';
import type { LiveDocument } from '../../src/supervisor/status.ts';
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
  const changes = {
    listen(listener: () => void) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
  const look = () => {
    it.looks += 1;
    const { polling } = sampleStatus();
    const status = sampleStatus({ polling: polling && { ...polling, offset: it.offset } });
    return { status, lines: [], day: null };
  };
  const followers = createFollowers(changes, look, beatMs, stalledMs);
  const change = (offset: number) => {
    it.offset = offset;
    for (const listener of listeners) listener();
  };
  return { followers, listeners, it, change };
}

test('a document at once, then at each change that shows; a slow reader gets the newest only', async () => {
  const { followers, change, listeners } = world();
  const [slow, quick] = [reader(false), reader(true)];
  const answers = [slow, quick].map(({ asker }) => followers.follow(asker));
  for (let offset = 1; offset <= 50; offset++) change(offset);
  assert.deepEqual(slow.offsets(), [1]);
  await until('the quick one to have all', () => quick.offsets().at(-1) === 50);
  slow.take();
  slow.take();
  change(50);
  assert.deepEqual(slow.offsets(), [1, 50]);
  change(51);
  quick.leave();
  assert.equal((await answers[1])?.ok, false);
  followers.end();
  assert.deepEqual(await answers[0], { ok: true, ended: true });
  assert.deepEqual([slow.offsets(), listeners.size], [[1, 50, 51], 0]);
});

test('a beat between documents, which also finds what no event tells; none without a reader', async () => {
  const { followers, it } = world(5);
  const one = reader(true);
  const answer = followers.follow(one.asker);
  await until('three beats', () => one.got.filter((line) => line === '{"say":""}').length >= 3);
  assert.deepEqual(one.offsets(), [1]);
  it.offset = 9;
  await until('the next', () => one.offsets().length === 2);
  one.leave();
  await answer;
  const { looks } = it;
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(it.looks, looks);
});

test('one that takes nothing any more loses the connection; not more than 16 at a time', async () => {
  const { followers } = world(5, 50);
  const stopped = reader(false);
  const answer = followers.follow(stopped.asker);
  const readers = Array.from({ length: 15 }, () => reader(true));
  for (const { asker } of readers) void followers.follow(asker);
  assert.match((await followers.follow(reader(true).asker)).error ?? '', /16 watch it already/);
  await until('it to be dropped', () => stopped.asker.gone.aborted);
  assert.equal((await answer).ok, false);
  assert.equal(stopped.got.length, 1);
  const late = reader(true);
  void followers.follow(late.asker);
  assert.deepEqual(late.offsets(), [1]);
  followers.end();
});
