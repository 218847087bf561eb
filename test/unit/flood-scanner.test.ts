import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFloodScanner, HEADROOM_BYTES } from '../../src/output/flood-scanner.ts';
import { nextSeparator } from '../../src/output/token-scan.ts';

/** All that the regular expression finds. */
function naive(bytes: Buffer): number[] {
  return [...bytes.toString('latin1').matchAll(/(?<=\d{5})[:%]/g)].map((found) => found.index);
}

function all(next: (from: number) => number): number[] {
  const found: number[] = [];
  for (let at = next(0); at >= 0; at = next(at + 1)) found.push(at);
  return found;
}

test('both scans find every separator behind five digits, at every alignment', () => {
  const scanner = createFloodScanner();
  assert.ok(scanner, 'this machine has no WebAssembly SIMD');
  let state = 1;
  const random = (below: number) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >> 8) % below;
  };
  const pieces = [
    '12345:',
    '1234:',
    '123456789012345678901234%',
    ':',
    '%',
    '9',
    '/',
    ';',
    ' ',
    'x',
    '\u00b5',
    '00000',
  ];
  for (let round = 0; round < 5_000; round++) {
    let text = 'x'.repeat(random(40));
    for (let n = random(20); n >= 0; n--)
      text += random(3) ? pieces[random(pieces.length)] : 'y'.repeat(random(70));
    const bytes = Buffer.from(text, 'latin1');
    if (random(2)) scanner.load(bytes);
    else {
      const from = random(20) - 10;
      const inPlace = Buffer.from(scanner.room.buffer, scanner.room.byteOffset + from, bytes.length);
      bytes.copy(inPlace);
      scanner.load(inPlace);
    }
    const expected = naive(bytes);
    assert.deepEqual(
      all((from) => nextSeparator(bytes, from)),
      expected,
      JSON.stringify(text),
    );
    assert.deepEqual(
      all((from) => scanner.next(from)),
      expected,
      JSON.stringify(text),
    );
  }
});

test('what a longer text left behind is not found again', () => {
  const scanner = createFloodScanner();
  assert.ok(scanner);
  for (const size of [3, 17, 64, 130]) {
    scanner.load(Buffer.from(`${'x'.repeat(size)}12345:`));
    assert.equal(scanner.next(0), size + 5);
    scanner.load(Buffer.from('x'.repeat(size + 1)));
    assert.equal(scanner.next(0), -1);
  }
});

test('line ends are counted from behind, and none outside of the bytes', () => {
  const scanner = createFloodScanner();
  assert.ok(scanner);
  const { room } = scanner;
  let state = 7;
  const random = (below: number) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >> 8) % below;
  };
  for (let round = 0; round < 3_000; round++) {
    room.fill(0x0a, 0, 300);
    const from = random(40);
    const bytes = room.subarray(from, from + random(200));
    const every = 1 + random(40);
    for (let at = 0; at < bytes.length; at++) bytes[at] = random(every) ? 0x78 : 0x0a;
    const end = bytes.length - random(3);
    const ends = [...bytes.subarray(0, Math.max(0, end)).entries()].filter(([, byte]) => byte === 0x0a);
    const count = 1 + random(20);
    assert.equal(scanner.lineEndBefore(bytes, end, count), ends.at(-count)?.[0] ?? -1, `round ${round}`);
  }
  assert.equal(scanner.lineEndBefore(Buffer.from('a\nb\n'), 4, 1), undefined);
  const first = Buffer.from(room.buffer, room.byteOffset - HEADROOM_BYTES, 40);
  first.fill(0x78)[0] = 0x0a;
  assert.equal(scanner.lineEndBefore(first, 40, 1), 0);
});
