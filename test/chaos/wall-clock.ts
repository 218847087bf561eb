// A wall clock that a row can set, for processes that call the C library for the time (wall-clock.c).
import { execFileSync } from 'node:child_process';
import { chmodSync, closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface WallClock {
  /** Of the processes that live by it. */
  readonly env: Record<string, string>;
  /** Ahead of the true one by so many ms, from now on. */
  set(ms: number): void;
}

let made = 0;

export function makeWallClock(dir: string): WallClock {
  const library = join(dir, `wall-clock-${++made}.so`);
  const file = join(dir, `wall-clock-${made}`);
  const source = fileURLToPath(new URL('wall-clock.c', import.meta.url));
  execFileSync('gcc', ['-O2', '-shared', '-fPIC', '-o', library, source]);
  const fd = openSync(file, 'w');
  const set = (ms: number): void => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(ms) * 1_000_000n);
    writeSync(fd, bytes, 0, 8, 0);
  };
  set(0);
  chmodSync(file, 0o644);
  process.once('exit', () => closeSync(fd));
  return { env: { LD_PRELOAD: library, CHAOS_CLOCK: file }, set };
}
