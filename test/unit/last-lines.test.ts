/** The last lines of a run: whole however the stream is cut, bounded, by time with our own words. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLastLines, LINE_BYTES_MAX } from '../../src/output/last-lines.ts';
import { LIVE_LINES } from '../../src/supervisor/status.ts';

const TOKEN = '987654321:an-own-token-of-no-usual-shape';
const world = () => createLastLines([TOKEN]);

test('lines end with their bytes, however the stream is cut; the unfinished one shows, too', () => {
  const bytes = Buffer.from('one\r\nGrüße 🙂\n\nlast');
  for (let at = 0; at <= bytes.length; at++) {
    const stream = world().stream('out');
    const ended = [stream.add(bytes.subarray(0, at)), stream.add(bytes.subarray(at))];
    const text = Buffer.from(ended.filter((it) => it !== null).join('\n'), 'latin1').toString();
    assert.equal(text, 'one\r\nGrüße 🙂\n', `cut at ${at}`);
    assert.deepEqual(stream.texts(), ['one', 'Grüße 🙂', '', 'last']);
    assert.deepEqual([stream.end(), stream.end()], ['last', null]);
    assert.deepEqual(stream.texts(), ['one', 'Grüße 🙂', '', 'last']);
  }
});

test('the buffer may be reused; of a long line the beginning is kept, and one without an end is broken; so many lines are kept', () => {
  const stream = world().stream('out');
  const chunk = Buffer.from('ab');
  stream.add(chunk);
  chunk.fill('#');
  stream.add(Buffer.alloc(10_000, 'x'));
  assert.equal(stream.add(Buffer.from('\n')), `ab${'x'.repeat(10_000)}`);
  assert.deepEqual(stream.texts(), [`ab${'x'.repeat(4094)}`]);
  assert.equal(stream.add(Buffer.alloc(LINE_BYTES_MAX, 'x')), null);
  assert.equal(stream.add(Buffer.from('y'))?.length, LINE_BYTES_MAX + 1);
  for (let i = 0; i < 1_000; i++) stream.add(Buffer.from(`${i}\n`));
  assert.ok(stream.texts().length >= LIVE_LINES && stream.texts().length < 200);
  assert.equal(stream.texts().at(-1), '999');
});

test('for those who watch: by time, masked, without heartbeats, of the last workers', () => {
  const lines = world();
  lines.said('worker', `started with ${TOKEN} or ${TOKEN.slice(10)}\n`, 'info');
  lines.said('hb', 'alive', 'info');
  const out = lines.stream('out');
  out.add(Buffer.from('one\ntwo'));
  assert.equal(lines.lines().at(-1)?.text, 'two', 'an unfinished line shows, too');
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
  for (let i = 0; i < 100; i++) lines.said('x', `${i}`, undefined);
  assert.equal(lines.lines().length, LIVE_LINES);
});
