/**
 * The log of a run: a file that is appended to and rotated by size, PATH, PATH.1 (the newest of the old) … PATH.N. Each of its lines
 * is whole and begins with time and stream, `2026-11-21T09:12:31.123Z out text`, so that nothing that a worker prints can pass for
 * a line of ours. Never throws: what can't be written is counted and told, and tried again at the next write a second later.
 *
 * Own code, because the streams of rotating-file-stream, pino-roll and winston are destroyed for good by a full disk, take a short write
 * for a whole one, don't notice that the file was moved, and write behind, so that the last words before a SIGKILL are lost.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { readTextFile } from '../config/files.ts';
import { makeFolder, mayWriteWhole } from '../files.ts';
import type { LiveLine } from '../supervisor/status.ts';
import { LINE_BYTES_MAX } from './pump.ts';

export type Log = ReturnType<typeof openLog>;
export type LogFacts = ReturnType<Log['facts']>;

export interface LogOptions {
  readonly path: string;
  readonly maxBytes: number;
  readonly keep: number;
  /** Replaced by tests. */
  readonly writeSync?: (fd: number, bytes: Buffer, offset: number, length: number) => number;
  readonly nowMs?: () => number;
}

/** So much is written at once: less than the smallest size of a log. */
const BATCH_BYTES = 64 * 1024;
const RETRY_MS = 1_000;
const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK, O_NOCTTY } = fs.constants;
const OPEN_FLAGS = O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY;

/** Opens nothing that must succeed: an error, also of the first write, shows in `facts`. */
export function openLog({ path, maxBytes, keep, ...replaced }: LogOptions) {
  const { writeSync = fs.writeSync, nowMs = () => performance.now() } = replaced;
  let failing: string | null = null;
  let unrotated: string | null = null;
  let retryAtMs = 0;
  let droppedBytes = 0;
  let gapBytes = 0;
  /** The last write ended within a line. */
  let isTorn = false;

  function open(): number {
    try {
      return fs.openSync(path, OPEN_FLAGS, 0o600);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      makeFolder(dirname(path));
      return fs.openSync(path, OPEN_FLAGS, 0o600);
    }
  }

  function rotate(): void {
    try {
      if (keep === 0) fs.unlinkSync(path);
      for (let n = keep; n > 0; n--) {
        const from = n === 1 ? path : `${path}.${n - 1}`;
        if (fs.existsSync(from)) fs.renameSync(from, `${path}.${n}`);
      }
      unrotated = null;
    } catch (error) {
      // Rather too long than not written.
      unrotated = `the log can't be rotated: ${why(error)} (${path})`;
    }
  }

  /**
   * Opens the file each time: logrotate, another supervisor or a user may have moved or removed it since. Throws the system's error;
   * `onWritten` gets what was written before.
   */
  function append(lines: Buffer, onWritten: (bytes: number) => void = () => {}): void {
    const stat = fs.statSync(path, { throwIfNoEntry: false });
    // Only a regular file is rotated: not /dev/null.
    if (stat?.isFile() && stat.size > 0 && stat.size + lines.length > maxBytes) rotate();
    const fd = open();
    try {
      for (let at = 0; at < lines.length; ) {
        const written = writeSync(fd, lines, at, lines.length - at);
        at += written;
        isTorn = at < lines.length;
        onWritten(written);
      }
    } finally {
      fs.closeSync(fd);
    }
  }

  function writeBatch(lines: Buffer): void {
    let left = lines.length;
    try {
      if (failing !== null && nowMs() < retryAtMs) return;
      const gap = `[log] written again; ${gapBytes} bytes could not be written and are lost`;
      if (gapBytes > 0) append(Buffer.from(`${isTorn ? '\n' : ''}${stamp('singlepoll')}${gap}\n`));
      gapBytes = 0;
      append(lines, (written) => {
        left -= written;
      });
      failing = null;
    } catch (error) {
      failing = `nothing is logged: ${why(error)} (${path})`;
      retryAtMs = nowMs() + RETRY_MS;
    } finally {
      droppedBytes += left;
      gapBytes += left;
    }
  }

  writeBatch(Buffer.alloc(0));
  return {
    /** `text`: whole lines without the last newline, a latin1 character for each byte. Written when it returns. */
    write(from: LiveLine['from'], text: string): void {
      const begin = stamp(from);
      let batch = '';
      for (const line of text.split('\n')) {
        for (let at = 0; at === 0 || at < line.length; at += LINE_BYTES_MAX)
          batch += `${begin}${line.slice(at, at + LINE_BYTES_MAX)}\n`;
        if (batch.length < BATCH_BYTES) continue;
        writeBatch(Buffer.from(batch, 'latin1'));
        batch = '';
      }
      if (batch !== '') writeBatch(Buffer.from(batch, 'latin1'));
    },
    /** `problem`: why nothing, or not as it should be, is written at present; null: all is well. */
    facts() {
      // A disk that has room again, or a folder that is back, is seen by who asks, too.
      if (failing !== null) writeBatch(Buffer.alloc(0));
      return { path, problem: failing ?? unrotated, droppedBytes };
    },
  };
}

const stamp = (from: LiveLine['from']): string => `${new Date().toISOString()} ${from} `;

const WORDS: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EROFS: 'the file system is read-only',
  EACCES: 'this user may not write there',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of its path is not a folder',
  EEXIST: 'a part of its path is not a folder',
};

function why(error: unknown): string {
  const { code = '', message } = error as NodeJS.ErrnoException;
  return code in WORDS ? `${WORDS[code]} (${code})` : message;
}

/** Names the log of the last run: it may lie anywhere. */
const RECORD = 'log-path';
const POLLING_LOG = 'singlepoll.log';

/** The usual place. In deploy mode several may run of one bot, or of none: one for each working folder. */
export function logPath(botDir: string, { polling, cwd }: { polling: boolean; cwd: string }): string {
  if (polling) return join(botDir, POLLING_LOG);
  return join(botDir, `deploy-${createHash('sha256').update(cwd).digest('hex').slice(0, 8)}.log`);
}

/** What can't be written down is found at the usual place only. */
export function rememberLog(botDir: string, path: string): void {
  mayWriteWhole(join(botDir, RECORD), `${path}\n`);
}

export function recallLog(botDir: string): string {
  const record = readTextFile(join(botDir, RECORD));
  const path = record.kind === 'text' ? record.text.replace(/\n$/, '') : '';
  return path || join(botDir, POLLING_LOG);
}
