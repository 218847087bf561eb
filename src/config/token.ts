/**
 * Finds the bot token and says where it came from. Looks in: --token-file, --token-env, TELEGRAM_BOT_TOKEN, BOT_TOKEN,
 * TELEGRAM_TOKEN; each variable in the environment first, then in the env file. Never puts a token, or any part of it but
 * the bot id, into a message.
 *
 * The first place counts, and yet all are read: a worker may read another variable than we do and poll another bot.
 */
import type { ConfigError } from './config-error.ts';
import { readTextFile } from './read-file.ts';

export const TOKEN_VARIABLES = ['TELEGRAM_BOT_TOKEN', 'BOT_TOKEN', 'TELEGRAM_TOKEN'] as const;

/** Real secrets have 35 characters; shorter than this nothing is a token. */
const SHORTEST_SECRET = 24;
const SHAPE = '123456:ABC-DEF…, the bot id, a colon and a secret of 35 letters, digits, - and _';

export interface TokenPlaces {
  /** --token-file: absolute path, how to show it, and where the option was set. */
  readonly tokenFile: { readonly path: string; readonly shown: string; readonly where: string } | null;
  /** --token-env. */
  readonly tokenEnv: { readonly name: string; readonly where: string } | null;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Null where there is no env file. */
  readonly envFile: { readonly vars: Readonly<Record<string, string>>; readonly shown: string } | null;
}

export interface FoundToken {
  readonly token: string;
  readonly botId: number;
  /** `BOT_TOKEN in .env`, `TELEGRAM_BOT_TOKEN in the environment`, `the file secrets/token`. */
  readonly source: string;
}

export interface TokenSearch {
  /** Null also where there are errors. */
  readonly found: FoundToken | null;
  readonly errors: readonly ConfigError[];
  readonly warnings: readonly string[];
  /** Names of the variables, of either place, that are set to a token or to what should be one. */
  readonly variables: readonly string[];
}

interface Candidate {
  readonly text: string;
  readonly source: string;
}

/** Looks in every place. Reads the token file, if one is named; otherwise pure. */
export function findToken(places: TokenPlaces): TokenSearch {
  const errors: ConfigError[] = [];
  const warnings: string[] = [];
  const variables = new Set<string>();
  const candidates: Candidate[] = [];

  if (places.tokenFile) {
    const read = readTokenFile(places.tokenFile);
    if (read.error) errors.push(read.error);
    if (read.warning) warnings.push(read.warning);
    if (read.text !== null)
      candidates.push({ text: read.text, source: `the file ${places.tokenFile.shown}` });
  }
  const named = places.tokenEnv?.name;
  const file = { vars: places.envFile?.vars ?? {}, place: places.envFile?.shown ?? '' };
  const environment = { vars: places.environment, place: 'the environment' };
  const usual = TOKEN_VARIABLES.filter((name) => name !== named);
  for (const names of named === undefined ? [usual] : [[named], usual]) {
    for (const { vars, place } of [environment, file]) {
      for (const name of names) {
        const text = vars[name];
        if (text === undefined || text === '') continue;
        const source = `${name} in ${place}`;
        // The same variable in both places is an override, not a contradiction: the environment wins, as everywhere.
        if (variables.has(name)) {
          warnings.push(...overridden(environment.vars[name] as string, text, source));
          continue;
        }
        variables.add(name);
        candidates.push({ text, source });
      }
    }
  }
  if (places.tokenEnv && !variables.has(places.tokenEnv.name)) {
    const also = places.envFile ? ` nor in ${places.envFile.shown}` : '';
    errors.push({
      where: places.tokenEnv.where,
      message: `${places.tokenEnv.where}: the variable ${places.tokenEnv.name} is not set in the environment${also}`,
    });
  }
  const judged = judge(candidates);
  return {
    found: errors.length + judged.errors.length > 0 ? null : judged.found,
    errors: [...errors, ...judged.errors],
    warnings: [...warnings, ...judged.warnings],
    variables: [...variables],
  };
}

/** An override by another bot's token is lawful, but worth a word. */
function overridden(used: string, ignored: string, source: string): string[] {
  const [mine, other] = [readToken(used), readToken(ignored)];
  if (!mine.ok || !other.ok || mine.botId === other.botId) return [];
  return [`${source} is bot ${other.botId}; the environment wins with bot ${mine.botId}`];
}

function judge(candidates: readonly Candidate[]): Omit<TokenSearch, 'variables'> {
  const errors: ConfigError[] = [];
  const warnings: string[] = [];
  let first: FoundToken | null = null;
  for (const [index, candidate] of candidates.entries()) {
    const read = readToken(candidate.text);
    if (!read.ok) {
      // What is taken must be right; what merely lies about in a weaker place must not stop the bot.
      if (index === 0) errors.push(malformed(candidate.source, read.problem));
      else warnings.push(`${candidate.source} is no bot token and is not used: ${read.problem}`);
      continue;
    }
    if (first === null) {
      first = { token: candidate.text, botId: read.botId, source: candidate.source };
    } else if (read.botId !== first.botId) {
      errors.push({
        where: candidate.source,
        message:
          `two different bots: ${first.source} is bot ${first.botId}, ` +
          `${candidate.source} is bot ${read.botId}; leave only one of them set`,
      });
    } else if (candidate.text !== first.token) {
      warnings.push(
        `${candidate.source} holds another secret for bot ${first.botId} than ${first.source}, which is used; ` +
          'one of the two is probably revoked',
      );
    }
  }
  return { found: first, errors, warnings };
}

function malformed(source: string, problem: string): ConfigError {
  return { where: source, message: `${source} is no bot token: ${problem}. A token looks like ${SHAPE}.` };
}

/** Checks the shape of a token: its bot id, or what is wrong, said without showing any of it. */
export function readToken(text: string): { ok: true; botId: number } | { ok: false; problem: string } {
  const match = /^([1-9]\d{0,15}):([A-Za-z0-9_-]+)$/.exec(text);
  if (match && match[2]!.length >= SHORTEST_SECRET && Number.isSafeInteger(Number(match[1]))) {
    return { ok: true, botId: Number(match[1]) };
  }
  return { ok: false, problem: wrongShape(text) };
}

function wrongShape(text: string): string {
  if (text.trim() === '') return 'it is blank';
  if (text.trim() !== text) return 'there is white space around it';
  if (/^["'`]|["'`]$/.test(text)) return 'there are quotes around it';
  if (/^(?:export\s+)?[A-Za-z_]\w*\s*=/.test(text))
    return 'it is a line NAME=value, of which only the value belongs here';
  if (/^https?:\/\//i.test(text)) return 'it is a URL';
  if (/^bot\d+:/i.test(text)) return 'it begins with "bot", which belongs to the URL, not to the token';
  if (/\s/.test(text)) return 'there is white space in it';
  if (
    !/\d/.test(text) ||
    /your|token|here|change|replace|example|placeholder|secret|x{4}|<|>|\$\{|\.\.\.|…/i.test(text)
  ) {
    if (!/^\d+:[A-Za-z0-9_-]{30,}$/.test(text)) return 'it is a placeholder';
  }
  const colon = text.indexOf(':');
  if (colon < 0) {
    return /^\d+$/.test(text) ? 'it is a bot id alone, without the secret' : 'there is no colon in it';
  }
  const id = text.slice(0, colon);
  const secret = text.slice(colon + 1);
  if (!/^\d+$/.test(id)) return 'what stands before the colon is not a bot id (digits)';
  if (id.startsWith('0') || !Number.isSafeInteger(Number(id)))
    return 'the number before the colon is not a bot id';
  if (secret === '') return 'there is nothing after the colon';
  if (secret.includes(':')) return 'there is more than one colon in it';
  if (!/^[A-Za-z0-9_-]+$/.test(secret)) {
    return 'the part after the colon holds characters other than letters, digits, - and _';
  }
  return `the part after the colon has ${secret.length} characters only`;
}

function readTokenFile(file: NonNullable<TokenPlaces['tokenFile']>): {
  text: string | null;
  error?: ConfigError;
  warning?: string;
} {
  const refuse = (problem: string) => ({
    text: null,
    error: { where: file.where, message: `${file.where}: the token file ${file.shown} ${problem}` },
  });
  const read = readTextFile(file.path);
  switch (read.kind) {
    case 'missing':
      return refuse(`is not there${file.shown.startsWith('~') ? ' (~ is not expanded here)' : ''}`);
    case 'irregular':
    case 'unreadable':
      return refuse(`cannot be used: ${read.problem}`);
    case 'text': {
      const text = read.text.split(/\r\n|\n|\r/, 1)[0]!.trim();
      if (text === '') return refuse(read.text.trim() === '' ? 'is empty' : 'has an empty first line');
      if ((read.mode & 0o077) === 0) return { text };
      const warning = `the token file ${file.shown} is open to other users (mode ${read.mode.toString(8).padStart(4, '0')}): chmod 600 ${file.shown}`;
      return { text, warning };
    }
  }
}
