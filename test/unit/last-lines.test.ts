/** The last lines of a run: bounded, by time with our own words. How a stream is cut into lines: test/unit/pump.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLastLines } from '../../src/output/report.ts';
import { LIVE_LINES } from '../../src/supervisor/status.ts';

const TOKEN = '987654321:an-own-token-of-no-usual-shape';
const world = () => createLastLines([TOKEN]);

test('of a long line the beginning is kept; so many lines are kept, those of each stream apart', () => {
  const lines = world();
  const stream = lines.stream('out');
  stream.add(Buffer.from(`one\r\nGrüße 🙂\n\n${'x'.repeat(10_000)}`).toString('latin1'));
  lines.stream('err').add('other');
  assert.deepEqual(stream.texts(), ['one', 'Grüße 🙂', '', 'x'.repeat(4096)]);
  stream.add(Array.from({ length: 1_000 }, (_, i) => i).join('\n'));
  assert.ok(stream.texts().length >= LIVE_LINES && stream.texts().length < 200);
  assert.equal(stream.texts().at(-1), '999');
});

test('for those who watch: by time, masked, without heartbeats, of the last workers', () => {
  const lines = world();
  lines.said('worker', `started with ${TOKEN} or ${TOKEN.slice(10)}\n`, 'info');
  lines.said('hb', 'alive', 'info');
  const out = lines.stream('out');
  out.add('one');
  lines.said('poll', 'three', 'good');
  lines.stream('err').add('z'.repeat(500));
  out.add('two, ended');
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
