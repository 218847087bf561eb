/**
 * What is waited for, as the last line of a terminal: drawn in place every second, and taken away before anything else is written there,
 * so that it never mixes with a line of ours or of the worker. Where stderr is no terminal there is none: a log has its one line.
 */
import { isatty } from 'node:tty';
import { cut } from './cells.ts';
import { plain } from './plain.ts';
import { openSink, type Sink } from './sink.ts';
import { isScreen, type Paint, painter } from './words.ts';

const EVERY_MS = 1_000;
const TAKE_AWAY = Buffer.from('\r\x1b[K');
const NEWLINE = 10;

/** `stderr`: the way there; null: there shall be none. */
export function createWaitLine(stderr: Sink | null, paint: Paint) {
  const way = isScreen({ isTTY: isatty(2) }) ? stderr : null;
  let words = (): string | null => null;
  let timer: NodeJS.Timeout | null = null;
  let isDrawn = false;
  /** Behind a reader that takes nothing (Ctrl-S) nothing more is drawn. */
  let isTaken = true;
  let isAtStart = true;

  function write(bytes: Buffer): void {
    isTaken = false;
    way?.write(bytes, () => {
      isTaken = true;
    });
  }

  function draw(): void {
    const text = words();
    if (text === null) takeAway();
    // Not behind the prompt or the progress bar of a worker.
    if (text === null || !isTaken || !isAtStart) return;
    write(Buffer.from(`\r${paint('tag', cut(plain(text, 400), (process.stderr.columns || 80) - 1))}\x1b[K`));
    isDrawn = true;
  }

  function takeAway(): void {
    if (isDrawn) write(TAKE_AWAY);
    isDrawn = false;
  }

  return {
    /** From now on this is asked every second; null: nothing is waited for. */
    shows(it: () => string | null): void {
      words = it;
      if (way) timer ??= setInterval(draw, EVERY_MS).unref();
    },
    /** A way to the same terminal before which the line is taken away. */
    beside: (sink: Sink): Sink => ({
      write(bytes, onFree) {
        takeAway();
        if (bytes.length > 0) isAtStart = bytes.at(-1) === NEWLINE;
        sink.write(bytes, onFree);
      },
    }),
    stop(): void {
      if (timer) clearInterval(timer);
      timer = null;
      takeAway();
    },
  };
}

/** For a command that waits for something itself. `words` get the time since the beginning; `work` says what it says to `stderr`. */
export async function whileWaiting<T>(
  words: (sinceMs: number) => string,
  work: (stderr: Sink) => Promise<T>,
): Promise<T> {
  const stderr = openSink(2);
  const line = createWaitLine(stderr, await painter(process.stderr));
  const startMs = performance.now();
  line.shows(() => words(performance.now() - startMs));
  try {
    return await work(line.beside(stderr));
  } finally {
    line.stop();
  }
}
