/**
 * What has to be looked for in each byte of a flood of output: the separators of tokens, as `nextSeparator` of token-scan.ts
 * does it, and the last line ends. Both go over 16 bytes at a time, several times as fast. JavaScript has no vectors, so
 * this is WebAssembly, small enough to be assembled here by hand (WebAssembly 2.0, binary format, with fixed-width
 * SIMD). It is made at the first flood only, because the engine's machinery for it costs some megabytes. Null where it
 * can't be had; the plain ways then do the same.
 *
 *   (func (export "next") (param $at i32) (param $end i32) (result i32) (local $digitsBefore $pairsBefore $fivesBefore i64) …
 *     (loop
 *       digits = bitmask(bytes[at..at+64] - '0' <=u 9)         ;; bit i: a digit at `at + i`
 *       found  = bitmask(bytes == ':' or bytes == '%')
 *       pairs  = digits & shifted(digits, 1)                    ;; shifted: what stood before comes in from below
 *       fives  = pairs & shifted(pairs, 2) & shifted(digits, 4) ;; bit i: digits at the five bytes up to `at + i`
 *       found &= shifted(fives, 1)
 *       (if found (return at + ctz(found)))
 *       at    += 64
 *       (br_if at <u end)) -1)
 *
 *   (func (export "back") (param $begin i32) (param $at i32) (param $count i32) (result i32) …
 *     (loop
 *       at   -= 16
 *       found = bitmask(bytes[at..at+16] == '\n')
 *       (if at <s begin (found &= -1 << (begin - at)))
 *       count -= popcnt(found)
 *       (if count <=s 0
 *         (loop (if count == 0 (return at + ctz(found)))        ;; the lowest ones of them were not asked for
 *               found &= found - 1, count += 1, (br)))
 *       (br_if at >s begin)) -1)
 */

export interface FloodScanner {
  /** What is read into this memory need not be copied; HEADROOM_BYTES before it may be used as well. */
  readonly room: Buffer;
  /** Takes the bytes that `next` will look at, at most `maxBytes` of them; overwrites what lies behind them in `room`. */
  load(bytes: Uint8Array): void;
  /** As `nextSeparator(bytes, from)`, but digits before `from` do not count. */
  next(from: number): number;
  readonly maxBytes: number;
  /** Index of the `count`th line end from the end of bytes[..end], -1 where there are fewer; undefined: not in `room`. */
  lineEndBefore(bytes: Uint8Array, end: number, count: number): number | undefined;
}

/** What is used of it; the typings of Node leave it to those of browsers. */
interface Wasm {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (
    module: object,
  ) => {
    readonly exports: {
      readonly memory: { readonly buffer: ArrayBuffer };
      readonly next: (at: number, end: number) => number;
      readonly back: (begin: number, at: number, count: number) => number;
    };
  };
}

/** What a read may bring at most. */
export const ROOM_BYTES = 256 * 1024;
/** For what has to be looked at together with the next chunk: more than twice the longest token. */
export const HEADROOM_BYTES = 512;
const PAGES = 5;
const STEP = 64;
const MAX_BYTES = HEADROOM_BYTES + ROOM_BYTES;
/** `back` may look at bytes before the first. */
const ROOM_AT = STEP + HEADROOM_BYTES;

let module: object | null | undefined;

/** A new scanner with memory of its own, or null where there can be none. */
export function createFloodScanner(): FloodScanner | null {
  if (module === null) return null;
  try {
    const { WebAssembly } = globalThis as unknown as { readonly WebAssembly: Wasm };
    module ??= new WebAssembly.Module(assemble());
    const { memory, next, back } = new WebAssembly.Instance(module).exports;
    const heap = new Uint8Array(memory.buffer);
    let start = 0;
    let end = 0;
    return {
      room: Buffer.from(memory.buffer, ROOM_AT, ROOM_BYTES),
      maxBytes: MAX_BYTES,
      load(bytes) {
        const inPlace = bytes.buffer === heap.buffer;
        start = inPlace ? bytes.byteOffset : STEP;
        end = start + bytes.length;
        if (!inPlace) heap.set(bytes, STEP);
        // The last step reads past the end; zeros are no separators.
        heap.fill(0, end, end + STEP);
      },
      next(from) {
        const at = start + from;
        if (at >= end) return -1;
        const found = next(at, end);
        return found < 0 ? -1 : found - start;
      },
      lineEndBefore(bytes, end, count) {
        if (bytes.buffer !== heap.buffer) return undefined;
        const begin = bytes.byteOffset;
        const found = end > 0 ? back(begin, begin + end, count) : -1;
        return found < 0 ? -1 : found - begin;
      },
    };
  } catch {
    // No SIMD on this processor, or WebAssembly switched off.
    module = null;
    return null;
  }
}

/** LEB128, unsigned. */
function unsigned(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...unsigned(value >>> 7)];
}

function vector(items: readonly (readonly number[])[]): number[] {
  return [...unsigned(items.length), ...items.flat()];
}

function section(id: number, items: readonly (readonly number[])[]): number[] {
  const body = vector(items);
  return [id, ...unsigned(body.length), ...body];
}

function exported(name: string, kind: number, index: number): number[] {
  return [...unsigned(name.length), ...Buffer.from(name), kind, index];
}

function assemble(): Uint8Array {
  const [I32, I64, V128] = [0x7f, 0x7e, 0x7b];
  const get = (local: number) => [0x20, local];
  const set = (local: number) => [0x21, local];
  const tee = (local: number) => [0x22, local];
  /** i32.const; of one byte or two, so from -64 to 8191. */
  const constant = (value: number) =>
    value < 64 ? [0x41, value & 0x7f] : [0x41, (value & 0x7f) | 0x80, value >>> 7];
  /** i64.const; of one byte, so up to 63. */
  const long = (value: number) => [0x42, value];
  const [loop, when, end, branchIf, giveBack] = [[0x03, 0x40], [0x04, 0x40], 0x0b, [0x0d, 0], 0x0f];
  const simd = (operation: number, ...immediate: number[]) => [0xfd, ...unsigned(operation), ...immediate];
  const load = (offset: number) => simd(0x00, 0, offset);
  const splat = (byte: number) => [...constant(byte), ...simd(0x0f)];
  const [equal, atMost, subtract, either, bitmask] = [
    simd(0x23),
    simd(0x2a),
    simd(0x71),
    simd(0x50),
    simd(0x64),
  ];

  function next(): number[] {
    const [AT, END, DIGITS, PAIRS, FIVES, DIGITS_BEFORE, PAIRS_BEFORE, FIVES_BEFORE, FOUND] = [
      0, 1, 2, 3, 4, 5, 6, 7, 8,
    ];
    const [BYTES, ZERO, NINE, TEN, PERCENT] = [9, 10, 11, 12, 13];
    const [add, ltU, extend, wrap] = [0x6a, 0x49, 0xad, 0xa7];
    const [and, or, shl, shrU, ctz, isZero, not] = [0x83, 0x84, 0x86, 0x88, 0x7a, 0x50, 0x45];
    /** Makes bits `by` to `by + 15` of `into` of a vector of yes and no. */
    const collect = (into: number, by: number) => [
      ...[...bitmask, extend],
      ...(by === 0 ? set(into) : [...long(by), shl, ...get(into), or, ...set(into)]),
    ];
    const sixteen = (by: number) => [
      ...[...get(AT), ...load(by), ...get(ZERO), ...subtract, ...tee(BYTES)],
      // One instruction less than `< 10`.
      ...[...get(NINE), ...atMost, ...collect(DIGITS, by)],
      // A colon is ten more than a zero.
      ...[...get(BYTES), ...get(TEN), ...equal, ...get(BYTES), ...get(PERCENT), ...equal, ...either],
      ...collect(FOUND, by),
    ];
    const shifted = (local: number, before: number, by: number) => [
      ...[...get(local), ...long(by), shl],
      ...[...get(before), ...long(64 - by), shrU, or],
    ];
    const code = [
      ...[
        ...splat(48),
        ...set(ZERO),
        ...splat(9),
        ...set(NINE),
        ...splat(10),
        ...set(TEN),
        ...splat(0x25 - 48 + 256),
        ...set(PERCENT),
      ],
      ...loop,
      ...[0, 16, 32, 48].flatMap(sixteen),
      ...[...get(DIGITS), ...shifted(DIGITS, DIGITS_BEFORE, 1), and, ...tee(PAIRS)],
      ...[...shifted(PAIRS, PAIRS_BEFORE, 2), and, ...shifted(DIGITS, DIGITS_BEFORE, 4), and, ...set(FIVES)],
      ...[...shifted(FIVES, FIVES_BEFORE, 1), ...get(FOUND), and, ...tee(FOUND), isZero, not],
      ...[...when, ...get(AT), ...get(FOUND), ctz, wrap, add, giveBack, end],
      ...[...get(DIGITS), ...set(DIGITS_BEFORE), ...get(PAIRS), ...set(PAIRS_BEFORE)],
      ...[...get(FIVES), ...set(FIVES_BEFORE)],
      ...[...get(AT), ...constant(STEP), add, ...tee(AT), ...get(END), ltU],
      ...[...branchIf, end],
      ...[...constant(-1), end],
    ];
    return [
      ...vector([
        [7, I64],
        [5, V128],
      ]),
      ...code,
    ];
  }

  function back(): number[] {
    const [BEGIN, AT, COUNT, FOUND, NEWLINE] = [0, 1, 2, 3, 4];
    const [add, sub, and, shl, ctz, popcnt] = [0x6a, 0x6b, 0x71, 0x74, 0x68, 0x69];
    const [isZero, ltS, gtS, leS] = [0x45, 0x48, 0x4a, 0x4c];
    const code = [
      ...[...splat(0x0a), ...set(NEWLINE)],
      ...loop,
      ...[...get(AT), ...constant(16), sub, ...tee(AT), ...load(0), ...get(NEWLINE), ...equal, ...bitmask],
      ...set(FOUND),
      ...[...get(AT), ...get(BEGIN), ltS, ...when],
      ...[...get(FOUND), ...constant(-1), ...get(BEGIN), ...get(AT), sub, shl, and, ...set(FOUND), end],
      ...[...get(COUNT), ...get(FOUND), popcnt, sub, ...tee(COUNT), ...constant(0), leS, ...when],
      ...loop,
      ...[...get(COUNT), isZero, ...when, ...get(AT), ...get(FOUND), ctz, add, giveBack, end],
      ...[...get(FOUND), ...get(FOUND), ...constant(1), sub, and, ...set(FOUND)],
      ...[...get(COUNT), ...constant(1), add, ...set(COUNT), 0x0c, 0, end], // br, end of the inner loop
      ...[0x00, end], // never reached
      ...[...get(AT), ...get(BEGIN), gtS, ...branchIf, end],
      ...[...constant(-1), end],
    ];
    return [
      ...vector([
        [1, I32],
        [1, V128],
      ]),
      ...code,
    ];
  }

  const bodies = [next(), back()].map((body) => [...unsigned(body.length), ...body]);
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // \0asm, version 1
    ...section(1, [
      [0x60, 2, I32, I32, 1, I32],
      [0x60, 3, I32, I32, I32, 1, I32],
    ]),
    ...section(3, [[0], [1]]),
    ...section(5, [[1, PAGES, PAGES]]),
    ...section(7, [exported('memory', 2, 0), exported('next', 0, 0), exported('back', 0, 1)]),
    ...section(10, bodies),
  ]);
}
