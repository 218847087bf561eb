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

/** How a destination is written to. */
type Route =
  | { readonly by: 'fd'; readonly fd: number; readonly own: boolean; readonly device: Device }
  | { readonly by: 'stream'; readonly stream: NodeJS.WritableStream };
type Device = 'pipe' | 'terminal' | 'file';

type WriteSync = (fd: number, bytes: Buffer, offset: number, length: number) => number;

interface Waiting {
  bytes: Buffer;
  readonly onFree: () => void;
}

/** Opens the way to a descriptor of ours; never throws. `writeSync` is replaced by tests of full disks and slow terminals. */
export function openSink(fd: number, writeSync: WriteSync = fs.writeSync): Sink {
  const queue: Waiting[] = [];
  let closed = false;
  let failing = false;
  let retryAtMs = 0;
  let droppedBytes = 0;
  let droppedBefore = 0;
  let busyWaitMs = RETRY_BUSY_MIN_MS;
  let timer: NodeJS.Timeout | null = null;
  let socket: net.Socket | null = null;
  const route = routeTo(fd);
  if (route.by === 'stream') route.stream.on('error', shut);

  const sink: Sink = {
    write,
    onNote: () => {},
    get droppedBytes() {
      return droppedBytes;
    },
    close,
  };
  return sink;

  function write(bytes: Buffer, onFree: () => void): boolean {
    if (closed) {
      droppedBytes += bytes.length;
      return true;
    }
    if (queue.length > 0) {
      queue.push({ bytes, onFree });
      return false;
    }
    const written = route.by === 'fd' ? attempt(route.fd, route.device, bytes) : 0;
    if (written === bytes.length) return true;
    queue.push({ bytes: bytes.subarray(written), onFree });
    wait();
    return false;
  }

  /** Writes what can be written now; returns how many bytes are dealt with, dropped ones included. */
  function attempt(to: number, device: Device, bytes: Buffer): number {
    const size = bytes.length;
    if (failing && performance.now() < retryAtMs) return drop(size);
    let at = 0;
    while (at < size) {
      try {
        const written = writeSync(to, bytes, at, size - at);
        at += written;
        // A pipe that took a part is full: asking again would only raise EAGAIN, an exception, which is dear.
        if (device === 'pipe' && at < size && written > 0) return at;
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code ?? 'EIO';
        if (code === 'EINTR') continue;
        if (code === 'EAGAIN') return at;
        if (device === 'file' && code !== 'EBADF' && code !== 'EPIPE') {
          retryAtMs = performance.now() + RETRY_FAILING_MS;
          if (!failing) {
            failing = true;
            droppedBefore = droppedBytes;
            sink.onNote({ kind: 'failing', code });
          }
          drop(size - at);
          return size;
        }
        drop(size - at);
        shut(error as NodeJS.ErrnoException);
        return size;
      }
    }
    busyWaitMs = RETRY_BUSY_MIN_MS;
    if (failing) {
      failing = false;
      sink.onNote({ kind: 'recovered', droppedBytes: droppedBytes - droppedBefore });
    }
    return size;
  }

  function drop(size: number): number {
    droppedBytes += size;
    return size;
  }

  /** Has the rest of the queue written when that is possible again. */
  function wait(): void {
    const { bytes } = queue[0]!;
    if (route.by === 'stream' || route.device === 'pipe') {
      const stream = route.by === 'stream' ? route.stream : pollable(route.fd);
      // On an error Node has closed the descriptor already: its number may be another file's by now.
      stream.write(bytes, (error) => (error ? shut(error) : written(bytes.length)));
    } else {
      timer = setTimeout(() => {
        timer = null;
        if (closed || queue.length === 0) return;
        written(attempt(route.fd, route.device, queue[0]!.bytes));
      }, busyWaitMs);
      busyWaitMs = Math.min(RETRY_BUSY_MAX_MS, busyWaitMs * 2);
    }
  }

  /** The first `size` bytes of the queue's head are dealt with. */
  function written(size: number): void {
    while (!closed && queue.length > 0) {
      const head = queue[0]!;
      if (size < head.bytes.length) {
        head.bytes = head.bytes.subarray(size);
        wait();
        return;
      }
      queue.shift();
      head.onFree();
      const next = queue[0];
      if (next === undefined || closed) return;
      size = route.by === 'fd' ? attempt(route.fd, route.device, next.bytes) : 0;
    }
  }

  /** Only to be told when a pipe has room; as long as it has, writing directly is faster. */
  function pollable(pipe: number): net.Socket {
    if (socket === null) {
      socket = new net.Socket({ fd: pipe, readable: false, writable: true });
      socket.on('error', shut);
    }
    return socket;
  }

  function shut(error: NodeJS.ErrnoException): void {
    if (closed) return;
    close();
    sink.onNote({ kind: 'closed', code: error.code ?? 'EPIPE' });
  }

  function close(): void {
    if (closed) return;
    closed = true;
    if (timer !== null) clearTimeout(timer);
    // A socket owns its descriptor.
    if (socket !== null) socket.destroy();
    else if (route.by === 'fd' && route.own) closeQuietly(route.fd);
    for (const { bytes, onFree } of queue.splice(0)) {
      drop(bytes.length);
      onFree();
    }
  }
}

function routeTo(fd: number): Route {
  try {
    const stat = fs.fstatSync(fd);
    if (stat.isFIFO()) {
      const own = reopen(fd);
      return own === null ? streamTo(fd) : { by: 'fd', fd: own, own: true, device: 'pipe' };
    }
    if (stat.isSocket()) return streamTo(fd);
    if (stat.isCharacterDevice() && tty.isatty(fd)) {
      const own = reopen(fd);
      return { by: 'fd', fd: own ?? fd, own: own !== null, device: 'terminal' };
    }
  } catch {
    // A descriptor that is not open (`>&-`) shows at the first write.
  }
  return { by: 'fd', fd, own: false, device: 'file' };
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

function streamTo(fd: number): Route {
  // Node keeps these two from closing their descriptors, which another file would then get.
  const ours = fd === 1 ? process.stdout : fd === 2 ? process.stderr : null;
  return { by: 'stream', stream: ours ?? new net.Socket({ fd, readable: false, writable: true }) };
}

function closeQuietly(fd: number): void {
  try {
    fs.closeSync(fd);
  } catch {
    // It is gone either way.
  }
}
