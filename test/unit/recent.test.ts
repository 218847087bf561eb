// The last lines of a run, for those who watch it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIVE_LINES } from '../../src/core/live.ts';
import { type Block, createRecent } from '../../src/supervise/recent.ts';

const TOKEN = '987654321:an-own-token-of-no-usual-shape';
const texts = (recent: ReturnType<typeof createRecent>) => recent.lines().map(({ text }) => text);

function world(blocks: Block[] = []) {
  const recent = createRecent(() => [TOKEN]);
  recent.before(() => blocks);
  return recent;
}

test('unwatched: our own words and the tails, by time; masked; without heartbeats', () => {
  const blocks: Block[] = [];
  const recent = world(blocks);
  recent.said('worker', `started with ${TOKEN} or ${TOKEN.slice(10)}`, 'info');
  recent.said('hb', 'alive', 'info');
  recent.printed('out', 'not kept: nobody watches\n');
  blocks.push({ from: 'out', lastMs: performance.now() + 5, lines: ['one', 'two'] });
  assert.deepEqual(texts(recent), ['started with 987654321:… or …', 'one', 'two']);
  blocks.push({ from: 'err', lastMs: 0, lines: ['of the worker before'] });
  const [first, second] = recent.lines();
  assert.deepEqual(first, { at: null, from: 'err', tag: null, level: 'info', text: 'of the worker before' });
  assert.ok(second?.at && Math.abs(Date.parse(second.at) - Date.now()) < 60_000);
  assert.equal(second.tag, 'worker');
});

test('watched: in the order in which they come, at most so many; forgotten when nobody watches', () => {
  const recent = world();
  recent.watched(true);
  recent.printed('out', 'a\nb\n');
  recent.said('poll', 'c', 'good');
  recent.printed('err', 'd');
  assert.deepEqual(texts(recent), ['a', 'b', 'c', 'd']);
  assert.ok(recent.lines().every(({ at }) => at !== null));
  recent.printed('out', Array.from({ length: 500 }, (_, i) => `line ${i}\n`).join(''));
  assert.equal(recent.lines().length, LIVE_LINES);
  assert.equal(texts(recent).at(-1), 'line 499');
  recent.printed('out', `${'x'.repeat(100_000)}\n\n`);
  assert.deepEqual([texts(recent).at(-2)?.length, texts(recent).at(-1)], [400, '']);
  recent.watched(false);
  assert.deepEqual(texts(recent), ['c']);
});

test('a line that was half there when the watching began is not shown twice', () => {
  const recent = world([{ from: 'out', lastMs: 0, lines: ['whole', 'ha'] }]);
  recent.watched(true);
  assert.deepEqual(texts(recent), ['whole', 'ha']);
  recent.printed('out', 'half\nnext\n');
  assert.deepEqual(texts(recent), ['whole', 'half', 'next']);
  const other = world([{ from: 'out', lastMs: 0, lines: ['tick'] }]);
  other.watched(true);
  other.printed('out', 'tick\n');
  assert.deepEqual(texts(other), ['tick', 'tick']);
});
