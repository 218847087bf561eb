/** The last lines of a run: whole however the stream is cut, bounded, cheap in a flood, by time with our own words. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLastLines } from '../../src/output/last-lines.ts';
import { LIVE_LINES } from '../../src/supervisor/status.ts';

const TOKEN = '987654321:an-own-token-of-no-usual-shape';
const world = () => createLastLines(() => [TOKEN]);

test('lines end with their bytes, however the stream is cut; the unfinished one shows, too', () => {
  const text = 'one\r\nGrüße 🙂\n\nlast';
  const bytes = Buffer.from(text);
  for (let at = 0; at <= bytes.length; at++) {
    const stream = world().stream('out');
    const ended = [...stream.add(bytes.subarray(0, at)), ...stream.add(bytes.subarray(at))];
    assert.deepEqual(ended, ['one', 'Grüße 🙂', ''], `cut at ${at}`);
    assert.deepEqual(stream.texts(), ['one', 'Grüße 🙂', '', 'last']);
    assert.deepEqual([stream.end(), stream.end()], ['last', null]);
    assert.deepEqual(stream.texts(), ['one', 'Grüße 🙂', '', 'last']);
  }
});

test('the buffer may be reused; of a long line the beginning is kept; so many lines are', () => {
  const stream = world().stream('out');
  const chunk = Buffer.from('ab');
  stream.add(chunk);
  chunk.fill('#');
  stream.add(Buffer.alloc(10_000, 'x'));
  assert.deepEqual(stream.add(Buffer.from('\n')), [`ab${'x'.repeat(4094)}`]);
  for (let i = 0; i < 100; i++) stream.add(Buffer.from(`line ${i}\n`));
  assert.deepEqual([stream.texts().length, stream.texts()[0]], [LIVE_LINES, `line ${100 - LIVE_LINES}`]);
});

test('of a flood the end of each chunk is looked at, from a whole line on', () => {
  const stream = world().stream('out');
  stream.add(Buffer.from('half a line'));
  const ended = stream.add(Buffer.from(`${'x'.repeat(99)}\n`.repeat(655)));
  assert.ok(ended.length > 70 && ended.length < 90, `${ended.length} lines`);
  assert.ok(ended.every((line) => line === 'x'.repeat(99)));
  for (let i = 0; i < 10; i++) assert.deepEqual(stream.add(Buffer.alloc(65_536, 'y')), []);
  assert.equal(stream.texts().at(-1), 'y'.repeat(4096));
});

test('for those who watch: by time, masked, without heartbeats, of the last workers', () => {
  const lines = world();
  lines.said('worker', `started with ${TOKEN} or ${TOKEN.slice(10)}\n`, 'info');
  lines.said('hb', 'alive', 'info');
  const out = lines.stream('out');
  out.add(Buffer.from('one\ntwo'));
  lines.said('poll', 'three', 'good');
  lines.stream('err').add(Buffer.from(`${'z'.repeat(500)}\n`));
  out.add(Buffer.from(', ended\n'));
  const shown = lines.lines();
  assert.deepEqual(
    shown.map(({ from, tag, level, text }) => [from, tag, level, text]),
    [
      ['singlepoll', 'worker', 'info', 'started with 987654321:… or …\\n'],
      ['out', null, 'info', 'one'],
      ['singlepoll', 'poll', 'good', 'three'],
      ['err', null, 'info', 'z'.repeat(400)],
      ['out', null, 'info', 'two, ended'],
    ],
  );
  assert.ok(shown.every(({ at }) => Math.abs(Date.parse(at) - Date.now()) < 60_000));
  for (let i = 0; i < 8; i++) lines.stream('out').add(Buffer.from(`worker ${i}\n`));
  assert.equal(
    lines.lines().some(({ text }) => text === 'one'),
    false,
  );
  for (let i = 0; i < 100; i++) lines.said('x', `${i}`, undefined);
  assert.equal(lines.lines().length, LIVE_LINES);
});
