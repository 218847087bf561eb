/**
 * Carries a worker's output to ours: source → masker → sink and log, and on the way the last lines. One chunk is under way at a time:
 * while the destination takes no more, nothing is read, the worker blocks as it would on any full pipe, and memory stays bounded. A
 * destination that is gone or full never stops the reading, so that the worker neither blocks nor dies of it.
 */
import net from 'node:net';
import type { Readable } from 'node:stream';
import type { StreamLines } from './last-lines.ts';
import type { LogStream } from './log.ts';
import { createMasker } from './mask.ts';
import type { Sink } from './sink.ts';

export interface PumpOptions {
  /** The read end of a pipe, as a descriptor (which the pump then owns) or as a stream. A descriptor is faster. */
  readonly source: Readable | number;
  /** Stays open. Null: nobody but the log gets it. */
  readonly sink: Sink | null;
  /** Gets all that is printed, too; ended with the pump. */
  readonly log?: LogStream | null;
  /** Our own tokens, masked wherever they show. */
  readonly tokens: readonly string[];
  readonly lines: StreamLines;
  /** Gets the lines that have ended, as they are printed; in a flood not all of them. */
  readonly onLines?: (lines: readonly string[]) => void;
}

export interface Pump {
  /** The source has ended, or `close` gave up on it, and all was written or dropped. Never rejects. */
  readonly done: Promise<void>;
  /** Read from the worker. */
  bytes(): number;
  /** Waits for the end, at most this long (a grandchild may hold the pipe open, a reader may stall), then ends it. */
  close(withinMs: number): Promise<void>;
}

/** What a pipe of Linux holds. */
const PIPE_BYTES = 64 * 1024;
/** What could become a token waits so long for more bytes, then is printed: it may be a prompt. */
const HOLD_MS = 1_000;

type Input = Pick<Readable, 'pause' | 'resume' | 'destroy'>;

export function startPump({ source, sink, log, tokens, lines, onLines }: PumpOptions): Pump {
  const masker = createMasker(tokens);
  let bytes = 0;
  /** Writes that the sink has not finished. */
  let pending = 0;
  let ended = false;
  let finished = false;
  let holdTimer: NodeJS.Timeout | undefined;
  let finish!: () => void;
  const done = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const input = typeof source === 'number' ? readDescriptor(source) : readStream(source);

  /** False: read no more until `resume`. */
  function take(chunk: Buffer): boolean {
    bytes += chunk.length;
    print(masker.push(chunk));
    clearTimeout(holdTimer);
    if (masker.held > 0) holdTimer = setTimeout(letGo, HOLD_MS);
    return pending === 0;
  }

  function print(out: Buffer): void {
    if (out.length === 0) return;
    const whole = lines.add(out);
    if (whole.length > 0) onLines?.(whole);
    log?.write(out);
    if (sink && !sink.write(out, written)) pending++;
  }

  function written(): void {
    pending--;
    if (pending > 0) return;
    if (ended) settle();
    else input.resume();
  }

  function letGo(): void {
    // Behind a stalled reader a prompt is not seen anyway.
    if (pending > 0) {
      holdTimer = setTimeout(letGo, HOLD_MS);
      return;
    }
    print(masker.release());
    if (pending > 0) input.pause();
  }

  function end(): void {
    if (ended) return;
    ended = true;
    clearTimeout(holdTimer);
    print(masker.flush());
    const last = lines.end();
    if (last !== null) onLines?.([last]);
    if (pending === 0) settle();
  }

  function settle(): void {
    if (finished) return;
    finished = true;
    log?.end();
    finish();
  }

  async function close(withinMs: number): Promise<void> {
    if (finished) return;
    const timer = setTimeout(() => {
      input.destroy();
      end();
      settle();
    }, withinMs);
    await done;
    clearTimeout(timer);
  }

  function readDescriptor(fd: number): Input {
    // One buffer for every read: no allocation, and a worker's flood does not grow us.
    const buffer = Buffer.allocUnsafeSlow(PIPE_BYTES);
    const onread = { buffer, callback: (size: number) => take(buffer.subarray(0, size)) };
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

  return { done, bytes: () => bytes, close };
}
