/**
 * Where the worker's bytes go: our stdout or stderr, whatever it is. Never blocks the event loop (a stopped reader, Ctrl-S), never throws:
 * a reader that left or a full disk costs bytes, not the worker. Pipes and terminals are opened anew, because O_NONBLOCK set on the
 * descriptor that we were given would hit every process that shares it (fcntl(2): file status flags belong to the open file).
 */
import fs from 'node:fs';
import net from 'node:net';
import tty from 'node:tty';
import type { Level } from './words.ts';

export interface Sink {
  /**
   * Writes in order. Calls `onFree` once all is written or dropped, at once where it is: until then `bytes` must stay as they are, and
   * nothing more should be read.
   */
  write(bytes: Buffer, onFree: () => void): void;
}

/** Told once when writing stops working, and once when it works again. */
type OnNote = (text: string, level: Level) => void;
type WriteSync = (fd: number, bytes: Buffer, offset: number, length: number) => number;

/** A failing device is tried again after this long, at the next write. */
const RETRY_MS = 1_000;
const WRITABLE = { readable: false, writable: true };

/** Opens the way to a descriptor of ours; never throws. `writeSync` is replaced by tests of full disks. */
export function openSink(fd: number, onNote: OnNote = () => {}, writeSync: WriteSync = fs.writeSync): Sink {
  const stream = openStream(fd);
  return stream ? streamSink(stream, onNote) : fileSink(fd, onNote, writeSync);
}

function streamSink(stream: NodeJS.WritableStream, onNote: OnNote): Sink {
  let isClosed = false;
  stream.on('error', ({ code = 'EPIPE' }: NodeJS.ErrnoException) => {
    if (!isClosed)
      onNote(
        `nobody reads the worker's output any more (${code}); it is dropped from now on, the worker goes on`,
        'warn',
      );
    isClosed = true;
  });
  return {
    write(bytes, onFree) {
      if (isClosed) onFree();
      else stream.write(bytes, () => onFree());
    },
  };
}

/** Of a file or a device. Writes at once, as there is no other way to know whether the disk is full. */
function fileSink(fd: number, onNote: OnNote, writeSync: WriteSync): Sink {
  let isFailing = false;
  let retryAtMs = 0;
  let droppedBytes = 0;

  /** How many bytes were written, all of them unless it fails. */
  function tryToWrite(bytes: Buffer): number {
    let at = 0;
    while (at < bytes.length) {
      try {
        at += writeSync(fd, bytes, at, bytes.length - at);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'EINTR') continue;
        if (!isFailing)
          onNote(
            `the worker's output can't be written (${code}); it is dropped until it can, the worker goes on`,
            'warn',
          );
        isFailing = true;
        retryAtMs = performance.now() + RETRY_MS;
        return at;
      }
    }
    if (isFailing)
      onNote(`the worker's output can be written again; ${droppedBytes} bytes were dropped`, 'good');
    isFailing = false;
    droppedBytes = 0;
    return at;
  }

  return {
    write(bytes, onFree) {
      const isTooEarly = isFailing && performance.now() < retryAtMs;
      droppedBytes += bytes.length - (isTooEarly ? 0 : tryToWrite(bytes));
      onFree();
    },
  };
}

/** Null: a file or a device, or nothing that is open, which shows at the first write. */
function openStream(fd: number): NodeJS.WritableStream | null {
  try {
    const stat = fs.fstatSync(fd);
    const own = stat.isFIFO() || tty.isatty(fd) ? reopen(fd) : null;
    if (stat.isFIFO() && own !== null) return new net.Socket({ fd: own, ...WRITABLE });
    if (own !== null) {
      const terminal = new tty.WriteStream(own) as tty.WriteStream & {
        _handle: { setBlocking(on: boolean): void };
      };
      // Node has terminals block; this one is ours alone.
      terminal._handle.setBlocking(false);
      return terminal;
    }
    if (!stat.isFIFO() && !stat.isSocket()) return null;
    // Node keeps its own two streams from closing their descriptors, which another file would then get.
    return [process.stdout, process.stderr][fd - 1] ?? new net.Socket({ fd, ...WRITABLE });
  } catch {
    return null;
  }
}

/** The same pipe or terminal with flags of its own; null where there is no such thing, or another user owns it. */
function reopen(fd: number): number | null {
  if (process.platform !== 'linux') return null;
  try {
    const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = fs.constants;
    return fs.openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY);
  } catch {
    return null;
  }
}

/**
 * Replaces each of stdin, stdout, stderr that is a gone terminal by /dev/null; to be called right before the exit. There Node puts
 * the modes of a terminal back that it was started on, and aborts (SIGABRT) when that fails with EIO, as it does once the terminal
 * has hung up (node.cc, ResetStdio). It leaves alone a descriptor that has become another file since.
 */
export function leaveGoneTerminal(): void {
  for (const fd of [0, 1, 2]) {
    try {
      const stat = fs.fstatSync(fd);
      const isGone =
        stat.isCharacterDevice() && !tty.isatty(fd) && stat.rdev !== fs.statSync('/dev/null').rdev;
      if (isGone) replaceByNull(fd);
    } catch {
      // Not open, or no /dev/null: nothing that could be put right here.
    }
  }
}

/** Replaces an open file by /dev/null. */
export function replaceByNull(fd: number): void {
  try {
    fs.closeSync(fd);
    // open(2) returns the lowest free number, which is the one just closed.
    fs.openSync('/dev/null', 'r+');
  } catch {
    // It was not open.
  }
}
