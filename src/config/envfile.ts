/**
 * Parses `.env` text the way shells, docker compose and python-dotenv agree on: `export X=`, quotes, values over several
 * lines, comments, CRLF. Node's own util.parseEnv joins a bad line with the next variable and trips over a byte order mark.
 *
 * The worker gets these variables and its own loader will not overwrite them, so what such a loader would expand
 * (`${NAME}`, `${NAME:-default}`) is expanded here too, where NAME is known. Never shows a line: it may hold a token.
 */

export interface EnvFile {
  readonly vars: Readonly<Record<string, string>>;
  /** Name → line (from 1) of the assignment that counts, which is the last. */
  readonly lines: Readonly<Record<string, number>>;
  /** What was passed over or doubtful, by line. */
  readonly problems: readonly { readonly line: number; readonly problem: string }[];
}

type Lookup = Readonly<Record<string, string | undefined>>;

const ASSIGNMENT = /^\s*(?:export\s+)?([A-Za-z_][\w.-]*)[ \t]*=(.*)$/;
const REFERENCE = /\$\{([A-Za-z_]\w*)(?::-([^}]{0,1024}))?\}/g;
const ESCAPE_OR_REFERENCE = /\\([nrt"\\$`])|\$\{([A-Za-z_]\w*)(?::-([^}]{0,1024}))?\}/g;
/** Linux refuses a longer string in an environment (execve(2), MAX_ARG_STRLEN). */
const LONGEST_VALUE = 128 * 1024 - 1;
/** References that refer to references grow without bound, and env files of strangers are read too. */
const MOST_EXPANDED = 1024 * 1024;
const ESCAPED: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' };

/** Parses the text of an env file; `environment` wins over the file where `${NAME}` is looked up. Never throws. */
export function parseEnvFile(text: string, environment: Lookup = {}): EnvFile {
  const rows = text.replace(/^\uFEFF/, '').split(/\r\n|\n|\r/);
  const vars = new Map<string, string>();
  const lines = new Map<string, number>();
  const problems: { line: number; problem: string }[] = [];
  let expandable = MOST_EXPANDED;
  const lookup = (name: string): string | undefined => {
    // An object answers for toString and the like as well.
    const value = Object.hasOwn(environment, name) ? environment[name] : vars.get(name);
    expandable -= value?.length ?? 0;
    return expandable < 0 ? undefined : value;
  };

  for (let index = 0; index < rows.length; index++) {
    const row = rows[index]!;
    const line = index + 1;
    if (/^\s*(?:#|$)/.test(row) || /^\s*export\s+\w[\w\s]*$/.test(row)) continue;
    const assignment = ASSIGNMENT.exec(row);
    if (!assignment) {
      problems.push({ line, problem: 'it is not NAME=value' });
      continue;
    }
    const name = assignment[1]!;
    const raw = assignment[2]!;
    const quote = /^[ \t]*(["'`])/.exec(raw)?.[1];
    const quoted = quote === undefined ? null : readQuoted(rows, index, raw.trimStart().slice(1), quote);
    let value: string;
    if (quoted) {
      value = quote === '"' ? unescapeDouble(quoted.body, lookup) : quoted.body;
      index = quoted.lastRow;
      if (!/^\s*(?:#.*)?$/.test(quoted.rest)) {
        problems.push({ line: index + 1, problem: 'text after the closing quote' });
      }
    } else {
      if (quote !== undefined) problems.push({ line, problem: 'the quote is never closed' });
      value = expand(raw.replace(/[ \t]#.*$/, '').trim(), lookup);
    }
    if (value.includes('\0')) {
      problems.push({ line, problem: 'it holds a NUL' });
      continue;
    }
    if (value.length > LONGEST_VALUE) {
      problems.push({ line, problem: 'it is too long for an environment (128 KiB)' });
      continue;
    }
    vars.set(name, value);
    lines.set(name, line);
  }
  return { vars: Object.fromEntries(vars), lines: Object.fromEntries(lines), problems };
}

/** Looks for the closing quote, on this row or a later one; null where there is none. */
function readQuoted(
  rows: readonly string[],
  firstRow: number,
  start: string,
  quote: string,
): { body: string; rest: string; lastRow: number } | null {
  const body: string[] = [];
  for (let row = firstRow; row < rows.length; row++) {
    const text = row === firstRow ? start : rows[row]!;
    const end = closingQuote(text, quote);
    if (end >= 0) {
      body.push(text.slice(0, end));
      return { body: body.join('\n'), rest: text.slice(end + 1), lastRow: row };
    }
    body.push(text);
  }
  return null;
}

/** Only double quotes know backslashes, as in a shell. */
function closingQuote(text: string, quote: string): number {
  for (let at = 0; at < text.length; at++) {
    if (text[at] === quote) return at;
    if (quote === '"' && text[at] === '\\') at++;
  }
  return -1;
}

function unescapeDouble(body: string, lookup: (name: string) => string | undefined): string {
  return body.replace(ESCAPE_OR_REFERENCE, (whole, escaped?: string, name?: string, fallback?: string) =>
    escaped === undefined ? (resolve(name!, fallback, lookup) ?? whole) : (ESCAPED[escaped] ?? escaped),
  );
}

function expand(value: string, lookup: (name: string) => string | undefined): string {
  return value.replace(
    REFERENCE,
    (whole, name: string, fallback?: string) => resolve(name, fallback, lookup) ?? whole,
  );
}

function resolve(
  name: string,
  fallback: string | undefined,
  lookup: (name: string) => string | undefined,
): string | undefined {
  const value = lookup(name);
  if (fallback !== undefined && (value === undefined || value === '')) return fallback;
  return value;
}
