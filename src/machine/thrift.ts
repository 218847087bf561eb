/**
 * Memory or speed: V8's optimizing compilers. A supervisor that only waits runs little and gains nothing from them, but the
 * first small function that is optimized brings 4 MB of the compiler into memory. So they are off until the worker floods the
 * gateway, or its output, which has to be masked fast: that of WebAssembly for the search for tokens in big chunks, that of
 * JavaScript only for what is searched by itself, in small chunks or where tokens abound, as its own work takes as long as
 * 50 MB of output do. From then on each stays on, as what it took is not given back.
 * Never decides anything else; where V8 knows no such flag, nothing happens.
 */
import { setFlagsFromString } from 'node:v8';

/** So much output within a second is a flood. */
export const FLOOD_OUTPUT_BYTES = 64 * 1024;
/** Or so much of it that was looked at in JavaScript, some 4 ms without the compiler. */
export const FLOOD_TOIL_BYTES = 256 * 1024;
/** Or so many calls. Without the compiler each takes half a millisecond. */
export const FLOOD_CALLS = 100;
/** Or so much of big bodies, which only an API nearby takes so fast. */
export const FLOOD_BYTES = 16 * 1024 * 1024;

export interface Thrift {
  /** Tells of output that has passed, and how much of it was looked at in JavaScript. */
  passed(bytes: number, toilBytes: number, nowMs: number): void;
  /** Tells of a call of the worker that has been carried to the Bot API. */
  called(nowMs: number): void;
  /** Tells of a part of a big body, of the worker's or for it. */
  streamed(bytes: number, nowMs: number): void;
}

/** Starts to save memory at once. */
export function startThrift(setFlag: (flag: string) => void = setFlagsFromString): Thrift {
  setFlag('--no-opt');
  // The compiler that optimizes nothing is small, and what follows a crash of the worker has seldom run before: some 10 % of the
  // time until the next one (`npm run bench -- restart`), for 1 MB.
  setFlag('--always-sparkplug');
  // The HTTP parser of the gateway's client is WebAssembly. Its own optimizing compiler takes 10 MB, and gains nothing that can
  // be measured (`npm run bench -- gateway`): traffic leaves it off. The search for tokens in a flood of output does gain.
  setFlag('--liftoff-only');
  const output = untilFlood(() => {
    // What the one flag has switched off comes back one by one.
    for (const flag of ['--no-liftoff-only', '--wasm-tier-up', '--wasm-dynamic-tiering']) setFlag(flag);
  });
  const optimize = () => setFlag('--opt');
  const toil = untilFlood(optimize);
  const traffic = untilFlood(optimize);
  return {
    passed(bytes, toilBytes, nowMs) {
      output(bytes / FLOOD_OUTPUT_BYTES, nowMs);
      toil(toilBytes / FLOOD_TOIL_BYTES, nowMs);
    },
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
