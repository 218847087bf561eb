/**
 * `nextSeparator` of token-scan.ts for floods: sixteen bytes at a time, three times as fast. JavaScript has no vectors, so
 * this is WebAssembly, small enough to be assembled here by hand (WebAssembly 2.0, binary format, with fixed-width
 * SIMD). It is made at the first flood only, because the engine's machinery for it costs some megabytes. Null where it
 * can't be had; the plain scan then does the same.
 *
 *   (func (export "next") (param $at i32) (param $end i32) (result i32) (local $carry i32) …
 *     (loop
 *       digits   = bitmask(bytes[at..at+16] - '0' <u 10)
 *       window   = digits << 5 | carry            ;; bit i+5: a digit at `at + i`
 *       five     = window & window>>1 & … & window>>4  ;; bit i: digits at the five bytes before `at + i`
 *       found    = five & bitmask(bytes == ':' or bytes == '%')
 *       (if found (return at + ctz(found)))
 *       carry    = digits >> 11                   ;; the last five
 *       at      += 16
 *       (br_if at <u end)) -1)
 */

export interface SeparatorScanner {
  /** Takes the bytes that `next` will look at; at most `maxBytes` of them. */
  load(bytes: Uint8Array): void;
  /** As `nextSeparator(bytes, from)`, but digits before `from` do not count. */
  next(from: number): number;
  readonly maxBytes: number;
}

/** What is used of it; the typings of Node leave it to those of browsers. */
interface Wasm {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (
    module: object,
  ) => { readonly exports: { readonly memory: { readonly buffer: ArrayBuffer }; readonly next: Next } };
}
type Next = (at: number, end: number) => number;

const PAGES = 2;
const MAX_BYTES = PAGES * 65_536 - 32;
const LANES = 16;

let made: SeparatorScanner | null | undefined;

/** The one scanner of this process, or null where there can be none. */
export function separatorScanner(): SeparatorScanner | null {
  if (made === undefined) made = make();
  return made;
}

function make(): SeparatorScanner | null {
  try {
    const { WebAssembly } = globalThis as unknown as { readonly WebAssembly: Wasm };
    const { memory, next } = new WebAssembly.Instance(new WebAssembly.Module(assemble())).exports;
    const heap = new Uint8Array(memory.buffer);
    let end = 0;
    return {
      maxBytes: MAX_BYTES,
      load(bytes) {
        end = bytes.length;
        heap.set(bytes);
        // The last load of sixteen reads past the end; zeros are no separators.
        heap.fill(0, end, end + LANES);
      },
      next: (from) => (from < end ? next(from, end) : -1),
    };
  } catch {
    // No SIMD on this processor, or WebAssembly switched off.
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

function exported(name: string, kind: number): number[] {
  return [...unsigned(name.length), ...Buffer.from(name), kind, 0];
}

function assemble(): Uint8Array {
  const [I32, V128] = [0x7f, 0x7b];
  const [AT, END, CARRY, DIGITS, WINDOW, BYTES] = [0, 1, 2, 3, 4, 5];
  const get = (local: number) => [0x20, local];
  const set = (local: number) => [0x21, local];
  const tee = (local: number) => [0x22, local];
  /** i32.const; of one byte, so -64 to 63 only. */
  const constant = (value: number) => [0x41, value & 0x7f];
  const [add, and, or, shl, shrU, ctz, ltU] = [0x6a, 0x71, 0x72, 0x74, 0x76, 0x68, 0x49];
  const simd = (operation: number, ...immediate: number[]) => [0xfd, ...unsigned(operation), ...immediate];
  const load = simd(0x00, 0, 0);
  const splat = (byte: number) => [...constant(byte), ...simd(0x0f)];
  const [equal, lessU, subtract, either, bitmask] = [
    simd(0x23),
    simd(0x26),
    simd(0x71),
    simd(0x50),
    simd(0x64),
  ];
  const window = [...get(DIGITS), ...constant(5), shl, ...get(CARRY), or];
  const shiftedRight = (local: number, by: number) => [...get(local), ...constant(by), shrU];

  const code = [
    ...[0x03, 0x40], // loop
    ...[...get(AT), ...load, ...set(BYTES)],
    ...[...get(BYTES), ...splat(48), ...subtract, ...splat(10), ...lessU, ...bitmask, ...set(DIGITS)],
    // Three ands do the work of four: two digits, then four, then five.
    ...[...window, ...tee(WINDOW), ...shiftedRight(WINDOW, 1), and, ...tee(WINDOW)],
    ...[...shiftedRight(WINDOW, 2), and],
    ...[...window, ...constant(4), shrU, and],
    ...[
      ...get(BYTES),
      ...splat(0x3a),
      ...equal,
      ...get(BYTES),
      ...splat(0x25),
      ...equal,
      ...either,
      ...bitmask,
    ],
    ...[and, ...tee(WINDOW)],
    ...[0x04, 0x40, ...get(AT), ...get(WINDOW), ctz, add, 0x0f, 0x0b], // if … return … end
    ...[...shiftedRight(DIGITS, 11), ...set(CARRY)],
    ...[...get(AT), ...constant(LANES), add, ...tee(AT), ...get(END), ltU],
    ...[0x0d, 0, 0x0b], // br_if, end of loop
    ...[...constant(-1), 0x0b],
  ];
  const locals = vector([
    [3, I32],
    [1, V128],
  ]);
  const body = [...locals, ...code];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // \0asm, version 1
    ...section(1, [[0x60, 2, I32, I32, 1, I32]]),
    ...section(3, [[0]]),
    ...section(5, [[0, PAGES]]),
    ...section(7, [exported('memory', 2), exported('next', 0)]),
    ...section(10, [[...unsigned(body.length), ...body]]),
  ]);
}
