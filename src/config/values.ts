/**
 * The kinds of values that options have: how each is typed, read and refused. A problem is a short clause without the text
 * itself (the caller shows that, masked) and without a full stop. Pure.
 */
import { isIP } from 'node:net';
import { suggest } from './messages.ts';

export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: string };

export function parsed<T>(value: T): Parsed<T> {
  return { ok: true, value };
}

export function unparsed(problem: string): { readonly ok: false; readonly problem: string } {
  return { ok: false, problem };
}

export interface ValueType<T> {
  /** In --help, between < and >. */
  readonly placeholder: string;
  /** Said in an error after "Accepted:". */
  readonly accepts: string;
  readonly parse: (text: string) => Parsed<T>;
  /** As it may be printed, where masking tokens and URL credentials is not enough. */
  readonly show?: (text: string) => string;
  /** Relative to the working folder, in a TOML file to the folder of that file. */
  readonly isPath?: true;
}

function type<T>(placeholder: string, accepts: string, parse: ValueType<T>['parse']): ValueType<T> {
  return { placeholder, accepts, parse };
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
/** Timers of Node fire at once beyond 2^31-1 ms; 24 days stay below it. */
const LONGEST_MS = 24 * 86_400_000;
const TIME_ACCEPTED = 'a time such as 500ms, 15s, 1m30s, 2h (a number alone is seconds)';

/** `1m30s` → 90000; a number alone is seconds, as with systemd. */
export function parseDuration(text: string): Parsed<number> {
  const trimmed = text.trim();
  if (trimmed === '') return unparsed('it is empty');
  if (/^-\s*[\d.]/.test(trimmed)) return unparsed('it is negative');
  if (!/^\d+(?:\.\d+)?$|^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/.test(trimmed)) {
    const unit = /^\d+(?:\.\d+)?\s*([a-zA-Z]+)$/.exec(trimmed)?.[1];
    return unparsed(unit && !Object.hasOwn(UNIT_MS, unit) ? `${unit} is no unit` : 'it is not a time');
  }
  const parts = [...trimmed.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)?/g)];
  const ms = Math.round(
    parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * UNIT_MS[unit ?? 's']!, 0),
  );
  if (ms === 0) return unparsed('it is zero');
  return ms > LONGEST_MS ? unparsed('it is longer than 24 days') : parsed(ms);
}

/** The shortest text that parses to the same: 90000 → `90s`, 120000 → `2m`. */
export function formatDuration(ms: number): string {
  const unit = (['d', 'h', 'm', 's'] as const).find((it) => ms >= UNIT_MS[it]! && ms % UNIT_MS[it]! === 0);
  return unit ? `${ms / UNIT_MS[unit]!}${unit}` : `${ms}ms`;
}

export const TIME = type('time', TIME_ACCEPTED, parseDuration);

export interface DurationRange {
  readonly minMs: number;
  readonly maxMs: number;
}

/** `1s,30s`. */
export const TIME_RANGE = type<DurationRange>(
  'min,max',
  `MIN,MAX such as 1s,30s, each ${TIME_ACCEPTED}`,
  (text) => {
    const [minText = '', maxText, ...more] = text.split(',');
    if (maxText === undefined || more.length > 0)
      return unparsed('it is not two times with a comma between them');
    const min = parseDuration(minText);
    if (!min.ok) return unparsed(`MIN is wrong: ${min.problem}`);
    const max = parseDuration(maxText);
    if (!max.ok) return unparsed(`MAX is wrong: ${max.problem}`);
    if (min.value > max.value) return unparsed('MIN is greater than MAX');
    return parsed({ minMs: min.value, maxMs: max.value });
  },
);

export interface Rate {
  readonly count: number;
  readonly periodMs: number;
}

/** `10/5m`. */
export const RATE = type<Rate>('n/period', `N/PERIOD such as 10/5m, PERIOD ${TIME_ACCEPTED}`, (text) => {
  const [, count, periodText] = /^([^/]*)\/([^/]*)$/.exec(text) ?? [];
  if (count === undefined || periodText === undefined)
    return unparsed('it is not a number, a slash and a time');
  if (!/^\s*\d{1,6}\s*$/.test(count)) return unparsed('N is not a whole number up to 999999');
  if (Number(count) === 0) return unparsed('N is zero (for no restart at all: --restart never)');
  const period = parseDuration(periodText);
  if (!period.ok) return unparsed(`PERIOD is wrong: ${period.problem}`);
  return parsed({ count: Number(count), periodMs: period.value });
});

const UNIT_BYTES: Readonly<Record<string, number>> = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 };

/** `10MB`; a unit is a power of 1024, as with docker and logrotate. A smaller log would be rotated all the time. */
export const SIZE = type(
  'size',
  'a size such as 512K, 10MB, 1G (a number alone is bytes), at least 4K',
  (text) => {
    const match = /^(\d+(?:\.\d+)?)\s*(?:([kmg])(?:i?b)?|b)?$/i.exec(text.trim());
    if (!match) return unparsed('it is not a size');
    const bytes = Math.round(Number(match[1]) * UNIT_BYTES[(match[2] ?? '').toLowerCase()]!);
    if (bytes < UNIT_BYTES.k! * 4) return unparsed('it is smaller than 4K');
    return Number.isSafeInteger(bytes) ? parsed(bytes) : unparsed('it is too big');
  },
);

function wholeNumber(min: number, max: number, accepts: string, outside: string): ValueType<number> {
  return type('n', accepts, (text) => {
    if (!/^\s*\d+\s*$/.test(text)) return unparsed('it is not a number');
    return Number(text) >= min && Number(text) <= max ? parsed(Number(text)) : unparsed(outside);
  });
}

export const COUNT = wholeNumber(0, 999, 'a number from 0 to 999', 'it is more than 999');
export const PORT = wholeNumber(1, 65_535, 'a port from 1 to 65535', 'there is no such port');

export function choice<const T extends string>(...choices: readonly T[]): ValueType<T> {
  const accepts = `${choices.slice(0, -1).join(', ')} or ${choices.at(-1)}`;
  return type(choices.join('|'), accepts, (text) => {
    const found = choices.find((candidate) => candidate === text.trim());
    if (found !== undefined) return parsed(found);
    const close = suggest(text.trim(), choices);
    return unparsed(`it is none of the choices${close === null ? '' : `; did you mean ${close}?`}`);
  });
}

export const YES_NO = type('yes|no', '1, true, yes, on or 0, false, no, off', (text) => {
  const word = text.trim().toLowerCase();
  if (['1', 'true', 'yes', 'on'].includes(word)) return parsed(true);
  if (['0', 'false', 'no', 'off', ''].includes(word)) return parsed(false);
  return unparsed('it is neither yes nor no');
});

export function path(what: string): ValueType<string> {
  const it = type('path', `the path of ${what}`, (text) => {
    if (text.trim() === '') return unparsed('it is empty');
    return text.includes('\0') ? unparsed('it holds a NUL') : parsed(text);
  });
  return { ...it, isPath: true };
}

export const VARIABLE_NAME = type(
  'name',
  'the name of a variable that holds the bot token, such as MY_BOT_TOKEN',
  (text) => {
    const name = text.trim();
    if (/^\d+:/.test(name)) return unparsed('it is a token, not the name of a variable that holds one');
    return /^[A-Za-z_]\w*$/.test(name) ? parsed(name) : unparsed('it is not the name of a variable');
  },
);

export const DEFAULT_API_ROOT = 'https://api.telegram.org';

/**
 * The root under which `/bot<token>/METHOD` lives, kept with its path: a local Bot API server may sit under one
 * (https://core.telegram.org/bots/api#using-a-local-bot-api-server).
 */
export const API_ROOT = type(
  'url',
  'an http or https URL without credentials and query, such as https://api.telegram.org',
  (text) => {
    const trimmed = text.trim();
    if (trimmed === '') return unparsed('it is empty');
    // `localhost:8081` parses as a URL whose scheme is "localhost:".
    if (/^(?!https?:)[\w.-]+(?::\d+)?(?:\/|$)/i.test(trimmed))
      return unparsed('the http:// or https:// is missing');
    if (!URL.canParse(trimmed)) return unparsed('it is not a URL');
    const url = new URL(trimmed);
    if (!isWeb(url)) return unparsed('it is neither http nor https');
    if (url.username !== '' || url.password !== '') return unparsed('it holds a user name or password');
    if (/\/bot\d+(?::|%3a)/i.test(url.pathname)) return unparsed('it holds a bot token');
    if (/[?#]/.test(trimmed)) return unparsed('it holds a query or a fragment');
    const folder = url.pathname.replace(/\/+$/, '');
    if (folder.endsWith('/bot')) return unparsed('it ends in /bot, which singlepoll adds itself');
    return parsed(`${url.origin}${folder}`);
  },
);

export function isWeb({ protocol }: URL): boolean {
  return protocol === 'http:' || protocol === 'https:';
}

export interface HttpAddress {
  /** An IP address, without brackets. */
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
}

/** Where `--http` listens. A port alone means loopback: being seen from outside has to be asked for. */
export const HTTP_ADDRESS = type<HttpAddress>(
  'addr',
  'a port, or IP:PORT, such as 8080, 127.0.0.1:8080, 0.0.0.0:8080 (every network of this machine) or [::1]:8080',
  (text) => {
    const [, given = '', digits] = /^(?:(.*):)?(\d+)$/.exec(text.trim()) ?? [];
    if (digits === undefined) return unparsed('it does not end in a port');
    const port = Number(digits);
    if (port > 65_535) return unparsed('there is no such port');
    if (given === '' || given.toLowerCase() === 'localhost') return parsed({ host: '127.0.0.1', port });
    const host = given.replace(/^\[(.*)\]$/, '$1');
    // Brackets belong around an IPv6 address, and around nothing else.
    if (isIP(host) === (host === given ? 4 : 6)) return parsed({ host, port });
    return unparsed('in front of the port stands no IP address (IPv6 in brackets)');
  },
);

/** Only processes of this machine reach it. */
export function isLoopback({ host }: HttpAddress): boolean {
  return host.startsWith('127.') || host === '::1' || /^::ffff:127\./i.test(host);
}

/** `127.0.0.1:8080`, `[::1]:8080`. */
export function showHttpAddress({ host, port }: HttpAddress): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Programs that have nothing in common but being programs: a pattern that matches them all matches everything. */
const UNRELATED = ['node', 'python3.12', '/usr/sbin/sshd', 'bash', 'x_y-Z9 '];

/** `--stray` decides what gets stopped, so a pattern that matches everything is refused. It is kept as text. */
export const STRAY_PATTERN = type(
  'pattern',
  'a regular expression that matches some programs only, such as old_bot\\.py',
  (text) => {
    if (text.trim() === '') return unparsed('it is empty and would match every process');
    if (text.includes('\0')) return unparsed('it holds a NUL');
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
);

export const TIME_OF_DAY = type<{ readonly hour: number; readonly minute: number }>(
  'hh:mm',
  'a time of day, such as 09:00',
  (text) => {
    const [, hour, minute] = /^(\d{1,2}):(\d{2})$/.exec(text.trim()) ?? [];
    if (Number(hour) < 24 && Number(minute) < 60)
      return parsed({ hour: Number(hour), minute: Number(minute) });
    return unparsed('there is no such time');
  },
);

export const TIME_ZONE = type('zone', 'the name of a time zone, such as Europe/Berlin or UTC', (text) => {
  try {
    return parsed(new Intl.DateTimeFormat('en-US', { timeZone: text.trim() }).resolvedOptions().timeZone);
  } catch {
    return unparsed('there is no such time zone');
  }
});
