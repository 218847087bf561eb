/**
 * Every line of talk goes through here, to stderr: `[tag] text`, or one JSON object per line. Answers of commands go to
 * stdout and are not its business. Tokens are masked once more at this door, whatever came before it. A closed or full
 * stderr is never an error: the worker matters more than our words.
 */
import { maskText } from './mask.ts';
import { plain } from './plain.ts';
import { openSink, type Sink } from './sink.ts';
import type { Level, Paint } from './words.ts';

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
  sink: Sink = openSink(2),
): Report {
  let waiting = 0;
  function write(text: string): void {
    // Behind a reader that has stopped reading our own words are not worth the memory.
    if (waiting >= WAITING_MAX) return;
    waiting += 1;
    if (sink.write(Buffer.from(text), () => (waiting -= 1))) waiting -= 1;
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
