/** The log of a run: a rotated file that takes several streams, each of its lines with time and stream. */
import { openRotatedFile } from './rotated-file.ts';
import { createStamper, type StreamName } from './stamp.ts';

/** One stream's way into the log. */
export interface LogStream {
  /** Never blocks on a reader, never throws; the bytes may be reused at once. */
  write(bytes: Buffer): void;
  /** No more will come: an unfinished line is written. */
  end(): void;
}

/** As `status` tells of it. */
export interface LogFacts {
  readonly path: string;
  /** Why nothing is written at present; null: all is well. */
  readonly problem: string | null;
  /** What could not be written. */
  readonly droppedBytes: number;
}

export interface Log {
  stream(name: StreamName): LogStream;
  facts(): LogFacts;
  close(): void;
}

export interface LogOptions {
  readonly path: string;
  readonly maxBytes: number;
  readonly keep: number;
}

/** A line whose end does not come is written after this long: it may be a prompt. */
const HOLD_MS = 2_000;

/** Opens it at once; what goes wrong then and later is told by `facts`. */
export function openLog(options: LogOptions): Log {
  const file = openRotatedFile({ ...options, afterGap: gapLine });
  return {
    stream(name) {
      const stamper = createStamper(name, file.write);
      let timer: NodeJS.Timeout | null = null;
      return {
        write(bytes) {
          if (timer !== null) clearTimeout(timer);
          timer = null;
          stamper.add(bytes, new Date());
          if (stamper.held > 0) timer = setTimeout(() => stamper.end(new Date()), HOLD_MS).unref();
        },
        end() {
          if (timer !== null) clearTimeout(timer);
          stamper.end(new Date());
        },
      };
    },
    facts: () => ({ path: file.path, problem: file.problem, droppedBytes: file.droppedBytes }),
    close: file.close,
  };
}

function gapLine(droppedBytes: number): Buffer {
  return Buffer.from(
    `${new Date().toISOString()} singlepoll [log] written again; ${droppedBytes} bytes could not be written and are lost\n`,
  );
}
