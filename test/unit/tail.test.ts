import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSampler, SAMPLE_BYTES_PER_S } from '../../src/output/sample.ts';
import { createTail } from '../../src/output/tail.ts';

/** The same by keeping everything. */
function naive(text: string, maxLines: number, maxLineBytes: number): string[] {
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  return lines.slice(-maxLines).map((line) => line.slice(0, maxLineBytes).replace(/\r$/, ''));
}

test('the last lines of any text, however it is cut', () => {
  let state = 7;
  const random = (below: number) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >> 8) % below;
  };
  for (let round = 0; round < 500; round++) {
    const tail = createTail(4, 30);
    let text = '';
    for (let n = random(60); n >= 0; n--) {
      let piece = '';
      for (let k = random(8); k >= 0; k--)
        piece += 'abc\r'.slice(0, random(5)).repeat(random(14)) + (random(2) ? '\n' : '');
      tail.add(Buffer.from(piece));
      text += piece;
      assert.deepEqual(
        tail.lines(),
        naive(text, 4, 30),
        `round ${round}: ${JSON.stringify(text.slice(-300))}`,
      );
    }
  }
});

test('a line of a hundred megabytes keeps its first 4 KiB, and characters are decoded whole', () => {
  const tail = createTail();
  const blob = Buffer.alloc(1024 * 1024, 'x');
  for (let i = 0; i < 100; i++) tail.add(blob);
  tail.add(Buffer.from('\nGr'));
  tail.add(Buffer.from([0xc3]));
  tail.add(Buffer.from([0xbc, 0x0d, 0x0a]));
  assert.deepEqual(tail.lines(), ['x'.repeat(4096), 'Grü']);
});

test('whole lines are shown, also where a chunk ends inside one', () => {
  const seen: string[] = [];
  const sampler = createSampler((sample) => seen.push(sample));
  sampler.offer(Buffer.from('one\ntermin'), 0);
  sampler.offer(Buffer.from('ated by '), 1);
  sampler.offer(Buffer.from('other\nlast'), 2);
  assert.deepEqual(seen, ['one\n', 'terminated by other\n']);
  sampler.end();
  assert.deepEqual(seen.slice(2), ['last']);
});

test('a flood is shown on a budget, and the budget comes back', () => {
  let shown = 0;
  const sampler = createSampler((sample) => {
    shown += sample.length;
  });
  const chunk = Buffer.from(`${'x'.repeat(99)}\n`.repeat(655));
  for (let ms = 0; ms < 10_000; ms += 5) sampler.offer(chunk, ms);
  assert.ok(shown > 8 * SAMPLE_BYTES_PER_S && shown <= 11 * SAMPLE_BYTES_PER_S, `${shown}`);
});

test('so are chunks that are bigger than the budget: the last whole lines of them', () => {
  const seen: string[] = [];
  const sampler = createSampler((sample) => seen.push(sample));
  const chunk = Buffer.from(`${'x'.repeat(99)}\n`.repeat(SAMPLE_BYTES_PER_S / 50));
  for (let ms = 0; ms < 10_000; ms += 5) sampler.offer(chunk, ms);
  const shown = seen.join('').length;
  assert.ok(shown > 8 * SAMPLE_BYTES_PER_S && shown <= 11 * SAMPLE_BYTES_PER_S, `${shown}`);
  assert.ok(seen.every((sample) => /^(x{99}\n)+$/.test(sample)));
});
