/**
 * The only table of options. Flags, help, environment twins, TOML keys, validation and the fields of Config derive from it, so
 * a new option is one row here. Names come from the key: `stopTimeout` is `--stop-timeout`,
 * `SINGLEPOLL_STOP_TIMEOUT`, `stopTimeout` in singlepoll.toml and, with its unit, `config.stopTimeoutMs`.
 */
import type { Command } from 'commander';
import { ALERT_PRESETS, ALERT_URL, LEASE_URL } from './targets.ts';
import {
  API_ROOT,
  COUNT,
  choice,
  DEFAULT_API_ROOT,
  HTTP_ADDRESS,
  PORT,
  path,
  RATE,
  SIZE,
  STRAY_PATTERN,
  TIME,
  TIME_OF_DAY,
  TIME_RANGE,
  TIME_ZONE,
  VARIABLE_NAME,
  type ValueType,
  YES_NO,
} from './values.ts';

/** The sources of values, strongest first. */
export type Layer = 'flag' | 'environment' | 'envFile' | 'toml';

/** The topic of an option, which decides which commands have it: see NEEDS. */
export type OptionScope = 'bot' | 'strays' | 'lease' | 'run';

export interface OptionRow<T = unknown, Unit extends string = string> extends ValueType<unknown, Unit> {
  readonly kind: 'flag' | 'value' | 'list';
  readonly initial: T;
  /** The default as --help shows it. */
  readonly defaultText: string;
  /** The text in --help, without the default; for a flag that is on by default, about its `--no-` form. */
  readonly help: string;
  readonly scope: OptionScope;
  /** Heading in --help; null: none, for the commonest options. */
  readonly group: string | null;
  readonly short?: string;
  /** Layers that cannot hold the option, because it decides where they are. */
  readonly notIn?: readonly Layer[];
  /** A further name of its environment variable, weaker than the twin. */
  readonly alsoEnv?: string;
}

type More = Partial<Pick<OptionRow, 'kind' | 'scope' | 'short' | 'notIn' | 'alsoEnv'>>;

function row<T, U extends string>(
  type: ValueType<unknown, U>,
  initial: T,
  defaultText: string,
  help: string,
  more: More = {},
): OptionRow<T, U> {
  return { ...type, kind: 'value', scope: 'run', group: null, initial, defaultText, help, ...more };
}

/** An option with a default, which is given as text. */
function value<T, U extends string>(type: ValueType<T, U>, initial: string, help: string, more?: More) {
  const answer = type.parse(initial);
  if (!answer.ok) throw new Error(`the default ${initial}: ${answer.problem}`);
  return row(type, answer.value, initial, help, more);
}

/** An option that is null if not given; `otherwise` says what happens then. */
function optional<T, U extends string>(type: ValueType<T, U>, otherwise: string, help: string, more?: More) {
  return row<T | null, U>(type, null, otherwise, help, more);
}

/** A flag that is on by default is typed as `--no-…`, and `help` describes that form. */
function flag(help: string, more?: More, initial = false) {
  return row(YES_NO, initial, 'off', help, { kind: 'flag', ...more });
}

/** Puts rows under a heading of --help. */
function under<T extends Readonly<Record<string, OptionRow>>>(group: string | null, rows: T): T {
  return Object.fromEntries(Object.entries(rows).map(([name, it]) => [name, { ...it, group }])) as T;
}

const BOT = { scope: 'bot' } as const;

export const OPTIONS = {
  ...under(null, {
    config: optional(
      path('a TOML file'),
      'singlepoll.toml in the working folder if there',
      'TOML file; keys are the long options in camelCase, plus command (array)',
      { scope: 'bot', short: 'c', notIn: ['envFile', 'toml'] },
    ),
    envFile: optional(
      path('a file with NAME=value lines'),
      '.env in the working folder if there',
      'variables for singlepoll and the worker; the environment wins',
      { scope: 'bot', notIn: ['envFile'] },
    ),
    stray: row<readonly string[], ''>(
      STRAY_PATTERN,
      [],
      'none',
      'regular expression for legacy bot programs to stop; may be given many times',
      { kind: 'list', scope: 'strays' },
    ),
    dryRun: flag('print every step, what it would ask, and whom it would stop; change and ask nothing'),
    takeover: flag(
      'ask the holder to hand over, then take its place; if no worker polls here, the holder goes on',
    ),
    wait: flag(
      'stand by until the holder, or another poller that may not be stopped, leaves; with --lease that is so for a holder on another machine, unless --no-wait is given',
    ),
    detach: flag('return once the worker has polled (or stands by), or say why not', { short: 'd' }),
    lease: optional(
      LEASE_URL,
      'none: one machine',
      'engine that several machines share, so that one of them polls and the others stand by: redis://, rediss://, valkey://, postgres://, etcd://, k8s:; env:NAME reads it from a variable',
      { scope: 'lease' },
    ),
    http: optional(
      HTTP_ADDRESS,
      'off',
      'health (/healthz), readiness (/readyz), Prometheus metrics (/metrics) and a status page at this port or IP:PORT; a port alone is on 127.0.0.1',
    ),
    sandbox: flag('use a built-in Bot API (no token, no network) and, without a command, a sample bot'),
  }),
  ...under('Token and Bot API:', {
    tokenFile: optional(
      path('a file whose first line is the bot token'),
      'TELEGRAM_BOT_TOKEN, BOT_TOKEN or TELEGRAM_TOKEN, in the environment, then in the env file',
      'file whose first line is the bot token',
      BOT,
    ),
    tokenEnv: optional(VARIABLE_NAME, 'see --token-file', 'variable that holds the bot token', BOT),
    apiRoot: value(API_ROOT, DEFAULT_API_ROOT, 'Bot API root; TELEGRAM_API_ROOT is also read', {
      scope: 'bot',
      alsoEnv: 'TELEGRAM_API_ROOT',
    }),
  }),
  ...under('Other pollers and webhooks:', {
    strayScope: value(
      choice('project', 'any'),
      'project',
      'where the script or the folder of a process must lie for a pattern alone to count: in the project, or anywhere',
      { scope: 'strays' },
    ),
    dropPending: flag('drop the updates that wait at Telegram'),
    keepWebhook: flag('refuse to start (78) instead of clearing a webhook'),
    allowSetWebhook: flag('let the worker set a webhook, which ends its polling'),
    onRival: optional(
      choice('yield', 'insist'),
      'a newcomer yields, an incumbent insists',
      'what to do about a poller elsewhere that does not go away',
    ),
    rivalAfter: value(
      TIME,
      '90s',
      'how long a poller elsewhere may overlap with ours before it counts as a rival',
    ),
  }),
  ...under('Gateway:', {
    gateway: flag(
      'give the worker the API root itself: its polls are then neither seen nor kept apart',
      {},
      true,
    ),
    gatewayPort: optional(PORT, 'any free port', 'port of the gateway on 127.0.0.1'),
    intercept: value(
      choice('auto', 'proxy', 'off'),
      'auto',
      "how the worker's calls to api.telegram.org come to the gateway without a change in the bot: hooks in Node, Python, Ruby, PHP, Bun and Java; with proxy also HTTPS_PROXY, for Go, Deno and the like; off: only where the bot reads TELEGRAM_API_ROOT",
    ),
    sealed: flag('give the worker a token that is only good at the gateway'),
    requireGateway: flag('count a worker as deaf also where it has never polled through the gateway'),
    deafAfter: value(TIME, '3m', 'a worker that has not completed a poll for this long is replaced'),
  }),
  ...under('Worker:', {
    restart: value(
      choice('always', 'on-failure', 'never'),
      'always',
      'when the worker is started again after it exits',
    ),
    backoff: value(
      TIME_RANGE,
      '1s,30s',
      'wait before a restart, doubling with jitter; the first exit within five minutes is answered at once, whatever the run was',
    ),
    maxRestarts: value(
      RATE,
      '10/5m',
      "more than this is a crash loop: give up with the worker's code, or 69 where that is 0",
    ),
    maxMemory: optional(
      SIZE,
      'no limit',
      'memory of the worker with all its processes; with more it is replaced, which is no crash, at most once a minute',
    ),
    stdin: flag(
      'give the worker our standard input (a terminal, in the foreground), which is empty otherwise',
    ),
    stopTimeout: value(TIME, '15s', 'time between SIGTERM and SIGKILL, for the whole tree'),
    startTimeout: value(
      TIME,
      '90s',
      'with --detach or --takeover: a worker that has not polled for this long is stopped again',
    ),
  }),
  ...under('Several machines:', {
    leaseProfile: value(
      choice('fast', 'default', 'frugal'),
      'default',
      'another machine takes over after 6s, 15s or 60s',
    ),
    leaseTtl: optional(
      TIME,
      'of the profile, 15s',
      'when another machine takes over from one that has not renewed the lease; all other times in proportion',
    ),
  }),
  ...under('Output and log:', {
    heartbeat: value(TIME, '60s', 'interval of the [hb] line'),
    logFile: optional(
      path('a file'),
      'of a detached run one in the state folder, else none',
      'where everything that is printed is also written, with time and stream; rotated',
    ),
    logSize: value(SIZE, '10MB', 'the log file is rotated before it grows beyond this'),
    logKeep: value(COUNT, '5', 'rotated log files that are kept, PATH.1 (the newest) to PATH.N'),
    logFormat: value(choice('text', 'json'), 'text', "singlepoll's own lines"),
  }),
  ...under('Health and alerts:', {
    readyInStandby: value(YES_NO, 'yes', 'what /readyz says in standby: yes is 200, no is 503'),
    alerts: flag('send no alerts and no digest to the admin chat (ASSISTANT_ADMIN_TELEGRAM_ID)', {}, true),
    alertUrl: optional(ALERT_URL, 'none', 'where alerts are posted, too; env:NAME reads it from a variable'),
    alertFormat: optional(
      choice(...ALERT_PRESETS),
      'by the host of the URL, else json',
      'body for --alert-url',
    ),
    alertCooldown: value(TIME, '15m', 'least time between alerts of one kind; the next counts those between'),
    digest: optional(TIME_OF_DAY, 'off', 'send a digest of the day at this time, where alerts go'),
    digestZone: optional(TIME_ZONE, 'that of the machine', 'time zone of --digest'),
  }),
} as const;

export type OptionName = keyof typeof OPTIONS;

type Rows = typeof OPTIONS;

/** The parsed value of every option, by its field's name. */
export type OptionValues = {
  readonly [K in OptionName as `${K}${Rows[K]['unit']}`]: Rows[K]['initial'];
};

export const OPTION_NAMES = Object.keys(OPTIONS) as readonly OptionName[];

export const optionRow = (name: OptionName): OptionRow => OPTIONS[name];

/** `stopTimeout` → `--stop-timeout`. */
export const flagOf = (key: string): string =>
  `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** `stopTimeout` → `SINGLEPOLL_STOP_TIMEOUT`. */
export const twinOf = (key: string): string =>
  `SINGLEPOLL_${flagOf(key).slice(2).replaceAll('-', '_').toUpperCase()}`;

/** The ways to name an option: every flag has two, `gateway` and `noGateway`. The usual one comes first. */
function spellingsOf(name: OptionName) {
  const plain = { key: name, negated: false };
  if (optionRow(name).kind !== 'flag') return [plain];
  const negative = { key: `no${name[0]!.toUpperCase()}${name.slice(1)}`, negated: true };
  return optionRow(name).initial === true ? [negative, plain] : [plain, negative];
}

/** The flag that people type: `--stop-timeout`, `--no-gateway`. */
export const longFlag = (name: OptionName): string => flagOf(spellingsOf(name)[0]!.key);

/** The names of the option in a layer, strongest first; none if the layer can't hold it. */
export function namesIn(layer: Layer, name: OptionName): ReturnType<typeof spellingsOf> {
  const { notIn, alsoEnv } = optionRow(name);
  if (notIn?.includes(layer)) return [];
  // Commander has turned both spellings of a flag into one.
  if (layer === 'flag') return [{ key: name, negated: false }];
  if (layer === 'toml') return spellingsOf(name);
  const twins = spellingsOf(name).map(({ key, negated }) => ({ key: twinOf(key), negated }));
  return alsoEnv === undefined ? twins : [...twins, { key: alsoEnv, negated: false }];
}

const ALL: readonly OptionScope[] = ['bot', 'strays', 'lease', 'run'];
const LOOKS: readonly OptionScope[] = ['bot', 'strays', 'lease'];

/** Which options each command has, and whether it needs a worker's command (`reset` can take that of the last start) and a token. */
export const NEEDS = {
  start: { scopes: ALL, command: true, token: true },
  reset: { scopes: ALL, command: false, token: true },
  install: { scopes: ALL, command: true, token: true },
  stop: { scopes: ['bot'], command: false, token: false },
  restart: { scopes: ['bot'], command: false, token: false },
  status: { scopes: LOOKS, command: false, token: false },
  who: { scopes: LOOKS, command: false, token: true },
  ping: { scopes: ['bot'], command: false, token: true },
  logs: { scopes: ['bot'], command: false, token: false },
  config: { scopes: ALL, command: false, token: false },
} as const;

export type CommandName = keyof typeof NEEDS;

/** The options that a command has, in the order of the table. */
export function optionsOf(command: CommandName): readonly OptionName[] {
  const scopes: readonly OptionScope[] = NEEDS[command].scopes;
  return OPTION_NAMES.filter((name) => scopes.includes(optionRow(name).scope));
}

/** Flags as they were typed, unparsed: a text, a list of texts, or true/false. */
export type RawFlags = { readonly [K in OptionName]?: string | readonly string[] | boolean | undefined };

/** Options that `install` uses differently or ignores, so they are hidden in its help. */
const NOT_FOR_INSTALL: readonly OptionName[] = ['dryRun', 'detach', 'startTimeout'];

/** Adds every option of the command, or the first few. The other form of a flag, which overrides a file or variable, is hidden. */
export function addOptions(command: Command, name: CommandName, limit?: number): Command {
  const names = optionsOf(name);
  for (const option of names.slice(0, limit)) {
    const { kind, short, placeholder, help, defaultText, group } = optionRow(option);
    for (const [index, { key }] of spellingsOf(option).entries()) {
      const flags = `${short && index === 0 ? `-${short}, ` : ''}${flagOf(key)}${kind === 'flag' ? '' : ` <${placeholder}>`}`;
      const it = command.createOption(flags, `${help} (default: ${defaultText})`);
      if (kind === 'list') it.argParser((text: string, before: readonly string[] = []) => [...before, text]);
      // Commands with few options need no headings.
      if (group !== null && names.length === OPTION_NAMES.length) it.helpGroup(group);
      it.hideHelp(index > 0 || (name === 'install' && NOT_FOR_INSTALL.includes(option)));
      command.addOption(it);
    }
  }
  return command;
}

/** The flags that were typed. Values are parsed later, so that all mistakes are reported together. */
export function readFlags(command: Command): RawFlags {
  const typed = OPTION_NAMES.filter((name) => command.getOptionValueSource(name) === 'cli');
  return Object.fromEntries(typed.map((name) => [name, command.getOptionValue(name)]));
}

/** Turns `noGateway: true`, which comes from code, into `gateway: false`. */
export function positiveFlags(flags: Readonly<Record<string, unknown>>): RawFlags {
  const entries = Object.entries(flags).map(([key, value]) => {
    const name = OPTION_NAMES.find((it) => spellingsOf(it).some((way) => way.negated && way.key === key));
    return name !== undefined && typeof value === 'boolean' ? [name, !value] : [key, value];
  });
  return Object.fromEntries(entries);
}

/** The flags as command-line words. Unknown names are kept, so that the command line reports them. */
export function flagWords(flags: RawFlags): string[] {
  return Object.entries(flags).flatMap(([name, value]) => {
    if (value === undefined) return [];
    if (typeof value === 'boolean') return [flagOf(value ? name : `no-${name}`)];
    return (Array.isArray(value) ? value : [value]).map((one) => `${flagOf(name)}=${String(one)}`);
  });
}

/** The text below the options in --help. */
export const OPTIONS_EPILOGUE = `Times: 500ms, 15s, 1m30s, 2h; a number alone is seconds.
Every long option has a twin in the environment and the env file
(--stop-timeout: SINGLEPOLL_STOP_TIMEOUT) and in singlepoll.toml (stopTimeout).
The command line wins over the environment, the env file, the TOML file, the
default. A repeatable option is not merged: the strongest place counts; in a
variable, one value per line.`;
