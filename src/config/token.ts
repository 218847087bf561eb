/**
 * Knows what a bot token looks like: checks tokens, and masks them in texts. Never puts any part
 * of a token but the bot id into a message. Pure.
 */

export const TOKEN_VARIABLES = ['TELEGRAM_BOT_TOKEN', 'BOT_TOKEN', 'TELEGRAM_TOKEN'] as const;

/** Minimum length of a token's secret; real ones have 35 characters. */
const SHORTEST_SECRET = 24;
export const TOKEN_SHAPE = '123456:ABC-DEF…, the bot id, a colon and a secret of 35 letters, digits, - and _';
/** Wider than a token, and also as encoded in a URL, so that anything similar is masked, too. */
const TOKEN_LIKE = /(\d{3,20})(?::|%3a)[\w-]{16,}/gi;

/** In other programs' output, an id of five digits or more with this much of a secret counts as a token. */
export const SECRET_MIN = 20;
/** The same in a path of the API, where `bot` precedes the id. */
export const BOT_SECRET_MIN = 8;
const FOREIGN_TOKEN = /(\d{5,})(?::|%3a)[\w-]{20,}/gi;
/** A token in exactly @BotFather's form. */
export const WHOLE_TOKEN = /(?<!\d)(\d{5,16}):[A-Za-z0-9_-]{30,}/g;

/** The part behind the colon. */
export const secretOf = (token: string): string => token.slice(token.indexOf(':') + 1);

/** True if the text holds something shaped like a bot token. */
export function holdsTokenShape(text: string): boolean {
  return text.search(TOKEN_LIKE) >= 0;
}

/** The text with tokens as `123456:…`. */
export function maskTokens(text: string): string {
  return text.replace(TOKEN_LIKE, '$1:…');
}

/** Masks tokens in the words of other programs. It takes less for a token than `maskTokens`, so that a number and a name stay readable. */
export function maskForeign(text: string): string {
  return text.replace(FOREIGN_TOKEN, '$1:…');
}

/** Checks the shape of a token: returns its bot id, or what is wrong without showing any of it. */
export function readToken(text: string) {
  const [, id, secret = ''] = /^([1-9]\d{0,15}):([A-Za-z0-9_-]+)$/.exec(text) ?? [];
  if (secret.length >= SHORTEST_SECRET && Number.isSafeInteger(Number(id)))
    return { ok: true, botId: Number(id) } as const;
  const [, problem] = WRONG_SHAPES.find(([pattern]) => pattern.test(text)) ?? [];
  const short = `the part after the colon has ${text.split(':')[1]?.length ?? 0} characters only`;
  return { ok: false, problem: problem ?? short } as const;
}

/** The first match tells what was pasted instead of a token. */
const WRONG_SHAPES: readonly (readonly [RegExp, string])[] = [
  [/^\s*$/, 'it is blank'],
  [/^["'`]|["'`]$/, 'there are quotes around it'],
  [/^(?:export\s+)?[A-Za-z_]\w*\s*=/, 'it is a line NAME=value, of which only the value belongs here'],
  [/^https?:\/\//i, 'it is a URL'],
  [/^bot\d+:/i, 'it begins with "bot", which belongs to the URL, not to the token'],
  [/\s/, 'there is white space in or around it'],
  [
    /^\D*$|^(?!\d+:[\w-]{30,}$).*(?:your|token|here|change|example|placeholder|secret|x{4}|[<>]|\$\{|\.\.\.|\u2026)/i,
    'it is a placeholder',
  ],
  [/^\d+$/, 'it is a bot id alone, without the secret'],
  [/^[^:]*$/, 'there is no colon in it'],
  [/^(?![1-9]\d{0,15}:)/, 'what stands before the colon is not a bot id (digits)'],
  [/:.*[^\w-]/, 'the part after the colon holds characters other than letters, digits, - and _'],
];
