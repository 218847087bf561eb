/**
 * Writes commands that a user can paste: quoting, joining, and whose account they must be typed as.
 * What comes from other processes (names, paths) may hold anything; no control character, bidirectional
 * override or line break ever leaves this file unescaped.
 */

/** Control and invisible format characters: what must never reach a terminal as it is. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;
const UNPRINTABLE_ALL = new RegExp(UNPRINTABLE, 'gu');
const PLAIN_WORD = /^[A-Za-z0-9_/:@%+.,-][A-Za-z0-9_/:=@%+.,-]*$/;

/** Quotes one word for POSIX shells; words with control characters become `$'…'`, which bash, zsh and ksh read. */
export function shellQuote(word: string): string {
  if (PLAIN_WORD.test(word)) return word;
  if (!UNPRINTABLE.test(word)) return `'${word.replaceAll("'", "'\\''")}'`;
  const escaped = word.replace(/[\\']/g, '\\$&').replace(UNPRINTABLE_ALL, escapeCharacter);
  return `$'${escaped}'`;
}

function escapeCharacter(character: string): string {
  const code = character.codePointAt(0)!;
  if (code < 0x80) return `\\x${code.toString(16).padStart(2, '0')}`;
  return code <= 0xffff
    ? `\\u${code.toString(16).padStart(4, '0')}`
    : `\\U${code.toString(16).padStart(8, '0')}`;
}

/** Makes a name safe to show: unprintable characters escaped, at most `maxLength` characters. */
export function printable(text: string, maxLength = 200): string {
  const shown = text.replace(UNPRINTABLE_ALL, escapeCharacter);
  return shown.length <= maxLength ? shown : `${shown.slice(0, maxLength - 1)}…`;
}

/** One program to run: its words, and environment variables that it needs. */
export interface Step {
  readonly words: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Who types a command, and who must run it. `name` is the account's name, or its number where unknown. */
export interface Account {
  readonly uid: number;
  readonly name: string;
}

/** Joins steps with `&&`, with `sudo` or `su` in front of them where another account than ours must run them. */
export function commandLine(steps: readonly Step[], ownUid: number, account: Account | null): string {
  const plain = steps.map((step) => stepLine(step)).join(' && ');
  if (account === null || account.uid < 0 || account.uid === ownUid) return plain;
  if (ownUid === 0) return `su -s /bin/sh ${shellQuote(account.name)} -c ${shellQuote(plain)}`;
  const prefix = account.uid === 0 ? ['sudo'] : ['sudo', '-u', account.name];
  return steps.map((step) => stepLine(step, prefix)).join(' && ');
}

function stepLine(step: Step, prefix: readonly string[] = []): string {
  const settings = Object.entries(step.env ?? {}).map(([name, value]) => `${name}=${shellQuote(value)}`);
  const words = step.words.map(shellQuote);
  if (prefix.length === 0) return [...settings, ...words].join(' ');
  const through = settings.length > 0 ? ['env', ...settings] : [];
  return [...prefix.map(shellQuote), ...through, ...words].join(' ');
}

/** Hides the secret half of every bot token in a text. */
export function masked(text: string): string {
  return text.replace(/(\d{5,}):[A-Za-z0-9_-]{20,}/g, '$1:…');
}
