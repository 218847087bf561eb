/**
 * Carries a worker's output to ours: source → masker → sink, and cuts it into lines. While the destination takes no more, nothing is read: the
 * worker blocks as on any full pipe, and memory stays bounded. One that is gone or whose disk is full never stops the reading.
 */
import net from 'node:net';
import type { Readable } from 'node:stream';
import { createMasker } from './mask.ts';
import type { Sink } from './sink.ts';

export interface PumpOptions {
  /** The read end of a pipe, as a descriptor (which the pump then owns) or as a stream. A descriptor is faster. */
  readonly source: Readable | number;
  /** Null: it goes nowhere but to its lines. */
  readonly sink: Sink | null;
  readonly tokens: readonly string[];
  /** Gets whole lines, as they are printed: one text without the last newline, a latin1 character for each byte. */
  readonly onLines: (text: string) => void;
}

/** A line is broken where it is longer. */
export const LINE_BYTES_MAX = 32 * 1024;
/** What a pipe of Linux holds. */
const PIPE_BYTES = 64 * 1024;
/** The beginning of a token, and a line without an end, are held back this long: they may be a prompt. */
const HOLD_MS = 2_000;

export function startPump({ source, sink, tokens, onLines }: PumpOptions) {
  const masker = createMasker(tokens);
  /** The line that has no end yet, a latin1 character for each byte. */
  let unfinished = '';
  let pending = 0;
  let hasEnded = false;
  let holdTimer: NodeJS.Timeout | undefined;
  let finish!: () => void;
  const done = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const input = typeof source === 'number' ? readDescriptor(source) : source;
  if (input === source) input.on('data', (chunk: Buffer) => take(chunk) || input.pause());
  input.on('error', end).on('end', end).on('close', end);

  /** False: read no more until `resume`. */
  function take(chunk: Buffer): boolean {
    print(masker.push(chunk));
    clearTimeout(holdTimer);
    if (masker.held > 0 || unfinished !== '') holdTimer = setTimeout(letGo, HOLD_MS);
    return pending === 0;
  }

  function print(out: Buffer): void {
    if (out.length === 0) return;
    // The source uses its buffer again, so this is a copy.
    const text = unfinished + out.toString('latin1');
    const end = text.lastIndexOf('\n');
    unfinished = text.slice(end + 1);
    if (end >= 0) onLines(text.slice(0, end));
    if (unfinished.length > LINE_BYTES_MAX) endLine();
    if (!sink) return;
    pending++;
    sink.write(out, written);
  }

  function endLine(): void {
    if (unfinished !== '') onLines(unfinished);
    unfinished = '';
  }

  function written(): void {
    pending--;
    if (pending > 0) return;
    if (hasEnded) finish();
    else input.resume();
  }

  function letGo(): void {
    // Behind a stalled reader a prompt is not seen anyway.
    if (pending > 0) holdTimer = setTimeout(letGo, HOLD_MS);
    else print(masker.release());
    endLine();
    if (pending > 0) input.pause();
  }

  function end(): void {
    if (hasEnded) return;
    hasEnded = true;
    clearTimeout(holdTimer);
    print(masker.flush());
    endLine();
    if (pending === 0) finish();
  }

  function readDescriptor(fd: number): net.Socket {
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
    return new net.Socket(settings);
  }

  return {
    /** The source has ended, or `close` gave up on it, and all was written or dropped. Never rejects. */
    done,
    /** Waits for the end, at most this long (a grandchild may hold the pipe open, a reader may stall), then ends it. */
    async close(withinMs: number): Promise<void> {
      const timer = setTimeout(() => {
        input.destroy();
        end();
        finish();
      }, withinMs);
      await done;
      clearTimeout(timer);
    },
  };
}
