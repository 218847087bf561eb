/**
 * The options of `start()`: those of the command, in camelCase, with the values that singlepoll.toml takes. This is what a user
 * of the package sees of them, so it is written out; the check at the end holds it against the option table.
 */
import { flagWords, type OptionName, positiveFlags } from '../config/options.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import type { RunState } from '../supervisor/status.ts';

/** Seconds, or a text such as `500ms`, `15s`, `1m30s`. */
export type Time = number | string;

/** The options of `singlepoll start`. What is left out comes from environment, env file and singlepoll.toml, as there. */
export interface StartOptions {
  /** The worker: a program and its arguments. Default: `command` of singlepoll.toml, else the Procfile. */
  command?: readonly string[];
  /** Working folder of supervisor and worker. Default: that of this process. */
  cwd?: string;
  /** Added to the environment of this process, for supervisor and worker; undefined takes a variable out. The token goes in here. */
  env?: Readonly<Record<string, string | undefined>>;
  /** Where the worker's output and singlepoll's own lines go: to ours, nowhere, or (both) to an open file descriptor. Default: `inherit`. */
  output?: 'inherit' | 'ignore' | number;
  /** Called with the present state and whenever it changes. */
  onState?: (state: RunState) => void;

  /** TOML file. */
  config?: string;
  /** Variables for singlepoll and the worker. */
  envFile?: string;
  /** File whose first line is the token. */
  tokenFile?: string;
  /** Variable that holds the token. */
  tokenEnv?: string;
  apiRoot?: string;
  /** Regular expressions for legacy bot programs to stop. */
  stray?: string | readonly string[];
  strayScope?: 'project' | 'any';
  dropPending?: boolean;
  keepWebhook?: boolean;
  takeover?: boolean;
  /** True: stand by until the holder, or another poller that may not be stopped, leaves. False: end with 75 rather than stand by. */
  wait?: boolean;
  /** False: the worker gets the API root itself. */
  gateway?: boolean;
  /** The opposite of `gateway`. */
  noGateway?: boolean;
  gatewayPort?: number;
  intercept?: 'auto' | 'proxy' | 'off';
  sealed?: boolean;
  onRival?: 'yield' | 'insist';
  rivalAfter?: Time;
  deafAfter?: Time;
  requireGateway?: boolean;
  allowSetWebhook?: boolean;
  /** URL of the engine that several machines share, or `env:NAME` (better: arguments show in process lists). */
  lease?: string;
  leaseProfile?: 'fast' | 'default' | 'frugal';
  leaseTtl?: Time;
  restart?: 'always' | 'on-failure' | 'never';
  /** `MIN,MAX`. */
  backoff?: string;
  /** `N/PERIOD`. */
  maxRestarts?: string;
  /** Memory limit of the worker's tree, as `512MB`: a worker that exceeds it is replaced. */
  maxMemory?: string;
  /** The worker gets the standard input of this process. */
  stdin?: boolean;
  stopTimeout?: Time;
  heartbeat?: Time;
  /** A worker that has not polled for this long is stopped again, and `start()` rejects. */
  startTimeout?: Time;
  logFile?: string;
  logSize?: number | string;
  logKeep?: number;
  /** Port, or IP:PORT. */
  http?: number | string;
  readyInStandby?: 'yes' | 'no';
  logFormat?: 'text' | 'json';
  /** False: no alerts and no digest to the admin chat. */
  alerts?: boolean;
  /** The opposite of `alerts`. */
  noAlerts?: boolean;
  /** Where alerts are posted, or `env:NAME` (better: arguments show in process lists). */
  alertUrl?: string;
  alertFormat?: 'json' | 'slack' | 'discord' | 'ntfy';
  alertCooldown?: Time;
  /** `HH:MM`. */
  digest?: string;
  /** `Area/City`. */
  digestZone?: string;
  sandbox?: boolean;
}

/** Not options of the command. */
const OWN_OPTIONS = ['command', 'cwd', 'env', 'output', 'onState'] as const;
/** Options that `start()` sets itself: a run from code neither shows its steps only nor detaches. */
const NOT_OFFERED = ['dryRun', 'detach'] as const;
/** Holds the interface against the option table: an option that one of them lacks makes this an error that names it. */
type Offered = Exclude<keyof StartOptions, (typeof OWN_OPTIONS)[number] | 'noGateway' | 'noAlerts'>;
type Wanted = Exclude<OptionName, (typeof NOT_OFFERED)[number]>;
type Differing = Exclude<Offered, Wanted> | Exclude<Wanted, Offered>;
const ALWAYS: Differing extends never ? string[] : Differing = ['--no-detach', '--no-dry-run'];

/** The words of the command line; what they mean, the command says, also of a name that is no option at all. Throws 64. */
export function startWords({ command = [], ...options }: StartOptions): string[] {
  const refused = NOT_OFFERED.find((name) => name in options);
  if (refused) throw new SinglepollError(EXIT.usage, `${refused} is not an option of start()`);
  if (!Array.isArray(command))
    throw new SinglepollError(
      EXIT.usage,
      `command is ${JSON.stringify(command)}, not an array: ['python3', 'bot.py']`,
    );
  const own: readonly string[] = OWN_OPTIONS;
  const flags = Object.fromEntries(Object.entries(options).filter(([name]) => !own.includes(name)));
  const words = flagWords(positiveFlags(flags));
  return ['start', ...ALWAYS, ...words, ...(command.length > 0 ? ['--', ...command] : [])];
}
