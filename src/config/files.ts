/**
 * Reads the files that configure singlepoll (env file, singlepoll.toml, Procfile, token file), and those of the state folder.
 * Never blocks, and never shows a line of a file, as that may hold a token.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync, readSync } from 'node:fs';

const LARGEST_FILE_BYTES = 1024 * 1024;
const NO_FILE = 'it is a FIFO, socket or device, not a file';

type FileText =
  | { readonly kind: 'text'; readonly text: string; readonly mode: number; readonly isCut?: boolean }
  | { readonly kind: 'missing' }
  /** `irregular`: it exists, but is a folder, a FIFO … */
  | { readonly kind: 'irregular' | 'unreadable'; readonly problem: string };

/** Reads one file of at most 1 MiB, without its byte order mark; of a larger one the end, where that is enough. Never throws. */
export function readTextFile(path: string, isEndEnough = false): FileText {
  let fd: number | null = null;
  try {
    // open(2): O_NONBLOCK keeps the open of a FIFO from blocking.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    const stat = fstatSync(fd);
    if (stat.isDirectory()) return { kind: 'irregular', problem: 'it is a folder, not a file' };
    if (!stat.isFile()) return { kind: 'irregular', problem: NO_FILE };
    const from = stat.size - LARGEST_FILE_BYTES;
    if (from > 0 && !isEndEnough) return { kind: 'unreadable', problem: 'it is larger than 1 MiB' };
    const bytes = from > 0 ? Buffer.alloc(LARGEST_FILE_BYTES) : readFileSync(fd);
    if (from > 0) readSync(fd, bytes, { position: from });
    // UTF-16, as `echo … > .env` writes it in an older PowerShell.
    if (/^(?:fffe|feff)/.test(bytes.toString('hex', 0, 2)))
      return { kind: 'unreadable', problem: 'it is UTF-16; save it as UTF-8' };
    const text = bytes.toString('utf8').replace(/^\uFEFF/, '');
    return { kind: 'text', text, mode: stat.mode & 0o7777, ...(from > 0 && { isCut: true }) };
  } catch (error) {
    return failed(error as NodeJS.ErrnoException);
  } finally {
    if (fd !== null) closeSync(fd);
  }
}

/** Null: no file, or no JSON object or array in it. */
export function jsonIn(path: string): object | null {
  const file = readTextFile(path);
  return file.kind === 'text' ? parseObject(file.text) : null;
}

/** An object or array as somebody else has written it; null: the text is none. */
export function parseObject<T extends object>(text: string): T | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' ? (value as T | null) : null;
  } catch {
    return null;
  }
}

function failed({ code = '', message }: NodeJS.ErrnoException): FileText {
  if (code === 'ENOENT' || code === 'ENOTDIR') return { kind: 'missing' };
  // The errors of open(2) for a socket and a device without a driver.
  if (code === 'ENXIO' || code === 'ENODEV') return { kind: 'irregular', problem: NO_FILE };
  const isDenied = code === 'EACCES' || code === 'EPERM';
  return {
    kind: 'unreadable',
    problem: isDenied ? 'it may not be read by this user' : `it cannot be read (${code || message})`,
  };
}

const ASSIGNMENT = String.raw`[ \t]*(?:export[ \t]+)?(?<name>[A-Za-z_][\w.-]*)[ \t]*=`;
/** Backslashes count only in double quotes, as in a shell. */
const QUOTED = String.raw`[ \t]*(?:"(?<double>(?:[^"\\]|\\[\s\S])*)"|'(?<single>[^']*)'|\x60(?<tick>[^\x60]*)\x60)[ \t]*(?:#[^\n]*)?`;
/** An assignment, which may span several lines in quotes; otherwise any line. */
const ROW = new RegExp(`(?:${ASSIGNMENT}(?:${QUOTED}|(?<bare>[^\\n]*))|[^\\n]*)(?:\\n|$)`, 'y');
const NOTHING = /^\s*(?:#|$)|^\s*export\s+\w[\w\s]*$/;
const REFERENCE = /\$\{([A-Za-z_]\w*)(?::-([^}]{0,1024}))?\}|\\([nrt"\\$`])/g;
const ESCAPED: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' };
/** Linux refuses a longer string in an environment (execve(2), MAX_ARG_STRLEN). */
const LONGEST_VALUE = 128 * 1024 - 1;

/**
 * Parses `.env` text the way shells, docker compose and python-dotenv agree on: `export X=`, quotes, values over several lines,
 * comments, CRLF. (Node's util.parseEnv gives no line numbers, and joins a bad line with the next variable.) The worker gets
 * these variables and its own loader will not overwrite them, so references that a loader would expand (`${NAME}`,
 * `${NAME:-default}`) are expanded here, too; `environment` takes precedence over the file.
 */
export function parseEnvFile(text: string, environment: Readonly<Record<string, string | undefined>> = {}) {
  const rows = text.replace(/^\uFEFF/, '').replace(/\r\n?/g, '\n');
  const vars = new Map<string, string>();
  /** The line (from 1) of the assignment that counts, which is the last. */
  const lines = new Map<string, number>();
  /** Ignored or doubtful lines. */
  const problems: { line: number; problem: string }[] = [];
  for (let at = 0, line = 1; at < rows.length; ) {
    ROW.lastIndex = at;
    const { 0: row, groups = {} } = ROW.exec(rows)!;
    const { name, bare } = groups;
    const problem = name === undefined ? (NOTHING.test(row) ? null : 'it is not NAME=value') : assign();
    if (problem !== null) problems.push({ line, problem });
    at += row.length;
    line += row.split('\n').length - 1;

    function assign(): string | null {
      const { double, single, tick } = groups;
      const unquoted = bare?.replace(/[ \t]#[\s\S]*$/, '').trim();
      const value = single ?? tick ?? expand(double ?? unquoted ?? '', double !== undefined);
      if (value.includes('\0')) return 'it holds a NUL';
      if (value.length > LONGEST_VALUE) return 'it is too long for an environment (128 KiB)';
      vars.set(name!, value);
      lines.set(name!, line);
      return /^["'`]/.test(unquoted ?? '') ? 'its quotes are not closed, or text follows them' : null;
    }
  }
  return { vars: Object.fromEntries(vars), lineOf: (name: string) => lines.get(name) ?? null, problems };

  function expand(value: string, isDouble: boolean): string {
    // Nested references could grow without bound, and env files of other people are read, too.
    let room = LONGEST_VALUE;
    return value.replace(REFERENCE, (whole, name?: string, fallback?: string, escaped?: string) => {
      if (escaped !== undefined) return isDouble ? (ESCAPED[escaped] ?? escaped) : whole;
      // `toString` and the like are found on every object.
      const found = Object.hasOwn(environment, name!) ? environment[name!] : vars.get(name!);
      room -= found?.length ?? 0;
      if (room < 0) return whole;
      return (fallback === undefined ? found : found || fallback) ?? whole;
    });
  }
}

/** Parses singlepoll.toml. The parser is loaded only if there is such a file. */
export async function parseToml(text: string) {
  const { parse, TomlError } = await import('smol-toml');
  try {
    /** The line (from 1) of a top-level key, found without the parser, which gives no positions. */
    const lineOf = (key: string) => lineOfKey(text, key);
    return { ok: true, values: parse(text) as Readonly<Record<string, unknown>>, lineOf } as const;
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The message quotes the offending lines after its first line.
    const what = error.message.split('\n', 1)[0]!.replace(/^Invalid TOML document: /, '');
    return { ok: false, problem: `line ${error.line}, column ${error.column}: ${what}` } as const;
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
