/**
 * What one invocation of singlepoll was asked to do: plain data, frozen, made by load.ts and by nobody else.
 * `token` and `envFileVars` hold secrets: never print or store a Config as a whole.
 */
import type { LeaseTiming } from '../lease/timing.ts';
import type { AlertConfig } from './alert-option.ts';
import type { HttpAddress } from './http-address.ts';
import type { OptionName, OptionValues } from './options.ts';

export type CommandName =
  | 'start'
  | 'reset'
  | 'install'
  | 'stop'
  | 'restart'
  | 'status'
  | 'who'
  | 'ping'
  | 'logs';

export interface WorkerCommand {
  /** Never empty. */
  readonly argv: readonly string[];
  /** `command line`, `command in singlepoll.toml`, `worker: in Procfile`. */
  readonly source: string;
}

/** One value that is not the default, for a `[config]` line. */
export interface Setting {
  readonly option: OptionName;
  /** As it was given, secrets masked; `true` or `false` for a flag. */
  readonly value: string;
  /** `--backoff`, `SINGLEPOLL_BACKOFF in the environment`, `backoff in singlepoll.toml line 3`. */
  readonly from: string;
}

export interface LeaseConfig {
  /** With its credentials: never print it. */
  readonly url: string;
  readonly timing: LeaseTiming;
}

export interface Config {
  /** What to run as the worker; null where the command at hand needs none, or the sandbox's sample bot is to run. */
  readonly command: WorkerCommand | null;
  /** Absolute. */
  readonly cwd: string;
  /** Digits before the colon of the token; null without a token. */
  readonly botId: number | null;
  readonly token: string | null;
  /** `TELEGRAM_BOT_TOKEN in .env`; null without a token. */
  readonly tokenSource: string | null;
  /** Variables, of environment and env file, that are set to a bot token or to what should be one. */
  readonly tokenVariables: readonly string[];
  /** Without a trailing slash. */
  readonly apiRoot: string;
  /** `default`, or where it was set. */
  readonly apiRootSource: string;
  /** False is deploy mode: POLLING_ENABLED is set, and not to `1`. */
  readonly polling: boolean;
  /** Deploy mode, but the value reads like a yes (`true`, `on`, `yes`). */
  readonly pollingLooksLikeYes: boolean;
  /** POLLING_ENABLED as it was found, null where it is not set. */
  readonly pollingValue: string | null;
  /** `POLLING_ENABLED in .env`; null where it is not set. */
  readonly pollingSource: string | null;
  /** A chat id or `@name`. */
  readonly adminChatId: string | null;
  /** Absolute path of the env file that was read. */
  readonly envFile: string | null;
  /** Everything the env file sets. For the worker, where its environment does not set it already. */
  readonly envFileVars: Readonly<Record<string, string>>;
  /** Absolute path of the TOML file that was read. */
  readonly configFile: string | null;
  /** Sources of regular expressions, checked. */
  readonly stray: readonly string[];
  readonly strayScope: OptionValues['strayScope'];
  readonly dryRun: boolean;
  readonly dropPending: boolean;
  readonly keepWebhook: boolean;
  readonly takeover: boolean;
  readonly wait: boolean;
  /** `--no-wait`: also not for a lease. */
  readonly noWait: boolean;
  /** Null: no other machine shares this bot. Always null in deploy mode. */
  readonly lease: LeaseConfig | null;
  /** False: the worker gets the API root itself. Always false in deploy mode. */
  readonly gateway: boolean;
  readonly gatewayPort: number | null;
  readonly sealed: boolean;
  readonly onRival: OptionValues['onRival'];
  readonly rivalAfterMs: number;
  readonly deafAfterMs: number;
  readonly requireGateway: boolean;
  readonly allowSetWebhook: boolean;
  readonly restart: OptionValues['restart'];
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  readonly maxRestarts: number;
  readonly maxRestartsPeriodMs: number;
  readonly stopTimeoutMs: number;
  readonly heartbeatMs: number;
  /** Return once it runs; what runs then has no terminal. */
  readonly detach: boolean;
  readonly startTimeoutMs: number;
  /** Absolute; null: the default of a detached run. */
  readonly logFile: string | null;
  readonly logMaxBytes: number;
  readonly logKeep: number;
  /** Null: no health endpoint. */
  readonly http: HttpAddress | null;
  readonly readyInStandby: boolean;
  /** Null: nothing is sent to anybody. */
  readonly alerts: AlertConfig | null;
  readonly logFormat: OptionValues['logFormat'];
  readonly sandbox: boolean;
  readonly settings: readonly Setting[];
}
