import assert from 'node:assert/strict';
import { test } from 'node:test';
import { separatorScanner } from '../../src/output/separator-simd.ts';
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
  const scanner = separatorScanner();
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
      text += random(3) ? pieces[random(pieces.length)] : 'y'.repeat(random(18));
    const bytes = Buffer.from(text, 'latin1');
    scanner.load(bytes);
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
  const scanner = separatorScanner();
  assert.ok(scanner);
  scanner.load(Buffer.from(`${'x'.repeat(16)}12345:`));
  assert.equal(scanner.next(0), 21);
  scanner.load(Buffer.from('x'.repeat(17)));
  assert.equal(scanner.next(0), -1);
});
