/** The last lines of a rotated log, and where reading goes on: PATH.2, PATH.1, PATH are one text. */
import fs from 'node:fs';

export interface OpenFile {
  readonly fd: number;
  readonly inode: number;
  readonly device: number;
  /** Where the next byte is read. */
  at: number;
}

const BLOCK_BYTES = 64 * 1024;
const NEWLINE = 0x0a;
/** More than --log-keep allows. */
const ROTATED_MAX = 1_000;

/** Null where nothing regular is there (yet). Throws the system's error where it may not be read. */
export function openFile(path: string): OpenFile | null {
  let fd: number;
  try {
    // A FIFO would wait for its writer otherwise.
    fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw error;
  }
  const stat = fs.fstatSync(fd);
  if (stat.isFile()) return { fd, inode: stat.ino, device: stat.dev, at: 0 };
  fs.closeSync(fd);
  return null;
}

export function isSame(one: OpenFile, other: Pick<fs.Stats, 'ino' | 'dev'>): boolean {
  return one.inode === other.ino && one.device === other.dev;
}

/**
 * Opens PATH and as many of the rotated files as the last `count` lines need, each set to where they begin; oldest first, the last
 * is PATH. Empty: there is no log.
 */
export function openLastLines(path: string, count: number): OpenFile[] {
  const files: OpenFile[] = [];
  let missing = count;
  for (let n = 0; n <= ROTATED_MAX && (n === 0 || missing > 0); n++) {
    const file = openFile(n === 0 ? path : `${path}.${n}`);
    if (!file) {
      if (n === 0) continue;
      break;
    }
    // Rotated between two looks: it is the one that was opened before.
    if (files.some((it) => it.inode === file.inode && it.device === file.device)) {
      fs.closeSync(file.fd);
      continue;
    }
    const found = findLastLines(file.fd, missing);
    file.at = found.at;
    missing -= found.lines;
    files.unshift(file);
  }
  return files;
}

/** Where the last `count` lines begin; fewer `lines` where the file has no more. */
function findLastLines(fd: number, count: number): { at: number; lines: number } {
  const { size } = fs.fstatSync(fd);
  if (count === 0) return { at: size, lines: 0 };
  if (count === Number.POSITIVE_INFINITY) return { at: 0, lines: 0 };
  const block = Buffer.alloc(BLOCK_BYTES);
  let lines = 0;
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - BLOCK_BYTES);
    const got = fs.readSync(fd, block, 0, end - start, start);
    for (let i = got - 1; i >= 0; i--) {
      // The end of the last line begins no other.
      if (block[i] !== NEWLINE || start + i === size - 1) continue;
      lines += 1;
      if (lines === count) return { at: start + i + 1, lines };
    }
    end = start;
  }
  return { at: 0, lines: size === 0 ? 0 : lines + 1 };
}

/**
 * The files that came after `last`, which is not PATH any more: oldest first, the last is PATH. Where `last` is not among the
 * rotated ones, those that were written to later.
 */
export function filesAfter(path: string, last: OpenFile): { files: OpenFile[]; found: boolean } {
  const { mtimeMs } = fs.fstatSync(last.fd);
  const files: OpenFile[] = [];
  for (let n = 0; n <= ROTATED_MAX; n++) {
    const file = openFile(n === 0 ? path : `${path}.${n}`);
    if (!file) {
      if (n === 0) continue;
      break;
    }
    const stat = fs.fstatSync(file.fd);
    if (isSame(last, stat)) {
      fs.closeSync(file.fd);
      return { files, found: true };
    }
    if (n > 0 && stat.mtimeMs < mtimeMs) {
      fs.closeSync(file.fd);
      break;
    }
    files.unshift(file);
  }
  return { files, found: false };
}
