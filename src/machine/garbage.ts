/**
 * Memory of big bodies that stream through. Node makes a new buffer of 64 KiB for every piece, and V8 looks for dead ones only
 * when some 40 MB of them have come together. So it is asked to look earlier: at young objects only, which takes below 1 ms.
 * Where V8 offers no such thing, nothing happens.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const EVERY_BYTES = 2 * 1024 * 1024;

let passed = 0;
let collect: (() => void) | null = null;

/** Tells of bytes that have streamed through, in pieces that nobody needs any more. */
export function noteStreamed(bytes: number): void {
  passed += bytes;
  if (passed < EVERY_BYTES) return;
  passed = 0;
  collect ??= collector();
  collect();
}

function collector(): () => void {
  // Only a new context is given the function.
  setFlagsFromString('--expose-gc');
  const gc: unknown = runInNewContext('typeof gc === "function" ? gc : null');
  setFlagsFromString('--no-expose-gc');
  return typeof gc === 'function' ? () => gc({ type: 'minor' }) : () => {};
}
