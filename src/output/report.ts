/**
 * Every line of talk goes through here, to stderr: `[tag] text`, or one JSON object per line. Answers of commands go to
 * stdout and are not its business. Tokens are masked once more at this door, whatever came before it. A closed or full
 * stderr is never an error: the worker matters more than our words.
 */
import { maskText } from './mask.ts';
import { plain } from './plain.ts';

export type Level = 'info' | 'good' | 'warn' | 'error';

export interface Report {
  line(tag: string, text: string, level?: Level, fields?: Readonly<Record<string, unknown>>): void;
  /** Waits (at most `ms`) until what was said has left. */
  drained(ms: number): Promise<void>;
}

/** Colours a piece of text by level; the identity where colour is off. */
export type Paint = (level: Level | 'tag', text: string) => string;

/** chalk is loaded only where it is used: a service's log has no colour, and so no chalk. */
export async function painter(
  stream: { readonly isTTY?: boolean },
  env: Readonly<Record<string, string | undefined>>,
): Promise<Paint> {
  const colour = stream.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb';
  if (!colour) return (_level, text) => text;
  const { Chalk } = await import('chalk');
  const chalk = new Chalk({ level: 1 });
  const paints = { tag: chalk.dim, good: chalk.green, warn: chalk.yellow, error: chalk.red, info: null };
  return (level, text) => paints[level]?.(text) ?? text;
}

export function createReport(
  format: 'text' | 'json',
  tokens: readonly string[],
  paint: Paint,
  stream: NodeJS.WritableStream = process.stderr,
): Report {
  // EPIPE, EIO of a gone terminal, ENOSPC: nothing to be done, and nothing to die of.
  stream.on('error', () => {});
  return {
    line(tag, text, level = 'info', fields = {}) {
      const clean = plain(maskText(text, tokens), 2_000);
      if (format === 'json') {
        const at = new Date().toISOString();
        const record = JSON.stringify({ at, event: tag, level, message: clean, ...fields });
        stream.write(`${maskText(record, tokens)}\n`);
        return;
      }
      stream.write(`${paint('tag', `[${tag}]`)} ${paint(level, clean)}\n`);
    },
    drained(ms) {
      return new Promise((resolve) => {
        const timer = setTimeout(resolve, ms);
        stream.write('', () => {
          clearTimeout(timer);
          resolve();
        });
      });
    },
  };
}
