/**
 * Memory or speed: V8's optimizing compiler. A supervisor that only waits runs little and gains nothing from it, but the
 * first small function that it optimizes brings 4 MB of the compiler into memory. So it is off until the worker floods its
 * output, which has to be masked fast, or the gateway; from then on it stays on, as what it took is
 * not given back.
 * Never decides anything else; where V8 knows no such flag, nothing happens.
 */
import { setFlagsFromString } from 'node:v8';

/** So much output within a second is a flood. */
export const FLOOD_CHARS = 64 * 1024;
/** Or so many calls. Without the compiler each takes half a millisecond. */
export const FLOOD_CALLS = 100;
/** Or so much of big bodies, which only an API nearby takes so fast. */
export const FLOOD_BYTES = 16 * 1024 * 1024;

export interface Thrift {
  /** Tells of output that has passed. */
  note(chars: number, nowMs: number): void;
  /** Tells of a call of the worker that has been carried to the Bot API. */
  called(nowMs: number): void;
  /** Tells of a part of a big body, of the worker's or for it. */
  streamed(bytes: number, nowMs: number): void;
}

/** Starts to save memory at once. */
export function startThrift(setFlag: (flag: string) => void = setFlagsFromString): Thrift {
  setFlag('--no-opt');
  // The HTTP parser of the gateway's client is WebAssembly. Its own optimizing compiler takes 10 MB, and gains nothing that can
  // be measured (`npm run bench -- gateway`): traffic leaves it off. The search for tokens in a flood of output does gain.
  setFlag('--liftoff-only');
  const output = untilFlood(() => {
    setFlag('--opt');
    // What the other flag has switched off with it comes back one by one.
    for (const flag of ['--no-liftoff-only', '--wasm-tier-up', '--wasm-dynamic-tiering']) setFlag(flag);
  });
  const traffic = untilFlood(() => setFlag('--opt'));
  return {
    note: (chars, nowMs) => output(chars / FLOOD_CHARS, nowMs),
    called: (nowMs) => traffic(1 / FLOOD_CALLS, nowMs),
    streamed: (bytes, nowMs) => traffic(bytes / FLOOD_BYTES, nowMs),
  };
}

/** Counts shares of a flood, and calls once when a second has brought a whole one. */
function untilFlood(onFlood: () => void): (share: number, nowMs: number) => void {
  let over = false;
  let sinceMs = 0;
  let level = 0;
  return (share, nowMs) => {
    if (over) return;
    if (nowMs - sinceMs > 1_000) {
      sinceMs = nowMs;
      level = 0;
    }
    level += share;
    if (level < 1) return;
    over = true;
    onFlood();
  };
}
