/**
 * Where the worker's bytes go: our stdout or stderr, whatever it is. Never blocks the event loop on a pipe, a socket or
 * a terminal (a stopped reader, Ctrl-S), never throws, never ends us: a reader that left or a full disk costs bytes, which
 * are counted, not the worker. Pipes and terminals are opened anew, because O_NONBLOCK set on the descriptor that we were
 * given would hit every process that shares it (open(2), fcntl(2): file status flags belong to the open file).
 */
import fs from 'node:fs';
import net from 'node:net';
import tty from 'node:tty';

export type SinkNote =
  /** Nobody reads any more (EPIPE, a gone terminal); nothing more will be written. */
  | { readonly kind: 'closed'; readonly code: string }
  /** The device is full or failing; bytes are dropped until it takes some again. */
  | { readonly kind: 'failing'; readonly code: string }
  | { readonly kind: 'recovered'; readonly droppedBytes: number };

export interface Sink {
  /**
   * Writes in order. True: all written (or dropped), `bytes` may be reused. False: `bytes` must stay as they are until
   * `onFree` is called, and nothing more should be read meanwhile.
   */
  write(bytes: Buffer, onFree: () => void): boolean;
  /** Told once when writing stops working, and once when it works again; the last listener set hears it. */
  onNote: (note: SinkNote) => void;
  readonly droppedBytes: number;
  /** Forgets what waits and closes what was opened here; the descriptor given stays open. */
  close(): void;
}

/** A failing device is tried again after this long, at the next write. */
const RETRY_FAILING_MS = 1_000;
/** A terminal that takes no more is tried again after these waits. */
const RETRY_BUSY_MIN_MS = 5;
const RETRY_BUSY_MAX_MS = 100;

type WriteSync = (fd: number, bytes: Buffer, offset: number, length: number) => number;

/** Opens the way to a descriptor of ours; never throws. `writeSync` is replaced by tests of full disks and slow terminals. */
export function openSink(fd: number, writeSync: WriteSync = fs.writeSync): Sink {
  try {
    const stat = fs.fstatSync(fd);
    if (stat.isFIFO()) {
      const own = reopen(fd);
      return streamSink(
        own === null ? streamTo(fd) : new net.Socket({ fd: own, readable: false, writable: true }),
      );
    }
    if (stat.isSocket()) return streamSink(streamTo(fd));
    if (stat.isCharacterDevice() && tty.isatty(fd)) return descriptorSink(fd, reopen(fd), true, writeSync);
  } catch {
    // A descriptor that is not open (`>&-`) shows at the first write.
  }
  return descriptorSink(fd, null, false, writeSync);
}

/** Of a pipe or a socket. */
function streamSink(stream: NodeJS.WritableStream & { destroy(): void }): Sink {
  let closed = false;
  let droppedBytes = 0;
  const sink: Sink = {
    write(bytes, onFree) {
      if (closed) {
        droppedBytes += bytes.length;
        return true;
      }
      stream.write(bytes, (error) => {
        if (error) droppedBytes += bytes.length;
        if (error) shut(error);
        onFree();
      });
      return false;
    },
    onNote: () => {},
    get droppedBytes() {
      return droppedBytes;
    },
    close() {
      closed = true;
      if (stream !== process.stdout && stream !== process.stderr) stream.destroy();
    },
  };
  function shut(error: NodeJS.ErrnoException): void {
    if (closed) return;
    closed = true;
    sink.onNote({ kind: 'closed', code: error.code ?? 'EPIPE' });
  }
  stream.on('error', shut);
  return sink;
}

/** Of a file, a device or a terminal. `own`: the same, opened here; null: it could not be. */
function descriptorSink(fd: number, own: number | null, isTerminal: boolean, writeSync: WriteSync): Sink {
  const queue: { bytes: Buffer; readonly onFree: () => void }[] = [];
  let closed = false;
  let failing = false;
  let retryAtMs = 0;
  let droppedBytes = 0;
  let droppedBefore = 0;
  let busyWaitMs = RETRY_BUSY_MIN_MS;
  let timer: NodeJS.Timeout | undefined;

  /** How many bytes are dealt with, dropped ones included; less than all: it is busy. */
  function attempt(bytes: Buffer): number {
    if (closed || (failing && performance.now() < retryAtMs)) return drop(bytes, 0);
    for (let at = 0; at < bytes.length; ) {
      try {
        at += writeSync(own ?? fd, bytes, at, bytes.length - at);
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code ?? 'EIO';
        if (code === 'EINTR') continue;
        if (code === 'EAGAIN') return at;
        drop(bytes, at);
        if (isTerminal || code === 'EBADF' || code === 'EPIPE') {
          sink.close();
          sink.onNote({ kind: 'closed', code });
        } else fail(code, bytes.length - at);
        return bytes.length;
      }
    }
    busyWaitMs = RETRY_BUSY_MIN_MS;
    if (failing) {
      failing = false;
      sink.onNote({ kind: 'recovered', droppedBytes: droppedBytes - droppedBefore });
    }
    return bytes.length;
  }

  function fail(code: string, justDropped: number): void {
    retryAtMs = performance.now() + RETRY_FAILING_MS;
    if (failing) return;
    failing = true;
    droppedBefore = droppedBytes - justDropped;
    sink.onNote({ kind: 'failing', code });
  }

  function drop(bytes: Buffer, from: number): number {
    droppedBytes += bytes.length - from;
    return bytes.length;
  }

  function writeWaiting(): void {
    for (let head = queue[0]; head; head = queue[0]) {
      const written = attempt(head.bytes);
      if (written < head.bytes.length) {
        head.bytes = head.bytes.subarray(written);
        wait();
        return;
      }
      // It is gone where the sink was closed meanwhile.
      if (queue[0] === head) queue.shift();
      else return;
      head.onFree();
    }
  }

  function wait(): void {
    timer = setTimeout(writeWaiting, busyWaitMs);
    busyWaitMs = Math.min(RETRY_BUSY_MAX_MS, busyWaitMs * 2);
  }

  const sink: Sink = {
    write(bytes, onFree) {
      const written = queue.length > 0 ? 0 : attempt(bytes);
      if (written === bytes.length) return true;
      if (queue.push({ bytes: bytes.subarray(written), onFree }) === 1) wait();
      return false;
    },
    onNote: () => {},
    get droppedBytes() {
      return droppedBytes;
    },
    close() {
      if (closed) return;
      closed = true;
      clearTimeout(timer);
      if (own !== null) fs.closeSync(own);
      for (const { bytes, onFree } of queue.splice(0)) {
        drop(bytes, 0);
        onFree();
      }
    },
  };
  return sink;
}

/** The same pipe or terminal with flags of its own; null where there is no such thing, or another user owns it. */
function reopen(fd: number): number | null {
  try {
    const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = fs.constants;
    return process.platform === 'linux'
      ? fs.openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY)
      : null;
  } catch {
    return null;
  }
}

/** Node keeps its own two streams from closing their descriptors, which another file would then get. */
function streamTo(fd: number): net.Socket | tty.WriteStream {
  if (fd === 1) return process.stdout as tty.WriteStream;
  if (fd === 2) return process.stderr as tty.WriteStream;
  return new net.Socket({ fd, readable: false, writable: true });
}
