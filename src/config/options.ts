/**
 * The one table of the options of `start` and `reset`. Help text, environment twins, TOML keys and validation derive from
 * it: a new option is one row here and one field in config.ts. Names come from the key: `stopTimeout` is `--stop-timeout`,
 * `SINGLEPOLL_STOP_TIMEOUT` and `stopTimeout` in singlepoll.toml.
 */
import {
  ALERT_FORMAT_ACCEPTED,
  ALERT_URL_ACCEPTED,
  parseAlertFormat,
  parseAlertUrl,
  parseTimeOfDay,
  parseZone,
  showAlertUrl,
} from './alert-option.ts';
import { DEFAULT_API_ROOT, parseApiRoot } from './api-root.ts';
import {
  DURATION_ACCEPTED,
  type DurationRange,
  parseDuration,
  parseDurationRange,
  parseRate,
  type Rate,
} from './duration.ts';
import { HTTP_ACCEPTED, type HttpAddress, parseHttpAddress } from './http-address.ts';
import { parseLease, showLease } from './lease-option.ts';
import { type Parsed, parsed, unparsed } from './parsed.ts';
import { parseCount, parseSize, SIZE_ACCEPTED } from './size.ts';
import { parseStrayPattern } from './stray-pattern.ts';
import { suggest } from './suggest.ts';

/** Where a value may come from, strongest first. */
export type Layer = 'flag' | 'environment' | 'envFile' | 'toml';

/** What an option is about, and so which commands know it: see COMMAND_SCOPES in command-scope.ts. */
export type OptionScope = 'bot' | 'strays' | 'lease' | 'run';

interface Row {
  readonly short?: string;
  /** Said in --help, without the default. */
  readonly description: string;
  /** Said in an error after "accepted:". */
  readonly accepts: string;
  readonly scope: OptionScope;
  /** Layers that cannot hold it, because it decides where they are. */
  readonly notIn?: readonly Layer[];
  /** Further names of its environment variable, weaker than the twin. */
  readonly alsoEnv?: readonly string[];
  /** A path: relative to the working folder, in a TOML file to the folder of that file. */
  readonly path?: true;
}

export interface FlagRow extends Row {
  readonly kind: 'flag';
  readonly initial: false;
}

export interface ValueRow<T> extends Row {
  readonly kind: 'value';
  readonly placeholder: string;
  readonly parse: (text: string) => Parsed<T>;
  /** As it may be printed, where that is not what every value is masked by. */
  readonly show?: (text: string) => string;
  readonly initial: T;
  /** The default as it is written in --help. */
  readonly defaultText: string;
}

export interface ListRow<T> extends Row {
  readonly kind: 'list';
  readonly placeholder: string;
  /** Parses one element. */
  readonly parse: (text: string) => Parsed<T>;
  readonly initial: readonly T[];
  readonly defaultText: string;
}

function flag(row: Omit<FlagRow, 'kind' | 'initial' | 'accepts'>): FlagRow {
  return { ...row, kind: 'flag', initial: false, accepts: '1, true, yes, on or 0, false, no, off' };
}

function value<T>(row: Omit<ValueRow<T>, 'kind'>): ValueRow<T> {
  return { ...row, kind: 'value' };
}

function list<T>(row: Omit<ListRow<T>, 'kind'>): ListRow<T> {
  return { ...row, kind: 'list' };
}

function choice<T extends string>(
  choices: readonly T[],
  initial: T,
  row: Omit<ValueRow<T>, 'kind' | 'parse' | 'initial' | 'defaultText' | 'accepts' | 'placeholder'>,
): ValueRow<T> {
  return value<T>({
    ...row,
    placeholder: choices.join('|'),
    accepts: `${choices.slice(0, -1).join(', ')} or ${choices.at(-1)}`,
    initial,
    defaultText: initial,
    parse: (text) => parseChoice(choices, text),
  });
}

function parseChoice<T extends string>(choices: readonly T[], text: string): Parsed<T> {
  const found = choices.find((candidate) => candidate === text.trim());
  if (found !== undefined) return parsed(found);
  const close = suggest(text.trim(), choices);
  return unparsed(`it is none of the choices${close === null ? '' : `; did you mean ${close}?`}`);
}

function parsePath(text: string): Parsed<string | null> {
  if (text.trim() === '') return unparsed('it is empty');
  if (text.includes('\0')) return unparsed('it holds a NUL');
  return parsed(text);
}

function parsePort(text: string): Parsed<number | null> {
  const port = Number(text);
  if (!/^\s*\d+\s*$/.test(text)) return unparsed('it is not a number');
  return port >= 1 && port <= 65_535 ? parsed(port) : unparsed('there is no such port');
}

function parseVariableName(text: string): Parsed<string | null> {
  if (/^\d+:/.test(text.trim())) return unparsed('it is a token, not the name of a variable that holds one');
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(text.trim())) return unparsed('it is not the name of a variable');
  return parsed(text.trim());
}

export const OPTIONS = {
  config: value<string | null>({
    short: 'c',
    placeholder: 'path',
    description: 'TOML file; keys are the long options in camelCase, plus command (array)',
    accepts: 'the path of a TOML file',
    initial: null,
    defaultText: 'singlepoll.toml in the working folder if there',
    parse: parsePath,
    scope: 'bot',
    notIn: ['envFile', 'toml'],
    path: true,
  }),
  envFile: value<string | null>({
    placeholder: 'path',
    description: 'variables for singlepoll and the worker; the environment wins',
    accepts: 'the path of a file with NAME=value lines',
    initial: null,
    defaultText: '.env in the working folder if there',
    parse: parsePath,
    scope: 'bot',
    notIn: ['envFile'],
    path: true,
  }),
  tokenFile: value<string | null>({
    placeholder: 'path',
    description: 'file whose first line is the bot token',
    accepts: 'the path of a file whose first line is the bot token',
    initial: null,
    defaultText: 'TELEGRAM_BOT_TOKEN, BOT_TOKEN or TELEGRAM_TOKEN, in the environment, then in the env file',
    parse: parsePath,
    scope: 'bot',
    path: true,
  }),
  tokenEnv: value<string | null>({
    placeholder: 'name',
    description: 'variable that holds the bot token',
    accepts: 'the name of a variable that holds the bot token, such as MY_BOT_TOKEN',
    initial: null,
    defaultText: 'see --token-file',
    parse: parseVariableName,
    scope: 'bot',
  }),
  apiRoot: value<string>({
    placeholder: 'url',
    description: 'Bot API root; TELEGRAM_API_ROOT is also read',
    accepts: 'an http or https URL without credentials and query, such as https://api.telegram.org',
    initial: DEFAULT_API_ROOT,
    defaultText: DEFAULT_API_ROOT,
    parse: parseApiRoot,
    scope: 'bot',
    alsoEnv: ['TELEGRAM_API_ROOT'],
  }),
  stray: list<string>({
    placeholder: 'pattern',
    description: 'regular expression for legacy bot programs to stop; may be given many times',
    accepts: 'a regular expression that matches some programs only, such as old_bot\\.py',
    initial: [],
    defaultText: 'none',
    parse: parseStrayPattern,
    scope: 'strays',
  }),
  strayScope: choice(['project', 'any'], 'project', {
    description:
      'where the script or the folder of a process must lie for a pattern alone to count: in the project, or anywhere',
    scope: 'strays',
  }),
  dryRun: flag({
    description:
      'print every step, what it would ask, and whom it would stop as own or declared; change and ask nothing',
    scope: 'run',
  }),
  dropPending: flag({ description: 'drop the updates that wait at Telegram', scope: 'run' }),
  keepWebhook: flag({ description: 'refuse to start (78) instead of clearing a webhook', scope: 'run' }),
  takeover: flag({ description: 'ask the holder to hand over, then take its place', scope: 'run' }),
  wait: flag({
    description:
      'stand by until the holder leaves; with --lease that is so for a holder on another machine, unless --no-wait is given',
    scope: 'run',
  }),
  noGateway: flag({
    description: 'give the worker the API root itself: its polls are then neither seen nor kept apart',
    scope: 'run',
  }),
  gatewayPort: value<number | null>({
    placeholder: 'n',
    description: 'port of the gateway on 127.0.0.1',
    accepts: 'a port from 1 to 65535',
    initial: null,
    defaultText: 'any free port, a fresh one for each worker',
    parse: parsePort,
    scope: 'run',
  }),
  sealed: flag({
    description: 'give the worker a token that is only good at the gateway',
    scope: 'run',
  }),
  onRival: value<'yield' | 'insist' | null>({
    placeholder: 'yield|insist',
    description: 'what to do about a poller elsewhere that does not go away',
    accepts: 'yield or insist',
    initial: null,
    defaultText: 'a newcomer yields, an incumbent insists',
    parse: (text) => parseChoice<'yield' | 'insist'>(['yield', 'insist'], text),
    scope: 'run',
  }),
  rivalAfter: value<number>({
    placeholder: 'time',
    description: 'how long a poller elsewhere may overlap with ours before it counts as a rival',
    accepts: DURATION_ACCEPTED,
    initial: 90_000,
    defaultText: '90s',
    parse: parseDuration,
    scope: 'run',
  }),
  deafAfter: value<number>({
    placeholder: 'time',
    description: 'a worker that has not completed a poll for this long is replaced',
    accepts: DURATION_ACCEPTED,
    initial: 180_000,
    defaultText: '3m',
    parse: parseDuration,
    scope: 'run',
  }),
  requireGateway: flag({
    description: 'count a worker as deaf also where it has never polled through the gateway',
    scope: 'run',
  }),
  allowSetWebhook: flag({
    description: 'let the worker set a webhook, which ends its polling',
    scope: 'run',
  }),
  lease: value<string | null>({
    placeholder: 'url',
    description:
      'engine that several machines share, so that one of them polls and the others stand by: redis://, rediss://, valkey://, postgres://, etcd://, k8s:; env:NAME reads it from a variable',
    accepts:
      'env:NAME, or the URL of an engine, such as redis://[user:password@]host[:port][/db], postgres://user:password@host/database, etcd://host:2379, k8s: or k8s://namespace/name',
    initial: null,
    defaultText: 'none: one machine',
    parse: parseLease,
    show: showLease,
    scope: 'lease',
  }),
  leaseProfile: choice(['fast', 'default', 'frugal'], 'default', {
    description: 'times of the lease, all scaled together: another machine takes over after 6s, 15s or 60s',
    scope: 'run',
  }),
  leaseTtl: value<number | null>({
    placeholder: 'time',
    description:
      'when another machine takes over from one that is not heard of; all other times in proportion',
    accepts: DURATION_ACCEPTED,
    initial: null,
    defaultText: 'of the profile, 15s',
    parse: parseDuration,
    scope: 'run',
  }),
  restart: choice(['always', 'on-failure', 'never'], 'always', {
    description: 'when the worker is started again after it exits',
    scope: 'run',
  }),
  backoff: value<DurationRange>({
    placeholder: 'min,max',
    description:
      'wait before a restart, doubling with jitter; the first exit within five minutes is answered at once, whatever the run was',
    accepts: `MIN,MAX such as 1s,30s, each ${DURATION_ACCEPTED}`,
    initial: { minMs: 1_000, maxMs: 30_000 },
    defaultText: '1s,30s',
    parse: parseDurationRange,
    scope: 'run',
  }),
  maxRestarts: value<Rate>({
    placeholder: 'n/period',
    description: "more than this is a crash loop: give up with the worker's code",
    accepts: `N/PERIOD such as 10/5m, PERIOD ${DURATION_ACCEPTED}`,
    initial: { count: 10, periodMs: 300_000 },
    defaultText: '10/5m',
    parse: parseRate,
    scope: 'run',
  }),
  stopTimeout: value<number>({
    placeholder: 'time',
    description: 'time between SIGTERM and SIGKILL, for the whole tree',
    accepts: DURATION_ACCEPTED,
    initial: 15_000,
    defaultText: '15s',
    parse: parseDuration,
    scope: 'run',
  }),
  heartbeat: value<number>({
    placeholder: 'time',
    description: 'interval of the [hb] line',
    accepts: DURATION_ACCEPTED,
    initial: 60_000,
    defaultText: '60s',
    parse: parseDuration,
    scope: 'run',
  }),
  detach: flag({
    short: 'd',
    description: 'return once the worker has polled successfully (or stands by), or say why not',
    scope: 'run',
  }),
  startTimeout: value<number>({
    placeholder: 'time',
    description: 'with --detach: a worker that has not polled for this long is stopped again',
    accepts: DURATION_ACCEPTED,
    initial: 90_000,
    defaultText: '90s',
    parse: parseDuration,
    scope: 'run',
  }),
  logFile: value<string | null>({
    placeholder: 'path',
    description: 'where everything that is printed is also written, with time and stream; rotated',
    accepts: 'the path of a file',
    initial: null,
    defaultText: 'of a detached run one in the state folder, else none',
    parse: parsePath,
    scope: 'run',
    path: true,
  }),
  logSize: value<number>({
    placeholder: 'size',
    description: 'the log file is rotated before it grows beyond this',
    accepts: SIZE_ACCEPTED,
    initial: 10 * 1024 * 1024,
    defaultText: '10MB',
    parse: parseSize,
    scope: 'run',
  }),
  logKeep: value<number>({
    placeholder: 'n',
    description: 'rotated log files that are kept, PATH.1 (the newest) to PATH.N',
    accepts: 'a number from 0 to 999',
    initial: 5,
    defaultText: '5',
    parse: parseCount,
    scope: 'run',
  }),
  http: value<HttpAddress | null>({
    placeholder: 'addr',
    description:
      'health (/healthz), readiness (/readyz), Prometheus metrics (/metrics) and a status page at this port or IP:PORT; a port alone is on 127.0.0.1',
    accepts: HTTP_ACCEPTED,
    initial: null,
    defaultText: 'off',
    parse: parseHttpAddress,
    scope: 'run',
  }),
  readyInStandby: choice(['yes', 'no'], 'yes', {
    description: 'what /readyz says while another copy polls and this one stands by: yes is 200, no is 503',
    scope: 'run',
  }),
  noAlerts: flag({
    description: 'send no alerts and no digest to the admin chat (ASSISTANT_ADMIN_TELEGRAM_ID)',
    scope: 'run',
  }),
  alertUrl: value<string | null>({
    placeholder: 'url',
    description: 'where alerts are posted, beside the admin chat; env:NAME reads it from a variable',
    accepts: ALERT_URL_ACCEPTED,
    initial: null,
    defaultText: 'none',
    parse: parseAlertUrl,
    show: showAlertUrl,
    scope: 'run',
  }),
  alertFormat: value<string | null>({
    placeholder: 'format',
    description: 'body for --alert-url: json, slack, discord, ntfy, or the path of a template',
    accepts: ALERT_FORMAT_ACCEPTED,
    initial: null,
    defaultText: 'by the host of the URL, else json',
    parse: parseAlertFormat,
    scope: 'run',
  }),
  alertCooldown: value<number>({
    placeholder: 'time',
    description: 'alerts of one kind are at least this far apart; what comes between is counted in the next',
    accepts: DURATION_ACCEPTED,
    initial: 900_000,
    defaultText: '15m',
    parse: parseDuration,
    scope: 'run',
  }),
  digest: value<{ readonly hour: number; readonly minute: number } | null>({
    placeholder: 'hh:mm',
    description: 'send a digest of the day at this time, where alerts go',
    accepts: 'a time of day, such as 09:00',
    initial: null,
    defaultText: 'off',
    parse: parseTimeOfDay,
    scope: 'run',
  }),
  digestZone: value<string | null>({
    placeholder: 'zone',
    description: 'time zone of --digest',
    accepts: 'the name of a time zone, such as Europe/Berlin or UTC',
    initial: null,
    defaultText: 'that of the machine',
    parse: parseZone,
    scope: 'run',
  }),
  logFormat: choice(['text', 'json'], 'text', { description: "singlepoll's own lines", scope: 'run' }),
  sandbox: flag({
    description:
      'use a built-in Bot API stand-in (no token, no network) and, without a command, a sample bot',
    scope: 'run',
  }),
} as const;

export type OptionName = keyof typeof OPTIONS;

type ValueOf<R> = R extends FlagRow
  ? boolean
  : R extends ValueRow<infer T>
    ? T
    : R extends ListRow<infer T>
      ? readonly T[]
      : never;

/** The parsed value of every option. */
export type OptionValues = { readonly [K in OptionName]: ValueOf<(typeof OPTIONS)[K]> };

/** The row of an option, for code that walks over all of them. */
export type OptionRow = FlagRow | ValueRow<unknown> | ListRow<unknown>;

export const OPTION_NAMES = Object.keys(OPTIONS) as readonly OptionName[];

export function optionRow(name: OptionName): OptionRow {
  return OPTIONS[name] as OptionRow;
}

/** `stopTimeout` → `--stop-timeout`. */
export function longFlag(name: OptionName): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** `stopTimeout` → `SINGLEPOLL_STOP_TIMEOUT`. */
export function envTwin(name: OptionName): string {
  return `SINGLEPOLL_${longFlag(name).slice(2).replaceAll('-', '_').toUpperCase()}`;
}
