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
  readonly path: string;
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

const RETRY_MS = 1_000;
/** How often it is looked whether the path still leads to the file that is open. */
const LOOK_MS = 1_000;
const NEWLINE = Buffer.from('\n');

interface Open {
  readonly fd: number;
  readonly inode: number;
  readonly device: number;
  /** Only a regular file is rotated: not /dev/null, not a FIFO. */
  readonly regular: boolean;
  bytes: number;
}

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
  let torn = false;

  function open(): Open {
    const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK, O_NOCTTY } = fs.constants;
    const flags = O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY;
    let fd: number;
    try {
      fd = fs.openSync(path, flags, 0o600);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      fs.mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      fd = fs.openSync(path, flags, 0o600);
    }
    const stat = fs.fstatSync(fd);
    lookAtMs = nowMs() + LOOK_MS;
    rotateAtBytes = maxBytes;
    if (stat.size === 0) torn = false;
    return { fd, inode: stat.ino, device: stat.dev, regular: stat.isFile(), bytes: stat.size };
  }

  function shut(): void {
    if (file) fs.closeSync(file.fd);
    file = null;
  }

  /** False also where somebody else (logrotate, another supervisor) has moved or removed it. */
  function isInPlace({ inode, device }: Open): boolean {
    try {
      const stat = fs.statSync(path);
      return stat.ino === inode && stat.dev === device;
    } catch {
      return false;
    }
  }

  function rotate(open: Open): void {
    if (isInPlace(open)) {
      try {
        if (keep === 0) fs.unlinkSync(path);
        for (let n = keep; n > 0; n--) rename(n === 1 ? path : `${path}.${n - 1}`, `${path}.${n}`);
        unrotated = null;
      } catch (error) {
        // Rather too long than not written; tried again when it has grown by as much once more.
        unrotated = `the log can't be rotated: ${why(error)} (${path})`;
        rotateAtBytes = open.bytes + maxBytes;
        return;
      }
    }
    shut();
  }

  function append(lines: Buffer, onWritten?: (bytes: number) => void): void {
    if (file && nowMs() >= lookAtMs) {
      lookAtMs = nowMs() + LOOK_MS;
      if (file.regular && !isInPlace(file)) shut();
    }
    file ??= open();
    if (file.regular && file.bytes > 0 && file.bytes + lines.length > rotateAtBytes) rotate(file);
    file ??= open();
    for (let at = 0; at < lines.length; ) {
      try {
        const written = writeSync(file.fd, lines, at, lines.length - at);
        at += written;
        file.bytes += written;
        torn = at < lines.length;
        onWritten?.(written);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EINTR') throw error;
      }
    }
  }

  function write(lines: Buffer): void {
    let left = lines.length;
    try {
      if (failing !== null && nowMs() < retryAtMs) return;
      if (torn) append(NEWLINE);
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
    path,
    write,
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
  EFBIG: 'the file may not grow any more',
  EIO: 'the device fails',
};

function why(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code === undefined ? message : code in WORDS ? `${WORDS[code]} (${code})` : code;
}
