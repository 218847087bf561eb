/**
 * The one owner of what a bot token looks like: checking it, finding the one that counts, and masking it in a text. Never puts
 * a token, or any part of it but the bot id, into a message. Pure.
 */

export const TOKEN_VARIABLES = ['TELEGRAM_BOT_TOKEN', 'BOT_TOKEN', 'TELEGRAM_TOKEN'] as const;

/** Real secrets have 35 characters; shorter than this nothing is a token. */
const SHORTEST_SECRET = 24;
const SHAPE = '123456:ABC-DEF…, the bot id, a colon and a secret of 35 letters, digits, - and _';
/** Wider than a token, also as in a URL: what might be one is masked, too. */
const TOKEN_LIKE = /(\d{3,20})(?::|%3a)[\w-]{16,}/gi;

/** What passes for a token in the output of others: so much of a secret behind an id of five digits or more. */
export const SECRET_MIN = 20;
/** The same in a path of the API, where `bot` stands before the id. */
export const BOT_SECRET_MIN = 8;
export const FOREIGN_TOKEN = /(\d{5,}):[A-Za-z0-9_-]{20,}/g;
/** A token as @BotFather gives them, rather than something that only might be one. */
export const WHOLE_TOKEN = /(?<!\d)(\d{5,16}):[A-Za-z0-9_-]{30,}/g;

/** The parts of one of our own tokens, whatever its lengths; null: it is none. */
export function partsOf(token: string): { readonly id: string; readonly secret: string } | null {
  const [, id, secret] = /^(\d+):([A-Za-z0-9_-]+)$/.exec(token) ?? [];
  return id === undefined || secret === undefined ? null : { id, secret };
}

/** True where the text holds something shaped like a bot token. */
export function holdsTokenShape(text: string): boolean {
  return text.search(TOKEN_LIKE) >= 0;
}

/** The text with tokens as `123456:…`. */
export function maskTokens(text: string): string {
  return text.replace(TOKEN_LIKE, '$1:…');
}

type TokenShape =
  | { readonly ok: true; readonly botId: number }
  | { readonly ok: false; readonly problem: string };

/** Checks the shape of a token: its bot id, or what is wrong, said without showing any of it. */
export function readToken(text: string): TokenShape {
  const [, id, secret = ''] = /^([1-9]\d{0,15}):([A-Za-z0-9_-]+)$/.exec(text) ?? [];
  if (secret.length >= SHORTEST_SECRET && Number.isSafeInteger(Number(id)))
    return { ok: true, botId: Number(id) };
  return { ok: false, problem: wrongShape(text) };
}

/** Of the first that matches; in each the text is shown to be something that people paste in place of a token. */
const WRONG_SHAPES: readonly (readonly [RegExp, string])[] = [
  [/^\s*$/, 'it is blank'],
  [/^\s|\s$/, 'there is white space around it'],
  [/^["'`]|["'`]$/, 'there are quotes around it'],
  [/^(?:export\s+)?[A-Za-z_]\w*\s*=/, 'it is a line NAME=value, of which only the value belongs here'],
  [/^https?:\/\//i, 'it is a URL'],
  [/^bot\d+:/i, 'it begins with "bot", which belongs to the URL, not to the token'],
  [/\s/, 'there is white space in it'],
  [/^\D*$/, 'it is a placeholder'],
  [
    /^(?!\d+:[\w-]{30,}$).*(?:your|token|here|change|replace|example|placeholder|secret|x{4}|[<>]|\$\{|\.\.\.|…)/i,
    'it is a placeholder',
  ],
  [/^\d+$/, 'it is a bot id alone, without the secret'],
  [/^[^:]*$/, 'there is no colon in it'],
  [/^(?![1-9]\d{0,15}:)/, 'what stands before the colon is not a bot id (digits)'],
  [/:$/, 'there is nothing after the colon'],
  [/:.*:/, 'there is more than one colon in it'],
  [/:.*[^\w-]/, 'the part after the colon holds characters other than letters, digits, - and _'],
];

function wrongShape(text: string): string {
  const found = WRONG_SHAPES.find(([pattern]) => pattern.test(text));
  return found?.[1] ?? `the part after the colon has ${text.split(':')[1]?.length ?? 0} characters only`;
}

export interface TokenPlaces {
  /** --token-file: the file as it is shown and as it was read, and where the option was set. */
  readonly tokenFile: {
    readonly shown: string;
    readonly where: string;
    readonly file:
      | { readonly kind: 'text'; readonly text: string; readonly mode: number }
      | { readonly kind: 'missing' }
      | { readonly kind: 'irregular' | 'unreadable'; readonly problem: string };
  } | null;
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
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
  /** Names of the variables, of either place, that are set to a token or to what should be one. */
  readonly variables: readonly string[];
}

interface Candidate {
  readonly text: string;
  readonly source: string;
}

/**
 * Looks at the token file, at the variable that was named, then at the usual ones; each variable in the environment first, then
 * in the env file. The first place counts, and yet all are read: a worker may read another variable and poll another bot.
 */
export function findToken({ tokenFile, tokenEnv, environment, envFile }: TokenPlaces): TokenSearch {
  const errors: string[] = [];
  const warnings: string[] = [];
  const variables = new Set<string>();
  const candidates: Candidate[] = [];

  if (tokenFile) {
    const { text, problem, warning } = readTokenFile(tokenFile);
    if (problem !== undefined)
      errors.push(`${tokenFile.where}: the token file ${tokenFile.shown} ${problem}`);
    if (warning !== undefined) warnings.push(warning);
    if (text !== undefined) candidates.push({ text, source: `the file ${tokenFile.shown}` });
  }
  const usual = TOKEN_VARIABLES.filter((name) => name !== tokenEnv?.name);
  for (const names of tokenEnv ? [[tokenEnv.name], usual] : [usual]) {
    for (const [vars, place] of [
      [environment, 'the environment'],
      [envFile?.vars ?? {}, envFile?.shown ?? ''],
    ] as const) {
      for (const name of names) {
        const text = vars[name];
        if (text === undefined || text === '') continue;
        const source = `${name} in ${place}`;
        // The same variable in both places is an override, not a contradiction: the environment wins, as everywhere.
        if (variables.has(name)) warnings.push(...overridden(environment[name]!, text, source));
        else candidates.push({ text, source });
        variables.add(name);
      }
    }
  }
  if (tokenEnv && !variables.has(tokenEnv.name)) {
    const also = envFile ? ` nor in ${envFile.shown}` : '';
    errors.push(`${tokenEnv.where}: the variable ${tokenEnv.name} is not set in the environment${also}`);
  }
  const found = judge(candidates, errors, warnings);
  return { found: errors.length > 0 ? null : found, errors, warnings, variables: [...variables] };
}

/** An override by another bot's token is lawful, but worth a word. */
function overridden(used: string, ignored: string, source: string): string[] {
  const [mine, other] = [readToken(used), readToken(ignored)];
  if (!mine.ok || !other.ok || mine.botId === other.botId) return [];
  return [`${source} is bot ${other.botId}; the environment wins with bot ${mine.botId}`];
}

function judge(candidates: readonly Candidate[], errors: string[], warnings: string[]): FoundToken | null {
  let first: FoundToken | null = null;
  for (const [index, { text, source }] of candidates.entries()) {
    const read = readToken(text);
    if (!read.ok) {
      // What is taken must be right; what merely lies about in a weaker place must not stop the bot.
      if (index === 0)
        errors.push(`${source} is no bot token: ${read.problem}. A token looks like ${SHAPE}.`);
      else warnings.push(`${source} is no bot token and is not used: ${read.problem}`);
    } else if (first === null) {
      first = { token: text, botId: read.botId, source };
    } else if (read.botId !== first.botId) {
      errors.push(
        `two different bots: ${first.source} is bot ${first.botId}, ${source} is bot ${read.botId}; leave only one of them set`,
      );
    } else if (text !== first.token) {
      warnings.push(
        `${source} holds another secret for bot ${first.botId} than ${first.source}, which is used; ` +
          'one of the two is probably revoked',
      );
    }
  }
  return first;
}

function readTokenFile({ file, shown }: NonNullable<TokenPlaces['tokenFile']>): {
  text?: string;
  problem?: string;
  warning?: string;
} {
  if (file.kind === 'missing')
    return { problem: `is not there${shown.startsWith('~') ? ' (~ is not expanded here)' : ''}` };
  if (file.kind !== 'text') return { problem: `cannot be used: ${file.problem}` };
  const text = file.text.split(/\r\n|\n|\r/, 1)[0]!.trim();
  if (text === '') return { problem: file.text.trim() === '' ? 'is empty' : 'has an empty first line' };
  if ((file.mode & 0o077) === 0) return { text };
  const mode = file.mode.toString(8).padStart(4, '0');
  return {
    text,
    warning: `the token file ${shown} is open to other users (mode ${mode}): chmod 600 ${shown}`,
  };
}
