/**
 * Writes commands that a user can paste: quoting, joining, and whose account must run them. PURE. Names and paths of other
 * processes may hold anything: no control character, bidirectional override or line break leaves this file unescaped.
 */

/** Control and invisible format characters: what must never reach a terminal as it is. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;
const UNPRINTABLE_ALL = new RegExp(UNPRINTABLE, 'gu');
const PLAIN_WORD = /^[A-Za-z0-9_/:@%+.,-][A-Za-z0-9_/:=@%+.,-]*$/;

/** Quotes one word for POSIX shells; words with control characters become `$'…'`, which bash, zsh and ksh read. */
export function shellQuote(word: string): string {
  if (PLAIN_WORD.test(word)) return word;
  if (!UNPRINTABLE.test(word)) return singleQuote(word);
  const escaped = word.replace(/[\\']/g, '\\$&').replace(UNPRINTABLE_ALL, escapeCharacter);
  return `$'${escaped}'`;
}

/** For any POSIX shell, with every character as it is. */
export function singleQuote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** `\\x1b`, `\\u202e`, as shells, Python and JavaScript write it. */
export function escapeCharacter(character: string): string {
  const code = character.codePointAt(0)!;
  if (code < 0x80) return `\\x${code.toString(16).padStart(2, '0')}`;
  return code <= 0xffff
    ? `\\u${code.toString(16).padStart(4, '0')}`
    : `\\U${code.toString(16).padStart(8, '0')}`;
}

/** One program to run: its words, and environment variables that it needs. */
export interface Step {
  readonly words: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export interface Account {
  readonly uid: number;
  /** `#1000` where it has no name. */
  readonly name: string;
}

export const ROOT: Account = { uid: 0, name: 'root' };

/** Joins steps with `&&`, behind `sudo` or `su` where another account than ours must run them; null: whoever types it. */
export function commandLine(steps: readonly Step[], ownUid: number, account: Account | null): string {
  const plain = steps.map((step) => stepLine(step)).join(' && ');
  if (account === null || account.uid < 0 || account.uid === ownUid) return plain;
  if (ownUid === 0) return `su -s /bin/sh ${shellQuote(account.name)} -c ${shellQuote(plain)}`;
  const prefix = account.uid === 0 ? ['sudo'] : ['sudo', '-u', account.name];
  return steps.map((step) => stepLine(step, prefix)).join(' && ');
}

export const isRoot = (): boolean => process.geteuid?.() === 0;

/** Prefixes a command that only root may run; empty for root itself, which may have no sudo, as in a container. */
export const sudo = (): string => (isRoot() ? '' : 'sudo ');

/** A command, perhaps with a comment, that sees or ends what this user may not. Only what is outside of its own namespaces is out of root's reach. */
export function asRoot(command: string): string {
  if (!isRoot()) return `sudo ${command}`;
  return `${command.replace(/ {4}#.*/, '')}    # on the host, outside of this container or namespace`;
}

function stepLine({ words, env = {} }: Step, prefix: readonly string[] = []): string {
  const settings = Object.entries(env).map(([name, value]) => `${name}=${shellQuote(value)}`);
  const through = prefix.length > 0 && settings.length > 0 ? ['env'] : [];
  return [...prefix.map(shellQuote), ...through, ...settings, ...words.map(shellQuote)].join(' ');
}
