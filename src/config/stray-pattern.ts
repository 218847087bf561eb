/**
 * A `--stray` pattern decides what gets killed, so one that matches everything is refused here. The pattern is kept as
 * text (a Config is plain data); whoever matches compiles it without flags.
 */
import { type Parsed, parsed, unparsed } from './parsed.ts';

/** Programs that have nothing in common but being programs: no sane pattern matches them all. */
const UNRELATED = ['node', 'python3.12', '/usr/sbin/sshd', 'bash', 'x_y-Z9 '];

export function parseStrayPattern(text: string): Parsed<string> {
  if (text.trim() === '') return unparsed('it is empty and would match every process');
  if (text.includes('\0')) return unparsed('it holds a NUL');
  let pattern: RegExp;
  try {
    pattern = new RegExp(text);
  } catch (error) {
    return unparsed(`it is no regular expression: ${reason(error)}`);
  }
  if (pattern.test('')) return unparsed('it matches the empty text, so every process');
  if (UNRELATED.every((program) => pattern.test(program))) return unparsed('it matches every program');
  return parsed(text);
}

/** `Invalid regular expression: /a(/: Unterminated group` → `Unterminated group`. */
function reason(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.slice(message.lastIndexOf(': ') + 2);
}
