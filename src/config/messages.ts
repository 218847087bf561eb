/** Messages about values and mistakes of the configuration: short, one line each, without secrets, all at once. */
import { EXIT, SinglepollError } from '../errors.ts';
import { escapeCharacter } from '../shell.ts';
import { maskTokens } from './token.ts';

export type Findings = ReturnType<typeof collectFindings>;

/** Collects the mistakes of a configuration. */
export function collectFindings(isStart: boolean) {
  const errors: string[] = [];
  const warnings: string[] = [];
  const error = (message: string) => void errors.push(message);
  const warning = (message: string) => void warnings.push(message);
  /** For a mistake that ends `start`, but is only a warning in `status` and the like, which must work with a broken file. */
  const mild = isStart ? error : warning;
  return { errors, warnings, error, warning, mild };
}

/** One SinglepollError (78) that shows every mistake, each on a line of its own. */
export function configFailure(errors: readonly string[]): SinglepollError {
  const rows = errors.map((message) => `- ${message.replaceAll('\n', '\n  ')}`);
  const text = `${errors.length} mistakes in the configuration:\n${rows.join('\n')}`;
  const hint = 'singlepoll start --help    # what each option takes, and where tokens are looked for';
  return new SinglepollError(EXIT.config, errors.length === 1 ? errors[0]! : text, hint);
}

/** The text with tokens as `123456:…` and URL credentials as `…`. */
export function maskSecrets(text: string): string {
  return maskTokens(text).replace(/:\/\/[^/?#\s]*@/g, '://…@');
}

const LONGEST_SHOWN = 100;

/**
 * A configured value for a message: in double quotes, secrets masked, control characters escaped, at most 100 characters. Every
 * shown value goes through here, as people paste tokens into wrong options.
 */
export function showValue(text: string): string {
  const masked = maskSecrets(text);
  const short = masked.length > LONGEST_SHOWN ? `${masked.slice(0, LONGEST_SHOWN)}…` : masked;
  // JSON escapes only C0, but C1 and DEL control terminals, too, and a lone surrogate breaks UTF-8 output.
  return JSON.stringify(short).replace(
    /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    escapeCharacter,
  );
}

/** `; did you mean X?` with the closest of `known`; nothing if none is close enough. */
export function didYouMean(mistyped: string, known: readonly string[]): string {
  // Differences of style and the common prefix of our variables are ignored.
  const plain = (name: string) =>
    name
      .slice(0, 64)
      .toLowerCase()
      .replace(/^singlepoll_|[-_\s]/g, '');
  const wanted = plain(mistyped);
  const distances = known.map((name) => editDistance(wanted, plain(name)));
  const least = Math.min(...distances);
  return least <= Math.max(1, wanted.length / 3) ? `; did you mean ${known[distances.indexOf(least)]}?` : '';
}

/** Counts insertions, deletions, replacements and swaps of neighbours. */
function editDistance(a: string, b: string): number {
  let [before, last] = [[] as number[], Array.from({ length: b.length + 1 }, (_, column) => column)];
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1] ? 0 : 1;
      const isSwapped = a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      const swapped = isSwapped ? before[column - 2]! + 1 : Number.POSITIVE_INFINITY;
      current.push(Math.min(last[column]! + 1, current[column - 1]! + 1, last[column - 1]! + same, swapped));
    }
    [before, last] = [last, current];
  }
  return last[b.length]!;
}
