/** What the steps of `start` hand on to each other, and what is opened for some runs only. */
import type { Config } from '../config/load.ts';
import type { RawFlags } from '../config/options.ts';
import type { HttpService } from '../http/service.ts';
import type { Report, RunOutput } from '../output/report.ts';
import type { Link, Owner } from '../service/link.ts';
import type { Service } from '../service/notify.ts';
import type { Eyes } from '../strays/finder.ts';
import type { BotApi } from '../telegram/bot-api.ts';
import type { Rehearsal } from './rehearsal.ts';
import type { Asks } from './signals.ts';
import type { Teardown } from './teardown.ts';

export type GatewayModule = typeof import('../gateway/server.ts');

export interface StartRequest {
  readonly config: Config;
  readonly warnings: readonly string[];
  readonly flags: RawFlags;
  /** Of a detached run: to who started it. */
  readonly link?: Link | null;
  /** The program that it belongs to. */
  readonly owner?: Owner | null;
}

export type AlertModule = typeof import('../alerts/service.ts');

export interface Startup extends StartRequest {
  readonly output: RunOutput;
  readonly report: Report;
  readonly link: Link | null;
  readonly owner: Owner | null;
  readonly asks: Asks;
  readonly teardown: Teardown;
  /** The worker's. */
  readonly command: readonly string[];
  /** Of the control channel. */
  readonly socketPath: string;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly rehearse: Rehearsal | null;
  readonly api: BotApi | null;
  /** Sees the processes of this machine. */
  readonly eyes: Eyes;
  /** The state folder of this bot. */
  readonly botDir: string;
  readonly gatewayModule: Promise<GatewayModule> | null;
  /** Null: nobody is to be told anything. */
  readonly alertModule: Promise<AlertModule> | null;
  /** Null: no health endpoint was asked for. */
  readonly http: HttpService | null;
  /** Null: no service manager wants to be told. */
  readonly service: Service | null;
}

/** What service managers say to this process alone (sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3)). */
const SERVICE_VARIABLES = [
  ...['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID'],
  ...['LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES'],
];

/** Takes them out of the environment: neither the worker nor a tool may speak for us. Null: no service manager wants to be told. */
export async function openServiceOf(
  config: Pick<Config, 'deafAfterMs' | 'dryRun'>,
  report: Report,
): Promise<Service | null> {
  try {
    if (!('NOTIFY_SOCKET' in process.env)) return null;
    const { openService } = await import('../service/notify.ts');
    const service = openService(process.env, { report, deafAfterMs: config.deafAfterMs });
    return config.dryRun ? null : service;
  } finally {
    for (const name of SERVICE_VARIABLES) delete process.env[name];
  }
}

/** Null: no health endpoint was asked for. */
export async function openHttp(config: Config, report: Report): Promise<HttpService | null> {
  if (!config.http || config.dryRun) return null;
  const { openHttpService } = await import('../http/service.ts');
  return await openHttpService({ config, address: config.http, report });
}
