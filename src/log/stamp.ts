/**
 * Makes lines of a log file out of a stream of bytes: `2026-11-21T09:12:31.123Z out text`, always whole lines, so that lines of
 * several streams never run into each other and nothing that a worker prints can pass for a line of ours. Pure: the time is
 * given.
 */

/** Of the worker, or singlepoll's own words. */
export type StreamName = 'out' | 'err' | 'singlepoll';

export interface Stamper {
  /** Takes the next bytes, keeping no reference to them; whole lines are emitted before it returns. */
  add(bytes: Buffer, at: Date): void;
  /** Ends the line that is unfinished, if there is one. */
  end(at: Date): void;
  /** Bytes of the unfinished line. */
  readonly held: number;
}

/** A longer line is broken into lines of this length. */
export const LINE_BYTES_MAX = 32 * 1024;
/** So much is handed on at once. */
const BATCH_BYTES = 64 * 1024;
const NEWLINE = 0x0a;
const LINE_END = Buffer.from('\n');
const EMPTY = Buffer.alloc(0);

/** `emit` gets one or more whole lines, and may keep the buffer. */
export function createStamper(name: StreamName, emit: (lines: Buffer) => void): Stamper {
  let open: Buffer = EMPTY;
  let batch: Buffer[] = [];
  let batchBytes = 0;

  function push(...parts: readonly Buffer[]): void {
    for (const part of parts) batchBytes += part.length;
    batch.push(...parts);
    if (batchBytes >= BATCH_BYTES) flush();
  }

  function flush(): void {
    if (batch.length === 0) return;
    const lines = Buffer.concat(batch, batchBytes);
    batch = [];
    batchBytes = 0;
    emit(lines);
  }

  return {
    add(bytes, at) {
      const stamp = stampOf(at, name);
      let start = 0;
      while (start < bytes.length) {
        const newline = bytes.indexOf(NEWLINE, start);
        const end = newline < 0 ? bytes.length : newline;
        const room = LINE_BYTES_MAX - open.length;
        if (end - start > room) {
          push(stamp, open, bytes.subarray(start, start + room), LINE_END);
          start += room;
          open = EMPTY;
        } else if (newline < 0) {
          open = Buffer.concat([open, bytes.subarray(start)]);
          break;
        } else {
          push(stamp, open, bytes.subarray(start, newline + 1));
          open = EMPTY;
          start = newline + 1;
        }
      }
      flush();
    },
    end(at) {
      if (open.length === 0) return;
      push(stampOf(at, name), open, LINE_END);
      open = EMPTY;
      flush();
    },
    get held() {
      return open.length;
    },
  };
}

function stampOf(at: Date, name: StreamName): Buffer {
  return Buffer.from(`${at.toISOString()} ${name} `);
}
