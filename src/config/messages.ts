/** How values and mistakes of the configuration are told: short, on one line, with nothing secret in them, all at once. */
import { EXIT, SinglepollError } from '../errors.ts';
import { maskTokens } from './token.ts';

/** Collects what goes wrong while a configuration is read. */
export interface Findings {
  readonly errors: string[];
  readonly warnings: string[];
  /** Tells a mistake that ends `start`, and that `status` and its like only warn of: they must work beside a broken file. */
  readonly mild: (message: string) => void;
}

/** One SinglepollError (78) that shows every mistake, each on a line of its own. */
export function configFailure(errors: readonly string[]): SinglepollError {
  const [only, ...more] = errors;
  if (only !== undefined && more.length === 0) return new SinglepollError(EXIT.config, only);
  const rows = errors.map((message) => `- ${message.replaceAll('\n', '\n  ')}`);
  const text = `${errors.length} mistakes in the configuration:\n${rows.join('\n')}`;
  return new SinglepollError(EXIT.config, text);
}

const LONGEST_SHOWN = 100;

/** The text with tokens as `123456:…` and URL credentials as `…`; otherwise as it is. */
export function maskSecrets(text: string): string {
  return maskTokens(text).replace(/:\/\/[^/?#\s]*@/g, '://…@');
}

/**
 * A value that somebody configured, as it is shown in a message: in double quotes, secrets masked, control characters escaped,
 * at most 100 characters. People paste tokens into the wrong option, so every value goes through here.
 */
export function showValue(text: string): string {
  const masked = maskSecrets(text);
  const short = masked.length > LONGEST_SHOWN ? `${masked.slice(0, LONGEST_SHOWN)}…` : masked;
  // JSON escapes C0 only; C1 and DEL steer terminals too, and a lone surrogate breaks UTF-8 output.
  return JSON.stringify(short).replace(
    /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/**
 * The closest of `known`, or null where none is close enough to be what was meant. Differences of style (stop-timeout,
 * stop_timeout, StopTimeout) count as nothing.
 */
export function suggest(mistyped: string, known: readonly string[]): string | null {
  const plain = (name: string) =>
    name
      .slice(0, 64)
      .replace(/[-_\s]/g, '')
      .toLowerCase();
  const wanted = plain(mistyped);
  let best: string | null = null;
  let bestDistance = Math.max(1, Math.floor(wanted.length / 3)) + 1;
  for (const name of known) {
    const distance = editDistance(wanted, plain(name));
    if (distance < bestDistance) [best, bestDistance] = [name, distance];
  }
  return best;
}

/** Insertions, deletions, replacements and swaps of neighbours. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1] ? 0 : 1;
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      current.push(
        Math.min(
          last[column]! + 1,
          current[column - 1]! + 1,
          last[column - 1]! + same,
          swapped ? beforeLast[column - 2]! + 1 : Number.POSITIVE_INFINITY,
        ),
      );
    }
    [beforeLast, last] = [last, current];
  }
  return last[b.length]!;
}
