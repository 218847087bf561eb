/**
 * A file that is appended to and rotated by size: PATH, PATH.1 (the newest of the old) … PATH.N. Never throws: what can't be
 * written is counted and told, and tried again at the next write a second later.
 *
 * Own code, because none of the libraries (rotating-file-stream, pino-roll, winston's) fits: after a full disk their streams are
 * destroyed for good, they take a short write for a whole one, don't notice that the file was moved or removed, and write
 * behind, so that the last words before a SIGKILL are lost.
 */
import fs from 'node:fs';
import { dirname } from 'node:path';

export interface RotatedFile {
  /** Writes whole lines at once. */
  write(lines: Buffer): void;
  /** Why nothing, or not as it should be, is written at present; null: all is well. */
  readonly problem: string | null;
  /** Of what was to be written. */
  readonly droppedBytes: number;
  close(): void;
}

export interface RotatedFileOptions {
  readonly path: string;
  readonly maxBytes: number;
  /** How many old files are kept. */
  readonly keep: number;
  /** Written first when writing works again. */
  readonly afterGap: (droppedBytes: number) => Buffer;
  /** Replaced by tests. */
  readonly writeSync?: (fd: number, bytes: Buffer, offset: number, length: number) => number;
  readonly nowMs?: () => number;
}

interface Open {
  readonly fd: number;
  readonly stat: fs.Stats;
  bytes: number;
}

const RETRY_MS = 1_000;
/** How often it is looked whether the path still leads to the file that is open. */
const LOOK_MS = 1_000;
const NEWLINE = Buffer.from('\n');

/** Opens at once; `problem` tells whether it could. */
export function openRotatedFile(options: RotatedFileOptions): RotatedFile {
  const { path, maxBytes, keep, afterGap } = options;
  const writeSync = options.writeSync ?? fs.writeSync;
  const nowMs = options.nowMs ?? (() => performance.now());
  let file: Open | null = null;
  let failing: string | null = null;
  let unrotated: string | null = null;
  /** It is not rotated before it has this size. */
  let rotateAtBytes = maxBytes;
  let retryAtMs = 0;
  let lookAtMs = 0;
  let droppedBytes = 0;
  let gapBytes = 0;
  /** The last write ended within a line. */
  let isTorn = false;

  function open(): Open {
    fs.mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK, O_NOCTTY } = fs.constants;
    const fd = fs.openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY, 0o600);
    const stat = fs.fstatSync(fd);
    lookAtMs = nowMs() + LOOK_MS;
    rotateAtBytes = maxBytes;
    if (stat.size === 0) isTorn = false;
    return { fd, stat, bytes: stat.size };
  }

  function shut(): void {
    if (file) fs.closeSync(file.fd);
    file = null;
  }

  /** False also where somebody else (logrotate, another supervisor) has moved or removed it. */
  function isInPlace({ stat }: Open): boolean {
    const now = fs.statSync(path, { throwIfNoEntry: false });
    return now?.ino === stat.ino && now.dev === stat.dev;
  }

  function rotate(open: Open): void {
    try {
      if (isInPlace(open)) {
        if (keep === 0) fs.unlinkSync(path);
        for (let n = keep; n > 0; n--) rename(n === 1 ? path : `${path}.${n - 1}`, `${path}.${n}`);
      }
      unrotated = null;
      shut();
    } catch (error) {
      // Rather too long than not written; tried again when it has grown by as much once more.
      unrotated = `the log can't be rotated: ${why(error)} (${path})`;
      rotateAtBytes = open.bytes + maxBytes;
    }
  }

  function append(lines: Buffer, onWritten: (bytes: number) => void = () => {}): void {
    // Only a regular file is rotated: not /dev/null, not a FIFO.
    if (file?.stat.isFile()) {
      if (nowMs() >= lookAtMs && !isInPlace(file)) shut();
      else if (file.bytes > 0 && file.bytes + lines.length > rotateAtBytes) rotate(file);
      if (nowMs() >= lookAtMs) lookAtMs = nowMs() + LOOK_MS;
    }
    file ??= open();
    for (let at = 0; at < lines.length; ) {
      try {
        const written = writeSync(file.fd, lines, at, lines.length - at);
        at += written;
        file.bytes += written;
        isTorn = at < lines.length;
        onWritten(written);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EINTR') throw error;
      }
    }
  }

  function fail(error: unknown): void {
    failing = `nothing is logged: ${why(error)} (${path})`;
    retryAtMs = nowMs() + RETRY_MS;
    // What it led to may be repaired by putting another file there.
    shut();
  }

  try {
    file = open();
  } catch (error) {
    fail(error);
  }

  return {
    write(lines) {
      let left = lines.length;
      try {
        if (failing !== null && nowMs() < retryAtMs) return;
        if (isTorn) append(NEWLINE);
        if (gapBytes > 0) append(afterGap(gapBytes));
        gapBytes = 0;
        append(lines, (written) => {
          left -= written;
        });
        failing = null;
      } catch (error) {
        fail(error);
      } finally {
        droppedBytes += left;
        gapBytes += left;
      }
    },
    get problem() {
      return failing ?? unrotated;
    },
    get droppedBytes() {
      return droppedBytes;
    },
    close: shut,
  };
}

function rename(from: string, to: string): void {
  try {
    fs.renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

const WORDS: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EROFS: 'the file system is read-only',
  EACCES: 'this user may not write there',
  EPERM: 'this user may not write there',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of its path is not a folder',
  EEXIST: 'a part of its path is not a folder',
  EFBIG: 'the file may not grow any more',
  EIO: 'the device fails',
};

function why(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code === undefined ? message : code in WORDS ? `${WORDS[code]} (${code})` : code;
}
