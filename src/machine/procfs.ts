/**
 * Plain reads below /proc: whole small files into one reused buffer. Processes leave at any moment, and files of
 * other users may be closed to us: both are answers here (`null`), never exceptions.
 * Reads are synchronous on purpose: /proc never waits for a disk, and one read costs a few microseconds
 * where a promise costs many times that.
 */
import {
  closeSync,
  constants,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  statSync,
} from 'node:fs';

const START_BYTES = 64 * 1024;
/** The kernel limits arguments and environment together to 6 MiB (3/4 of 8 MiB, execve(2)). */
const MOST_BYTES = 8 * 1024 * 1024;

/** Up to `mostBytes` of a file, or null where it may not be read or has gone. Valid until the next call. */
export type BlockReader = (path: string, mostBytes?: number) => Buffer | null;

/** Reads files into one buffer that it owns and reuses. */
export function createBlockReader(): BlockReader {
  let buffer = Buffer.alloc(START_BYTES);
  return (path, mostBytes = MOST_BYTES) => {
    let fd: number;
    try {
      fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch {
      return null;
    }
    try {
      let length = 0;
      for (let got = -1; got !== 0 && length < mostBytes; length += got) {
        if (length === buffer.length) buffer = Buffer.concat([buffer], buffer.length * 2);
        got = readSync(fd, buffer, length, Math.min(buffer.length, mostBytes) - length, null);
      }
      return buffer.subarray(0, length);
    } catch {
      return null;
    } finally {
      closeSync(fd);
    }
  };
}

/** A stat line has 52 numbers and a short name: it fits, and comes whole in one read. */
const statLine = Buffer.allocUnsafeSlow(4096);

/**
 * A process's stat line, or null when it has left. Every look reads one per process, before each respawn too: through one
 * buffer that takes a third less time than readFileSync, which reads on to the end of the file.
 */
export function readStat(pid: number): string | null {
  let fd: number;
  try {
    fd = openSync(`/proc/${pid}/stat`, constants.O_RDONLY);
  } catch {
    return null;
  }
  try {
    return statLine.toString('utf8', 0, readSync(fd, statLine, 0, statLine.length, 0));
  } catch {
    return null;
  } finally {
    closeSync(fd);
  }
}

/** The text of a small file, or null when it cannot be had. */
export function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

/** The words of a process's command line; none where it has gone or can't be read. */
export function argvOf(pid: number): string[] {
  return (readText(`/proc/${pid}/cmdline`) ?? '').split('\0').filter((it) => it !== '');
}

/** Where a link points to, or null. */
export function readLink(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}

/** Owner of a file or folder, or -1. */
export function ownerOf(path: string): number {
  try {
    return statSync(path, { throwIfNoEntry: false })?.uid ?? -1;
  } catch {
    return -1;
  }
}

/** Device and inode of what a path leads to, as one comparable string, or null. */
export function identityOf(path: string): string | null {
  try {
    const stat = statSync(path, { throwIfNoEntry: false });
    return stat ? `${stat.dev}:${stat.ino}` : null;
  } catch {
    return null;
  }
}

/** Every pid that /proc lists now, in its order. */
export function listPids(): number[] {
  return readdirSync('/proc').map(Number).filter(Boolean);
}

/** The stat line of a process, read; null: it has left. */
export function statOf(pid: number): ProcStat | null {
  const text = readStat(pid);
  return text === null ? null : parseProcStat(text);
}

/** True where /proc is a Linux one that shows processes. */
export function hasProcfs(): boolean {
  return process.platform === 'linux' && readText('/proc/self/stat') !== null;
}

export function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

export function userName(uid: number): string {
  if (uid < 0) return 'unknown';
  const line = (readText('/etc/passwd') ?? '').split('\n').find((it) => it.split(':')[2] === String(uid));
  return line?.split(':')[0] || String(uid);
}

const PF_KTHREAD = 0x00200000;

export interface ProcStat {
  readonly comm: string;
  readonly state: string;
  readonly ppid: number;
  readonly pgid: number;
  readonly sid: number;
  readonly tty: number;
  readonly kernel: boolean;
  /** Clock ticks after boot, as a string: only ever compared. */
  readonly startId: string;
  /**
   * Changes when the process executes another program, however it is named: the kernel lays out code, stack,
   * arguments and environment anew. Empty numbers (all 0) where the process may not be inspected.
   */
  readonly imageId: string;
}

// Field n of the manual, counted from the state (3): state, ppid, pgrp, session, tty_nr, (tpgid), flags, (9-21), starttime,
// (23-25), startcode to startstack, (29-47), arg_start to env_end. One pass takes a third less time than cutting the line up.
const FIELDS =
  /(\S) (\d+) (-?\d+) (-?\d+) (-?\d+) \S+ (\d+) (?:\S+ ){12}(\d+)(?: (?:\S+ ){3}(\S+ \S+ \S+) (?:\S+ ){19}(\S+ \S+ \S+ \S+))?/y;

/** The facts of one stat line, or null when the text is none (the process left while it was read). */
export function parseProcStat(text: string): ProcStat | null {
  const open = text.indexOf('(');
  const close = text.lastIndexOf(')');
  if (open < 0 || close < open) return null;
  FIELDS.lastIndex = close + 2;
  const match = FIELDS.exec(text);
  if (!match) return null;
  const [, state, ppid, pgid, sid, tty, flags, startId, code = '', data = ''] = match;
  const comm = text.slice(open + 1, close);
  return {
    comm,
    state: state!,
    ppid: Number(ppid),
    pgid: Number(pgid),
    sid: Number(sid),
    tty: Number(tty),
    kernel: (Number(flags) & PF_KTHREAD) !== 0,
    startId: startId!,
    imageId: `${code} ${data} ${comm}`,
  };
}
