/**
 * The kinds of values that options have: how each is typed, parsed and refused. A problem is a short clause without a full stop
 * and without the value itself, which the caller shows masked. Pure.
 */
import { didYouMean } from './messages.ts';

export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: string };

export const parsed = <T>(value: T): Parsed<T> => ({ ok: true, value });
export const unparsed = (problem: string) => ({ ok: false, problem }) as const;

export interface ValueType<T, Unit extends string = ''> {
  /** The text between < and > in --help. */
  readonly placeholder: string;
  /** The text after "Accepted:" in an error. */
  readonly accepts: string;
  /** Gets the trimmed text. */
  readonly parse: (text: string) => Parsed<T>;
  /** The suffix of its field's name in Config. */
  readonly unit: Unit;
  /** The printable value, if masking tokens and URL credentials is not enough. */
  readonly show?: (text: string) => string;
  /** A path, relative to the working folder, or in a TOML file to that file's folder. */
  readonly isPath?: true;
}

function type<T>(placeholder: string, accepts: string, parse: ValueType<T>['parse']): ValueType<T> {
  return { placeholder, accepts, unit: '', parse: (text) => parse(text.trim()) };
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
/** Beyond 2^31-1 ms Node's timers fire at once; 24 days are below that. */
const LONGEST_MS = 24 * 86_400_000;
const TIME_ACCEPTED = 'a time such as 500ms, 15s, 1m30s, 2h (a number alone is seconds)';

/** `1m30s` → 90000; a bare number is seconds, as with systemd. */
export function parseDuration(text: string, longestMs = LONGEST_MS): Parsed<number> {
  const trimmed = text.trim();
  if (trimmed === '') return unparsed('it is empty');
  if (trimmed.startsWith('-')) return unparsed('it is negative');
  if (!/^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$|^\d+(?:\.\d+)?$/.test(trimmed))
    return unparsed('it is not a time');
  const parts = [...trimmed.matchAll(/([\d.]+)(ms|s|m|h|d)?/g)];
  const ms = Math.round(
    parts.reduce((sum, [, amount, unit = 's']) => sum + Number(amount) * UNIT_MS[unit]!, 0),
  );
  if (ms === 0) return unparsed('it is zero');
  return ms > longestMs ? unparsed(`it is longer than ${formatDuration(longestMs)}`) : parsed(ms);
}

/** The shortest text for a duration: 90000 → `90s`, 120000 → `2m`. */
export function formatDuration(ms: number): string {
  const unit = (['d', 'h', 'm', 's'] as const).find((it) => ms >= UNIT_MS[it]! && ms % UNIT_MS[it]! === 0);
  return unit ? `${ms / UNIT_MS[unit]!}${unit}` : `${ms}ms`;
}

export const TIME: ValueType<number, 'Ms'> = { ...type('time', TIME_ACCEPTED, parseDuration), unit: 'Ms' };

/** Two values with a separator; `names` is their form in messages. */
function pair<A, B, T>(
  names: string,
  separator: string,
  [first, second]: readonly [Pick<ValueType<A>, 'parse'>, Pick<ValueType<B>, 'parse'>],
  join: (a: A, b: B) => Parsed<T>,
): ValueType<T> {
  const accepts = `${names.toUpperCase()}, such as ${separator === ',' ? '1s,30s' : '10/5m'}; ${TIME_ACCEPTED}`;
  const [nameA, nameB] = names.toUpperCase().split(separator);
  return type(names, accepts, (text) => {
    const [textA = '', textB, ...more] = text.split(separator);
    if (textB === undefined || more.length > 0) return unparsed(`it is not ${names.toUpperCase()}`);
    const [a, b] = [first.parse(textA), second.parse(textB)];
    if (!a.ok) return unparsed(`${nameA} is wrong: ${a.problem}`);
    return b.ok ? join(a.value, b.value) : unparsed(`${nameB} is wrong: ${b.problem}`);
  });
}

/** `1s,30s`. */
export const TIME_RANGE = pair('min,max', ',', [TIME, TIME], (minMs, maxMs) =>
  minMs > maxMs ? unparsed('MIN is greater than MAX') : parsed({ minMs, maxMs }),
);

function wholeNumber(min: number, max: number, accepts: string, outside: string): ValueType<number> {
  return type('n', accepts, (text) => {
    if (!/^\d+$/.test(text)) return unparsed('it is not a number');
    return Number(text) >= min && Number(text) <= max ? parsed(Number(text)) : unparsed(outside);
  });
}

export const COUNT = wholeNumber(0, 999, 'a number from 0 to 999', 'it is more than 999');
export const PORT = wholeNumber(1, 65_535, 'a port from 1 to 65535', 'there is no such port');
const RESTARTS = wholeNumber(1, 999_999, '', 'not from 1 to 999999 (for no restart at all: --restart never)');

/** `10/5m`. */
export const RATE = pair('n/period', '/', [RESTARTS, TIME], (count, periodMs) => parsed({ count, periodMs }));

const UNIT_BYTES: Readonly<Record<string, number>> = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 };

/** `10MB`; units are powers of 1024, as with docker and logrotate. Smaller logs would be rotated all the time. */
export const SIZE = type(
  'size',
  'a size such as 512K, 10MB, 1G (a number alone is bytes), at least 4K',
  (text) => {
    const [, amount, unit = ''] = /^(\d{1,15}(?:\.\d+)?)\s*(?:([kmg])(?:i?b)?|b)?$/i.exec(text) ?? [];
    if (amount === undefined) return unparsed('it is not a size');
    const bytes = Math.round(Number(amount) * UNIT_BYTES[unit.toLowerCase()]!);
    return bytes < UNIT_BYTES.k! * 4 ? unparsed('it is smaller than 4K') : parsed(bytes);
  },
);

export function choice<const T extends string>(...choices: readonly T[]): ValueType<T> {
  const accepts = `${choices.slice(0, -1).join(', ')} or ${choices.at(-1)}`;
  return type(choices.join('|'), accepts, (text) => {
    const found = choices.find((candidate) => candidate === text);
    return found === undefined
      ? unparsed(`it is none of the choices${didYouMean(text, choices)}`)
      : parsed(found);
  });
}

export const YES_NO = type('yes|no', '1, true, yes, on or 0, false, no, off', (text) => {
  const word = text.toLowerCase();
  if (['1', 'true', 'yes', 'on'].includes(word)) return parsed(true);
  if (['0', 'false', 'no', 'off', ''].includes(word)) return parsed(false);
  return unparsed('it is neither yes nor no');
});

/** White space at the ends belongs to a path. */
export function path(what: string): ValueType<string> {
  return {
    placeholder: 'path',
    unit: '',
    accepts: `the path of ${what}`,
    parse: (text) =>
      text.trim() === '' || text.includes('\0') ? unparsed('it is empty, or holds a NUL') : parsed(text),
    isPath: true,
  };
}

export const VARIABLE_NAME = type(
  'name',
  'the name of a variable that holds the bot token, such as MY_BOT_TOKEN',
  (text) => (/^[A-Za-z_]\w*$/.test(text) ? parsed(text) : unparsed('it is not the name of a variable')),
);

export const DEFAULT_API_ROOT = 'https://api.telegram.org';

/** A URL whose scheme is http or https. */
export function parseWebUrl(text: string): Parsed<URL> {
  // `localhost:8081` parses as a URL whose scheme is "localhost:".
  if (/^(?!https?:)[\w.-]+(?::\d+)?(?:\/|$)/i.test(text))
    return unparsed('the http:// or https:// is missing');
  if (!URL.canParse(text)) return unparsed('it is not a URL');
  const url = new URL(text);
  return /^https?:$/.test(url.protocol) ? parsed(url) : unparsed('it is neither http nor https');
}

/**
 * The root below which `/bot<token>/METHOD` is, with its path, as a local Bot API server may have one
 * (https://core.telegram.org/bots/api#using-a-local-bot-api-server).
 */
export const API_ROOT = type(
  'url',
  'an http or https URL without credentials and query, such as https://api.telegram.org',
  (text) => {
    const web = parseWebUrl(text);
    if (!web.ok) return web;
    const { origin, username, password, pathname } = web.value;
    if (username !== '' || password !== '') return unparsed('it holds a user name or password');
    if (/\/bot\d+(?::|%3a)/i.test(pathname)) return unparsed('it holds a bot token');
    if (/[?#]/.test(text)) return unparsed('it holds a query or a fragment');
    const folder = pathname.replace(/\/+$/, '');
    if (folder.endsWith('/bot')) return unparsed('it ends in /bot, which singlepoll adds itself');
    return parsed(`${origin}${folder}`);
  },
);

/** `host` is an IP address, without brackets; port 0: any free one. */
export interface HttpAddress {
  readonly host: string;
  readonly port: number;
}

/** Where `--http` listens. A port alone means loopback, so that nothing is exposed unasked. */
export const HTTP_ADDRESS = type<HttpAddress>(
  'addr',
  'a port, or IP:PORT, such as 8080, 127.0.0.1:8080, 0.0.0.0:8080 (every network of this machine) or [::1]:8080',
  (text) => {
    const [, given = '', digits] = /^(?:(.*):)?(\d+)$/.exec(text) ?? [];
    if (digits === undefined) return unparsed('it does not end in a port');
    const port = Number(digits);
    if (port > 65_535) return unparsed('there is no such port');
    if (given === '' || given.toLowerCase() === 'localhost') return parsed({ host: '127.0.0.1', port });
    // Loaded only here, as that takes as long as all the rest of the configuration.
    const { isIP } = process.getBuiltinModule('node:net');
    const host = given.replace(/^\[(.*)\]$/, '$1');
    // IPv6 addresses, and no others, need brackets.
    if (isIP(host) === (host === given ? 4 : 6)) return parsed({ host, port });
    return unparsed('in front of the port stands no IP address (IPv6 in brackets)');
  },
);

/** Only processes of this machine can reach it. */
export function isLoopback({ host }: HttpAddress): boolean {
  return host.startsWith('127.') || host === '::1' || /^::ffff:127\./i.test(host);
}

/** `127.0.0.1:8080`, `[::1]:8080`. */
export function showHttpAddress({ host, port }: HttpAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Unrelated programs: a pattern that matches all of them matches everything. */
const UNRELATED = ['node', 'python3.12', '/usr/sbin/sshd', 'bash', 'x_y-Z9 '];

/** `--stray` decides which processes are stopped, so a pattern that matches everything is refused. It is kept as text. */
export const STRAY_PATTERN: ValueType<string> = {
  placeholder: 'pattern',
  unit: '',
  accepts: 'a regular expression that matches some programs only, such as old_bot\\.py',
  parse(text) {
    if (text.trim() === '') return unparsed('it is empty and would match every process');
    try {
      const pattern = new RegExp(text);
      if (pattern.test('')) return unparsed('it matches the empty text, so every process');
      if (UNRELATED.every((program) => pattern.test(program))) return unparsed('it matches every program');
      return parsed(text);
    } catch (error) {
      // `Invalid regular expression: /a(/: Unterminated group`.
      return unparsed(`it is no regular expression: ${String(error).replace(/^.*: /s, '')}`);
    }
  },
};

/** `9:00` → `09:00`. */
export const TIME_OF_DAY = type('hh:mm', 'a time of day, such as 09:00', (text) =>
  /^([01]?\d|2[0-3]):[0-5]\d$/.test(text) ? parsed(text.padStart(5, '0')) : unparsed('there is no such time'),
);

export const TIME_ZONE = type('zone', 'the name of a time zone, such as Europe/Berlin or UTC', (text) => {
  try {
    return parsed(new Intl.DateTimeFormat('en-US', { timeZone: text }).resolvedOptions().timeZone);
  } catch {
    return unparsed('there is no such time zone');
  }
});
