/** Reads a rotated log, of which PATH.2, PATH.1, PATH are one text: its last lines and, if wanted, what follows, like `tail -F`. */
import fs from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

interface FollowOptions {
  /** Where the log is now: the next run may write another. */
  readonly path: () => string;
  readonly lines: number;
  readonly follow: boolean;
  /** Resolves when it has gone out; false: nobody reads any more. The bytes may be reused then. */
  readonly write: (bytes: Buffer) => Promise<boolean>;
  readonly say: (text: string) => void;
}

interface OpenFile {
  readonly fd: number;
  readonly stat: fs.Stats;
  at: number;
}

const BLOCK_BYTES = 64 * 1024;
const NEWLINE = 0x0a;
/** The log is looked at so often: not every file system tells of changes. */
const LOOK_MS = 200;

/** False: there is no log (never with `follow`, which waits for one). */
export async function followLog({ path, lines, follow, write, say }: FollowOptions): Promise<boolean> {
  const block = Buffer.alloc(BLOCK_BYTES);
  let log = path();
  let current: OpenFile | null = null;
  let next = openLastLines(log, lines);
  if (next.length === 0 && !follow) return false;
  if (next.length === 0) say(`no log yet at ${log}: waiting for it`);
  for (;;) {
    // Oldest first; the last of them is the current one then.
    for (const file of next) {
      if (current && current !== file) fs.closeSync(current.fd);
      current = file;
      if (!(await readOn(file))) return true;
    }
    if (!follow) return true;
    await pause(LOOK_MS);
    if (path() === log) next = openNext(log, current);
    else {
      log = path();
      say(`the log is ${log} now`);
      next = openNext(log, null);
    }
  }

  /** To its end as it is now; false: nobody reads any more. */
  async function readOn(file: OpenFile): Promise<boolean> {
    if (fs.fstatSync(file.fd).size < file.at) {
      say('the log was cut off: from its beginning');
      file.at = 0;
    }
    for (;;) {
      const got = fs.readSync(file.fd, block, 0, BLOCK_BYTES, file.at);
      if (got === 0) return true;
      file.at += got;
      if (!(await write(block.subarray(0, got)))) return false;
    }
  }

  /**
   * What is to be read next: the rest of the last one, and where that is not PATH any more those that came after it; where it
   * can't be found, those that were written to later.
   */
  function openNext(at: string, last: OpenFile | null): OpenFile[] {
    if (last === null) return [openFile(at)].filter((it) => it !== null);
    const stat = fs.statSync(at, { throwIfNoEntry: false });
    if (stat && isSame(last.stat, stat)) return [last];
    const { mtimeMs } = fs.fstatSync(last.fd);
    let isFound = false;
    const after = openBack(at, (file) => {
      isFound = isSame(last.stat, file.stat);
      return !isFound && file.stat.mtimeMs >= mtimeMs;
    });
    if (after.length > 0 && !isFound) say('the log was rotated faster than it could be read, or replaced');
    return [last, ...after];
  }
}

/** PATH and the rotated files before it, for as long as they are `wanted`; oldest first. */
function openBack(path: string, wanted: (file: OpenFile) => boolean): OpenFile[] {
  const files: OpenFile[] = [];
  for (let n = 0; ; n++) {
    const file = openFile(n === 0 ? path : `${path}.${n}`);
    if (!file && n > 0) return files;
    if (!file) continue;
    // Rotated between two looks: it is the one that was opened before.
    const isKnown = files.some((it) => isSame(it.stat, file.stat));
    if (!isKnown && wanted(file)) files.unshift(file);
    else {
      fs.closeSync(file.fd);
      if (!isKnown) return files;
    }
  }
}

/** As many files as the last `count` lines need, each set to where they begin. Empty: there is no log. */
function openLastLines(path: string, count: number): OpenFile[] {
  let missing = count;
  let isFirst = true;
  return openBack(path, (file) => {
    if (missing <= 0 && !isFirst) return false;
    isFirst = false;
    const found = findLastLines(file.fd, missing);
    file.at = found.at;
    missing -= found.lines;
    return true;
  });
}

/** Where the last `count` lines begin; fewer `lines` where the file has no more. */
function findLastLines(fd: number, count: number): { at: number; lines: number } {
  const { size } = fs.fstatSync(fd);
  if (count === 0) return { at: size, lines: 0 };
  const block = Buffer.alloc(BLOCK_BYTES);
  let lines = 0;
  for (let end = size; end > 0 && count < Number.POSITIVE_INFINITY; ) {
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

/** Null where nothing regular is there (yet). Throws the system's error where it may not be read. */
function openFile(path: string): OpenFile | null {
  const stat = fs.statSync(path, { throwIfNoEntry: false });
  if (!stat?.isFile()) return null;
  try {
    const fd = fs.openSync(path, 'r');
    return { fd, stat: fs.fstatSync(fd), at: 0 };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

function isSame(one: fs.Stats, other: fs.Stats): boolean {
  return one.ino === other.ino && one.dev === other.dev;
}
