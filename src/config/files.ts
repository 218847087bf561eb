/**
 * Reads the files that configure singlepoll: env file, singlepoll.toml, Procfile, token file. Never waits for one, and never
 * shows a line of one: somebody may have put a token there.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

export const LARGEST_FILE_BYTES = 1024 * 1024;
const NO_FILE = 'it is a FIFO, socket or device, not a file';

export type FileText =
  | { readonly kind: 'text'; readonly text: string; readonly mode: number }
  | { readonly kind: 'missing' }
  /** `irregular`: there, but a folder, a FIFO … */
  | { readonly kind: 'irregular' | 'unreadable'; readonly problem: string };

/** Reads one file of at most 1 MiB, without its byte order mark. Never throws. */
export function readTextFile(path: string): FileText {
  let fd: number;
  try {
    // open(2): O_NONBLOCK keeps the open of a FIFO from blocking.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    return failed(error as NodeJS.ErrnoException);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile())
      return { kind: 'irregular', problem: stat.isDirectory() ? 'it is a folder, not a file' : NO_FILE };
    const bytes = readUpTo(fd, LARGEST_FILE_BYTES + 1);
    if (bytes.length > LARGEST_FILE_BYTES) return { kind: 'unreadable', problem: 'it is larger than 1 MiB' };
    // What `echo … > .env` writes in an older PowerShell.
    if (/^(?:fffe|feff)/.test(bytes.toString('hex', 0, 2)))
      return { kind: 'unreadable', problem: 'it is UTF-16; save it as UTF-8' };
    return { kind: 'text', text: bytes.toString('utf8').replace(/^\uFEFF/, ''), mode: stat.mode & 0o7777 };
  } catch (error) {
    return failed(error as NodeJS.ErrnoException);
  } finally {
    closeSync(fd);
  }
}

function failed({ code = '', message }: NodeJS.ErrnoException): FileText {
  if (code === 'ENOENT' || code === 'ENOTDIR') return { kind: 'missing' };
  // What open(2) says of a socket and of a device without a driver.
  if (code === 'ENXIO' || code === 'ENODEV') return { kind: 'irregular', problem: NO_FILE };
  const known: Readonly<Record<string, string>> = {
    EACCES: 'it may not be read by this user',
    EPERM: 'it may not be read by this user',
    ELOOP: 'it is a symlink that leads to itself',
  };
  return { kind: 'unreadable', problem: known[code] ?? `it cannot be read (${code || message})` };
}

/** fs.readFileSync trusts the size that fstat told; a file in /proc has 0, and a log grows meanwhile. */
function readUpTo(fd: number, maxBytes: number): Buffer {
  const chunks: Buffer[] = [];
  for (let total = 0; total < maxBytes; ) {
    const chunk = Buffer.allocUnsafe(Math.min(64 * 1024, maxBytes - total));
    const count = readSync(fd, chunk, 0, chunk.length, null);
    if (count === 0) break;
    chunks.push(chunk.subarray(0, count));
    total += count;
  }
  return Buffer.concat(chunks);
}

export interface EnvFile {
  readonly vars: Readonly<Record<string, string>>;
  /** Name → line (from 1) of the assignment that counts, which is the last. */
  readonly lines: Readonly<Record<string, number>>;
  /** What was passed over or doubtful, by line. */
  readonly problems: readonly { readonly line: number; readonly problem: string }[];
}

type Lookup = (name: string) => string | undefined;

const ASSIGNMENT = /^\s*(?:export\s+)?([A-Za-z_][\w.-]*)[ \t]*=(.*)$/;
const REFERENCE = /\$\{([A-Za-z_]\w*)(?::-([^}]{0,1024}))?\}/g;
const ESCAPE_OR_REFERENCE = /\\([nrt"\\$`])|\$\{([A-Za-z_]\w*)(?::-([^}]{0,1024}))?\}/g;
const ESCAPED: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' };
/** Linux refuses a longer string in an environment (execve(2), MAX_ARG_STRLEN). */
const LONGEST_VALUE = 128 * 1024 - 1;
/** References that refer to references grow without bound, and env files of strangers are read too. */
const MOST_EXPANDED = 1024 * 1024;

/**
 * Parses `.env` text the way shells, docker compose and python-dotenv agree on: `export X=`, quotes, values over several lines,
 * comments, CRLF. (util.parseEnv of Node tells no lines, and joins a bad line with the next variable.) The worker gets these
 * variables and its own loader will not overwrite them, so what such a loader would expand (`${NAME}`, `${NAME:-default}`) is
 * expanded here, too; `environment` wins over the file.
 */
export function parseEnvFile(
  text: string,
  environment: Readonly<Record<string, string | undefined>> = {},
): EnvFile {
  const rows = text.replace(/^\uFEFF/, '').split(/\r\n|\n|\r/);
  const vars = new Map<string, string>();
  const lines = new Map<string, number>();
  const problems: { line: number; problem: string }[] = [];
  let expandable = MOST_EXPANDED;
  const lookup: Lookup = (name) => {
    // An object answers for toString and the like as well.
    const value = Object.hasOwn(environment, name) ? environment[name] : vars.get(name);
    expandable -= value?.length ?? 0;
    return expandable < 0 ? undefined : value;
  };

  for (let index = 0; index < rows.length; index++) {
    const row = rows[index]!;
    const line = index + 1;
    if (/^\s*(?:#|$)/.test(row) || /^\s*export\s+\w[\w\s]*$/.test(row)) continue;
    const [, name, raw] = ASSIGNMENT.exec(row) ?? [];
    if (name === undefined || raw === undefined) {
      problems.push({ line, problem: 'it is not NAME=value' });
      continue;
    }
    const quote = /^[ \t]*(["'`])/.exec(raw)?.[1];
    const quoted = quote === undefined ? null : readQuoted(rows, index, raw.trimStart().slice(1), quote);
    if (quote !== undefined && !quoted) problems.push({ line, problem: 'the quote is never closed' });
    if (quoted) {
      index = quoted.lastRow;
      if (!/^\s*(?:#.*)?$/.test(quoted.rest))
        problems.push({ line: index + 1, problem: 'text after the closing quote' });
    }
    const value = !quoted
      ? expand(raw.replace(/[ \t]#.*$/, '').trim(), REFERENCE, lookup)
      : quote === '"'
        ? expand(quoted.body, ESCAPE_OR_REFERENCE, lookup)
        : quoted.body;
    if (value.includes('\0')) problems.push({ line, problem: 'it holds a NUL' });
    else if (value.length > LONGEST_VALUE)
      problems.push({ line, problem: 'it is too long for an environment (128 KiB)' });
    else {
      vars.set(name, value);
      lines.set(name, line);
    }
  }
  return { vars: Object.fromEntries(vars), lines: Object.fromEntries(lines), problems };
}

/** Looks for the closing quote, on this row or a later one; null where there is none. */
function readQuoted(rows: readonly string[], firstRow: number, start: string, quote: string) {
  // Only double quotes know backslashes, as in a shell.
  const body = quote === '"' ? /^(?:[^"\\]|\\.)*(?=")/ : new RegExp(`^[^${quote}]*(?=${quote})`);
  const parts: string[] = [];
  for (let row = firstRow; row < rows.length; row++) {
    const text = row === firstRow ? start : rows[row]!;
    const last = body.exec(text)?.[0];
    parts.push(last ?? text);
    if (last !== undefined)
      return { body: parts.join('\n'), rest: text.slice(last.length + 1), lastRow: row };
  }
  return null;
}

function expand(value: string, what: RegExp, lookup: Lookup): string {
  return value.replace(what, (whole, ...found) => {
    const escaped = what === REFERENCE ? undefined : (found.shift() as string | undefined);
    if (escaped !== undefined) return ESCAPED[escaped] ?? escaped;
    const [name, fallback] = found as [string, string | undefined];
    return (fallback === undefined ? lookup(name) : lookup(name) || fallback) ?? whole;
  });
}

export interface Toml {
  readonly values: Readonly<Record<string, unknown>>;
  /** The line (from 1) on which a top-level key is set, as far as can be told without the parser's help. */
  lineOf(key: string): number | null;
}

/** Parses singlepoll.toml. The parser is loaded only where there is such a file. */
export async function parseToml(
  text: string,
): Promise<{ readonly ok: true; readonly toml: Toml } | { readonly ok: false; readonly problem: string }> {
  const { parse, TomlError } = await import('smol-toml');
  try {
    return { ok: true, toml: { values: parse(text), lineOf: (key) => lineOfKey(text, key) } };
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The message goes on with the offending lines; only its first line is about the format.
    const what = error.message.split('\n', 1)[0]!.replace(/^Invalid TOML document: /, '');
    return { ok: false, problem: `line ${error.line}, column ${error.column}: ${what}` };
  }
}

function lineOfKey(text: string, key: string): number | null {
  const at = text.split('\n').findIndex((row) => {
    const match = /^\s*\[?\[?\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*[.=\]]/.exec(row);
    return match !== null && (match[1] ?? match[2] ?? match[3]) === key;
  });
  return at < 0 ? null : at + 1;
}

/** The lines of a Procfile: process name → command line for a shell. */
export function parseProcfile(text: string): ReadonlyMap<string, string> {
  const rows = text.split(/\r\n|\n|\r/).map((row) => /^\s*([A-Za-z0-9_-]+)\s*:\s*(\S.*)$/.exec(row));
  return new Map(rows.flatMap((match) => (match ? [[match[1]!, match[2]!.trimEnd()] as const] : [])));
}
