/**
 * Carries a worker's output to ours: source → masker → sink, and on the way the last lines for a crash report and
 * samples for whoever looks for a phrase. One chunk is under way at a time: while the destination takes no more, nothing
 * is read, the worker blocks as it would on any full pipe, and memory stays bounded. A destination that is gone or
 * full never stops the reading, so that the worker neither blocks nor dies of it.
 */
import net from 'node:net';
import type { Readable } from 'node:stream';
import type { LogStream } from '../log/log.ts';
import { HEADROOM_BYTES } from './flood-scanner.ts';
import { createMasker } from './mask.ts';
import { createSampler } from './sample.ts';
import { openSink, type SinkNote, standardSink } from './sink.ts';
import { createTail } from './tail.ts';
import { widenPipe } from './widen-pipe.ts';

export interface PumpOptions {
  /** The read end of a pipe, as a descriptor (which the pump then owns) or as a stream. A descriptor is faster. */
  readonly source: Readable | number;
  /** Ours; it is never closed. Null: nobody but `copy` gets it. */
  readonly destinationFd: number | null;
  /** Gets all that is printed, too; ended with the pump. */
  readonly copy?: LogStream | null;
  /** Our own tokens, masked wherever they show. */
  readonly tokens: readonly string[];
  /** Gets whole lines of what is printed, at most some 256 KiB per second of them. */
  readonly onText?: (sample: string) => void;
  /** Told of each chunk: its size, and how much of it was looked at in JavaScript (see Masker.toil). */
  readonly onPassed?: (bytes: number, toil: number, nowMs: number) => void;
  /** The destination stopped taking bytes, or takes them again. */
  readonly onNote?: (note: SinkNote) => void;
}

export interface PumpStats {
  /** Read from the worker. */
  readonly bytes: number;
  /** Of what was to be written, since the destination was opened. */
  readonly droppedBytes: number;
}

export interface Pump {
  /** The source has ended, or `close` gave up on it, and all was written or dropped. Never rejects. */
  readonly done: Promise<void>;
  /** The last 20 lines as printed, each at most 4 KiB. */
  tail(): string[];
  /** When the last of it came, as performance.now(). */
  lastMs(): number;
  stats(): PumpStats;
  /** Waits for the end, at most this long (a grandchild may hold the pipe open, a reader may stall), then ends it. */
  close(withinMs: number): Promise<void>;
}

/** What a pipe of Linux holds, unless it is made wider. */
const PIPE_BYTES = 64 * 1024;
/** What could become a token waits so long for more bytes, then is printed: it may be a prompt. */
const HOLD_MS = 1_000;

type Input = Pick<Readable, 'pause' | 'resume' | 'destroy'>;

export function startPump(options: PumpOptions): Pump {
  const { source, destinationFd, copy = null, tokens, onText, onPassed, onNote } = options;
  const sink =
    destinationFd === null ? null : destinationFd > 2 ? openSink(destinationFd) : standardSink(destinationFd);
  if (sink && onNote) sink.onNote = onNote;
  const masker = createMasker(tokens);
  const tail = createTail();
  const sampler = onText ? createSampler(onText) : null;
  let bytes = 0;
  let lastMs = performance.now();
  /** Writes that the sink has not finished. */
  let pending = 0;
  let ended = false;
  let finished = false;
  let holdTimer: NodeJS.Timeout | null = null;
  let finish!: () => void;
  const done = new Promise<void>((resolve) => {
    finish = resolve;
  });
  let input: Input | null = typeof source === 'number' ? readDescriptor(source) : readStream(source);

  /** False: read no more until `resume`. */
  function take(chunk: Buffer, headroom = 0): boolean {
    const size = chunk.length;
    const nowMs = performance.now();
    const toil = masker.toil;
    bytes += size;
    lastMs = nowMs;
    print(masker.push(chunk, headroom), nowMs);
    onPassed?.(size, masker.toil - toil, nowMs);
    if (holdTimer !== null) clearTimeout(holdTimer);
    holdTimer = masker.held > 0 ? setTimeout(letGo, HOLD_MS) : null;
    return pending === 0;
  }

  function print(out: Buffer, nowMs: number): void {
    if (out.length === 0) return;
    tail.add(out, masker.scanner);
    sampler?.offer(out, nowMs);
    copy?.write(out);
    if (sink && !sink.write(out, written)) pending++;
  }

  function written(): void {
    pending--;
    if (pending > 0) return;
    if (ended) settle();
    else input?.resume();
  }

  function letGo(): void {
    // Behind a stalled reader a prompt is not seen anyway.
    holdTimer = pending > 0 ? setTimeout(letGo, HOLD_MS) : null;
    if (pending > 0) return;
    print(masker.release(), performance.now());
    if (pending > 0) input?.pause();
  }

  function end(): void {
    if (ended) return;
    ended = true;
    if (holdTimer !== null) clearTimeout(holdTimer);
    print(masker.flush(), performance.now());
    sampler?.end();
    if (pending === 0) settle();
  }

  function settle(): void {
    if (finished) return;
    finished = true;
    // The caller may keep a pump for its last lines: the read buffer should not stay with it.
    input = null;
    if (destinationFd !== null && destinationFd > 2) sink?.close();
    copy?.end();
    finish();
  }

  async function close(withinMs: number): Promise<void> {
    if (finished) return;
    const timer = setTimeout(() => {
      input?.destroy();
      end();
      settle();
    }, withinMs);
    await done;
    clearTimeout(timer);
  }

  function readDescriptor(fd: number): Input {
    // One buffer for every read: no allocation, and a worker's flood does not grow us.
    let buffer: Buffer = Buffer.allocUnsafeSlow(HEADROOM_BYTES + PIPE_BYTES).subarray(HEADROOM_BYTES);
    const onread: net.OnReadOpts = {
      // Asked for before each read.
      buffer: () => {
        if (masker.scanner !== null && masker.scanner.room !== buffer) {
          buffer = masker.scanner.room;
          widenPipe(fd);
        }
        return buffer;
      },
      callback: (size) => take(buffer.subarray(0, size), HEADROOM_BYTES),
    };
    // The typings know `onread` for connections only; the constructor takes it as well (node:net, new net.Socket).
    const settings: net.SocketConstructorOpts & { onread: net.OnReadOpts } = {
      fd,
      readable: true,
      writable: false,
      onread,
    };
    const socket = new net.Socket(settings);
    socket.on('error', end).on('end', end).on('close', end);
    return socket;
  }

  function readStream(stream: Readable): Input {
    stream.on('data', (chunk: Buffer) => {
      if (!take(chunk)) stream.pause();
    });
    stream.on('error', end).on('end', end).on('close', end);
    return stream;
  }

  return {
    done,
    tail: tail.lines,
    lastMs: () => lastMs,
    stats: () => ({ bytes, droppedBytes: sink?.droppedBytes ?? 0 }),
    close,
  };
}
