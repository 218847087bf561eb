/** The last lines of a run: bounded. How a stream is cut: unit/pump.test.ts; how they are shown, masked: e2e/watch.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLastLines } from '../../src/output/report.ts';
import { LIVE_LINES } from '../../src/supervisor/status.ts';

test('of a long line the beginning is kept; so many lines are kept, those of each stream apart, and no heartbeats', () => {
  const lines = createLastLines([]);
  const stream = lines.stream('out');
  stream.add(Buffer.from(`one\r\nGrüße 🙂\n\n${'x'.repeat(10_000)}`).toString('latin1'));
  lines.stream('err').add('other');
  assert.deepEqual(stream.texts(), ['one', 'Grüße 🙂', '', 'x'.repeat(4096)]);
  stream.add(Array.from({ length: 1_000 }, (_, i) => i).join('\n'));
  assert.ok(stream.texts().length >= LIVE_LINES && stream.texts().length < 200);
  assert.equal(stream.texts().at(-1), '999');
  lines.said('hb', 'alive', 'info');
  assert.ok(lines.lines().length === LIVE_LINES && lines.lines().every(({ from }) => from !== 'singlepoll'));
});

test('for those who watch: by time, masked, each line no longer than is shown', () => {
  const token = '987654321:an-own-token-of-no-usual-shape';
  const lines = createLastLines([token]);
  lines.said('worker', `started with ${token} or ${token.slice(10)}\n`);
  const out = lines.stream('out');
  out.add('one');
  lines.stream('err').add('z'.repeat(500));
  out.add('two');
  assert.deepEqual(
    lines.lines().map(({ from, text }) => `${from} ${text}`),
    ['singlepoll started with 987654321:… or …\\n', 'out one', `err ${'z'.repeat(400)}`, 'out two'],
  );
});
