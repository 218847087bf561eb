/** Reads a rotated log from its last lines on and, if wanted, goes on as it grows, like `tail -F`. */
import fs from 'node:fs';
import { dirname } from 'node:path';
import { filesAfter, isSame, type OpenFile, openFile, openLastLines } from './last-lines.ts';

export interface FollowOptions {
  /** Where the log is now: the next run may write another. */
  readonly path: () => string;
  readonly lines: number;
  readonly follow: boolean;
  /** Resolves when it has gone out; false: nobody reads any more. The bytes may be reused then. */
  readonly write: (bytes: Buffer) => Promise<boolean>;
  /** What went wrong on the way. */
  readonly say: (text: string) => void;
}

const BLOCK_BYTES = 64 * 1024;
/** The net behind the system's events, which some file systems don't have. */
const LOOK_MS = 500;

/** False: there is no log (never with `follow`, which waits for one). */
export async function followLog({ path, lines, follow, write, say }: FollowOptions): Promise<boolean> {
  let at = path();
  const block = Buffer.alloc(BLOCK_BYTES);
  const files = openLastLines(at, lines);
  if (files.length === 0 && !follow) return false;
  if (files.length === 0) say(`no log yet at ${at}: waiting for it`);
  let current: OpenFile | null = null;
  for (const file of files) {
    if (!(await readOn(file))) return true;
    if (current) fs.closeSync(current.fd);
    current = file;
  }
  while (follow) {
    const begun = Date.now();
    if (current) {
      const moved = isMoved(current, at);
      // What was written between the last read and the move.
      if (!(await readOn(current))) break;
      if (moved) {
        const after = filesAfter(at, current);
        if (after.files.length > 0 && !after.found)
          say('the log was rotated faster than it could be read, or replaced');
        for (const file of after.files) {
          if (!(await readOn(file))) return true;
          fs.closeSync(current.fd);
          current = file;
        }
      }
    } else current = openFile(at);
    const next = path();
    if (next !== at) {
      if (current) fs.closeSync(current.fd);
      at = next;
      current = openFile(at);
      say(`the log is ${at} now`);
    } else if (Date.now() - begun < LOOK_MS) await change(at);
  }
  return true;

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
}

function isMoved(file: OpenFile, path: string): boolean {
  try {
    return !isSame(file, fs.statSync(path));
  } catch {
    return true;
  }
}

/** Resolves soon after something in the folder has changed, and in any case before long. */
function change(path: string): Promise<void> {
  return new Promise((resolve) => {
    let watcher: fs.FSWatcher | null = null;
    const done = () => {
      clearTimeout(timer);
      watcher?.close();
      resolve();
    };
    const timer = setTimeout(done, LOOK_MS);
    try {
      watcher = fs.watch(dirname(path), done);
      watcher.on('error', done);
    } catch {
      // No such folder yet, or no more watches for this user: the timer is enough.
    }
  });
}
