/**
 * Every line of talk goes through here, to stderr: `[tag] text`, or one JSON object per line. Answers of commands go to
 * stdout and are not its business. Tokens are masked once more at this door, whatever came before it. A closed or full
 * stderr is never an error: the worker matters more than our words.
 */
import { maskText } from './mask.ts';
import type { Level, Paint } from './paint.ts';
import { plain } from './plain.ts';
import { type Sink, standardSink } from './sink.ts';

export interface Report {
  line(tag: string, text: string, level?: Level, fields?: Readonly<Record<string, unknown>>): void;
  /** Waits (at most `ms`) until what was said has left. */
  drained(ms: number): Promise<void>;
}

const WAITING_MAX = 500;

export function createReport(
  format: 'text' | 'json',
  tokens: readonly string[],
  paint: Paint,
  sink: Sink = standardSink(2),
): Report {
  let waiting = 0;
  let turn: string[] = [];
  /** What is said in one turn leaves in one piece behind it: who restarts a worker does not wait for its own words. */
  function write(text: string): void {
    // Behind a reader that has stopped reading our own words are not worth the memory.
    if (waiting + turn.length >= WAITING_MAX) return;
    if (turn.push(text) === 1) process.nextTick(flush);
  }
  function flush(): void {
    const lines = turn.length;
    if (lines === 0) return;
    const bytes = Buffer.from(turn.join(''));
    turn = [];
    waiting += lines;
    const free = () => {
      waiting -= lines;
    };
    if (sink.write(bytes, free)) free();
  }
  return {
    line(tag, text, level = 'info', fields = {}) {
      const clean = plain(maskText(text, tokens), 2_000);
      if (format === 'json') {
        const at = new Date().toISOString();
        const record = JSON.stringify({ at, event: tag, level, message: clean, ...fields });
        write(`${maskText(record, tokens)}\n`);
        return;
      }
      write(`${paint('tag', `[${tag}]`)} ${paint(level, clean)}\n`);
    },
    drained(ms) {
      flush();
      return new Promise((resolve) => {
        const timer = setTimeout(resolve, ms);
        const left = () => {
          clearTimeout(timer);
          resolve();
        };
        if (sink.write(Buffer.alloc(0), left)) left();
      });
    },
  };
}
