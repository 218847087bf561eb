/**
 * Memory or speed: V8's optimizing compiler. A supervisor that only waits runs little and gains nothing from it, but the
 * first small function that it optimizes brings 4 MB of the compiler into memory. So it is off until the worker floods its
 * output, which has to be masked fast, or makes many calls through the gateway; from then on it stays on, as what it took is
 * not given back.
 * Never decides anything else; where V8 knows no such flag, nothing happens.
 */
import { setFlagsFromString } from 'node:v8';

/** So much output within a second is a flood. */
export const FLOOD_CHARS = 64 * 1024;
/** Or so many calls. Without the compiler each takes half a millisecond. */
export const FLOOD_CALLS = 100;

export interface Thrift {
  /** Tells of output that has passed. */
  note(chars: number, nowMs: number): void;
  /** Tells of a call of the worker that has been carried to the Bot API. */
  called(nowMs: number): void;
}

/** Starts to save memory at once. */
export function startThrift(setFlag: (flag: string) => void = setFlagsFromString): Thrift {
  let saving = true;
  let sinceMs = 0;
  let flood = 0;
  setFlag('--no-opt');
  // The HTTP parser of the gateway's client is WebAssembly. Its own optimizing compiler takes 10 MB, and gains nothing that can
  // be measured (`npm run bench -- gateway`): calls leave it off. The search for tokens in a flood of output does gain.
  setFlag('--liftoff-only');

  /** `share` of what is a flood. */
  function count(share: number, nowMs: number, flags: readonly string[]): void {
    if (!saving) return;
    if (nowMs - sinceMs > 1_000) {
      sinceMs = nowMs;
      flood = 0;
    }
    flood += share;
    if (flood < 1) return;
    saving = false;
    for (const flag of flags) setFlag(flag);
  }

  return {
    note: (chars, nowMs) => count(chars / FLOOD_CHARS, nowMs, ['--opt', '--no-liftoff-only']),
    called: (nowMs) => count(1 / FLOOD_CALLS, nowMs, ['--opt']),
  };
}
