/**
 * Memory or speed: V8's optimizing compiler. A supervisor that only waits runs little and gains nothing from it, but the
 * first small function that it optimizes brings 4 MB of the compiler into memory. So it is off until the worker floods its
 * output, which has to be masked fast; from then on it stays on, as what it took is not given back.
 * Never decides anything else; where V8 knows no such flag, nothing happens.
 */
import { setFlagsFromString } from 'node:v8';

/** So much output within a second is a flood. */
export const FLOOD_CHARS = 64 * 1024;

export interface Thrift {
  /** Tells of output that has passed. */
  note(chars: number, nowMs: number): void;
}

/** Starts to save memory at once. */
export function startThrift(setFlag: (flag: string) => void = setFlagsFromString): Thrift {
  let saving = true;
  let sinceMs = 0;
  let passed = 0;
  setFlag('--no-opt');
  // The HTTP parser of the gateway's client is WebAssembly: the optimizing compiler takes 10 MB for it.
  setFlag('--liftoff-only');
  return {
    note(chars, nowMs) {
      if (!saving) return;
      if (nowMs - sinceMs > 1_000) {
        sinceMs = nowMs;
        passed = 0;
      }
      passed += chars;
      if (passed < FLOOD_CHARS) return;
      saving = false;
      setFlag('--opt');
      setFlag('--no-liftoff-only');
    },
  };
}
