/**
 * The log of a run: a rotated file that takes several streams. Each of its lines is whole and begins with time and stream,
 * `2026-11-21T09:12:31.123Z out text`, so that nothing that a worker prints can pass for a line of ours.
 */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openRotatedFile } from './log-file.ts';

/** Of the worker, or singlepoll's own words. */
export type StreamName = 'out' | 'err' | 'singlepoll';

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

/** A longer line is broken into lines of this length. */
export const LINE_BYTES_MAX = 32 * 1024;
/** So much is written at once: less than the smallest size of a log. */
const BATCH_BYTES = 64 * 1024;
/** A line whose end does not come is written after this long: it may be a prompt. */
const HOLD_MS = 2_000;
/** Names the log of the last run: it may lie anywhere. */
const RECORD = 'log-path';
const POLLING_LOG = 'singlepoll.log';

/** Opens it at once; what goes wrong then and later is told by `facts`. */
export function openLog(options: LogOptions): Log {
  const afterGap = (droppedBytes: number) =>
    Buffer.from(
      `${stamp('singlepoll')}[log] written again; ${droppedBytes} bytes could not be written and are lost\n`,
    );
  const file = openRotatedFile({ ...options, afterGap });
  return {
    stream: (name) => stampedStream(name, file.write),
    facts: () => ({ path: options.path, problem: file.problem, droppedBytes: file.droppedBytes }),
    close: file.close,
  };
}

/** Text is latin1, a character for each byte. `emit` gets whole lines. */
export function stampedStream(name: StreamName, emit: (lines: Buffer) => void): LogStream {
  let unfinished = '';
  let batch = '';
  let timer: NodeJS.Timeout | undefined;

  function put(line: string): void {
    batch += `${stamp(name)}${line}\n`;
    if (batch.length >= BATCH_BYTES) flush();
  }

  function flush(): void {
    if (batch !== '') emit(Buffer.from(batch, 'latin1'));
    batch = '';
  }

  function end(): void {
    clearTimeout(timer);
    if (unfinished !== '') put(unfinished);
    unfinished = '';
    flush();
  }

  return {
    write(bytes) {
      clearTimeout(timer);
      const lines = bytes.toString('latin1').split('\n');
      for (const [i, text] of lines.entries()) {
        unfinished += text;
        for (; unfinished.length > LINE_BYTES_MAX; unfinished = unfinished.slice(LINE_BYTES_MAX))
          put(unfinished.slice(0, LINE_BYTES_MAX));
        if (i === lines.length - 1) break;
        put(unfinished);
        unfinished = '';
      }
      flush();
      if (unfinished !== '') timer = setTimeout(end, HOLD_MS).unref();
    },
    end,
  };
}

function stamp(name: StreamName): string {
  return `${new Date().toISOString()} ${name} `;
}

/** The usual place. In deploy mode several may run of one bot, or of none: one for each working folder. */
export function logPath(botDir: string, { polling, cwd }: { polling: boolean; cwd: string }): string {
  if (polling) return join(botDir, POLLING_LOG);
  return join(botDir, `deploy-${createHash('sha256').update(cwd).digest('hex').slice(0, 8)}.log`);
}

/** What can't be written down is found at the usual place only. */
export function rememberLog(botDir: string, path: string): void {
  try {
    writeFileSync(join(botDir, RECORD), `${path}\n`, { mode: 0o600 });
  } catch {
    // A full disk: `logs` asks the supervisor first anyway.
  }
}

export function recallLog(botDir: string): string {
  try {
    const path = readFileSync(join(botDir, RECORD), 'utf8').replace(/\n$/, '');
    if (path !== '') return path;
  } catch {
    // No run has written one here.
  }
  return join(botDir, POLLING_LOG);
}
