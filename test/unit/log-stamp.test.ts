/** Lines of a log: whole, stamped, bounded, whatever the chunks are. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createStamper, LINE_BYTES_MAX } from '../../src/log/stamp.ts';

const AT = new Date('2026-11-21T09:12:31.123Z');
const STAMP = '2026-11-21T09:12:31.123Z out ';

function stamped(...chunks: (string | Buffer)[]): string[] {
  const emitted: string[] = [];
  const stamper = createStamper('out', (lines) => emitted.push(lines.toString()));
  for (const chunk of chunks) stamper.add(Buffer.from(chunk as string), AT);
  stamper.end(AT);
  for (const text of emitted) assert.ok(text.endsWith('\n'), 'whole lines only');
  return emitted.join('').split('\n').slice(0, -1);
}

test('stamp: lines split over chunks, empty lines, an unfinished last one', () => {
  assert.deepEqual(
    stamped('a\nb', 'c\n\nd'),
    ['a', 'bc', '', 'd'].map((text) => STAMP + text),
  );
  assert.deepEqual(stamped(), []);
  assert.deepEqual(stamped('x\n'), [`${STAMP}x`]);
});

test('stamp: any way to cut the same bytes gives the same lines', () => {
  const text = 'first\n\nzweite Zeile mit Ümlaut\r\n…\nlast';
  const bytes = Buffer.from(text);
  const whole = stamped(bytes);
  for (let at = 0; at <= bytes.length; at++)
    assert.deepEqual(stamped(bytes.subarray(0, at), bytes.subarray(at)), whole, `cut at ${at}`);
  assert.deepEqual(stamped(...[...bytes].map((byte) => Buffer.from([byte]))), whole);
});

test('stamp: a line without an end is broken, and never held whole', () => {
  const stamper = createStamper('err', () => {});
  const lines = stamped('x'.repeat(LINE_BYTES_MAX), 'y'.repeat(LINE_BYTES_MAX * 2 + 5), '\nz');
  assert.deepEqual(
    lines.map((line) => line.length - STAMP.length),
    [LINE_BYTES_MAX, LINE_BYTES_MAX, LINE_BYTES_MAX, 5, 1],
  );
  for (let i = 0; i < 100; i++) {
    stamper.add(Buffer.alloc(10_000, 'x'), AT);
    assert.ok(stamper.held <= LINE_BYTES_MAX);
  }
});

test('stamp: a flood of empty lines is handed on in parts', () => {
  const sizes: number[] = [];
  createStamper('out', (lines) => sizes.push(lines.length)).add(Buffer.alloc(64 * 1024, '\n'), AT);
  assert.equal(
    sizes.reduce((sum, size) => sum + size, 0),
    64 * 1024 * (STAMP.length + 1),
  );
  assert.ok(Math.max(...sizes) < 80 * 1024, `${Math.max(...sizes)}`);
});

test('stamp: the chunk may be reused at once', () => {
  const emitted: Buffer[] = [];
  const stamper = createStamper('out', (lines) => emitted.push(lines));
  const chunk = Buffer.from('one\ntw');
  stamper.add(chunk, AT);
  chunk.fill('#');
  stamper.end(AT);
  assert.equal(Buffer.concat(emitted).toString(), `${STAMP}one\n${STAMP}tw\n`);
});
