/** Options as the words of a command line. What they mean, and whether they mean anything, the command says. */
import type { OptionName } from '../config/options.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { OWN_OPTIONS, type StartOptions } from './options.ts';

/** What `start()` says itself: it runs neither once only to show its steps, nor without us. */
type NotOffered = 'dryRun' | 'detach';
/** Holds the interface against the option table: an option that one of them lacks makes this an error that names it. */
type Offered = Exclude<keyof StartOptions, (typeof OWN_OPTIONS)[number]>;
type Wanted = Exclude<OptionName, NotOffered>;
type Differing = Exclude<Offered, Wanted> | Exclude<Wanted, Offered>;
const complete: Differing extends never ? true : Differing = true;

/** All of them, for those who call without types; the option table itself would bring half of the program in. */
const OFFERED: Readonly<Record<Wanted, true>> = {
  config: true,
  envFile: true,
  tokenFile: true,
  tokenEnv: true,
  apiRoot: true,
  stray: true,
  strayScope: true,
  dropPending: true,
  keepWebhook: true,
  takeover: true,
  wait: true,
  noGateway: true,
  gatewayPort: true,
  sealed: true,
  onRival: true,
  rivalAfter: true,
  deafAfter: true,
  requireGateway: true,
  allowSetWebhook: true,
  lease: true,
  leaseProfile: true,
  leaseTtl: true,
  restart: true,
  backoff: true,
  maxRestarts: true,
  stopTimeout: true,
  heartbeat: true,
  startTimeout: true,
  logFile: true,
  logSize: true,
  logKeep: true,
  http: true,
  readyInStandby: true,
  logFormat: true,
  noAlerts: true,
  alertUrl: true,
  alertFormat: true,
  alertCooldown: true,
  digest: true,
  digestZone: true,
  sandbox: true,
};

/** Throws 64 for what is no option of `start()`. */
export function startWords(options: StartOptions): string[] {
  const own: readonly string[] = OWN_OPTIONS;
  const words = Object.entries(options)
    .filter(([name, value]) => !own.includes(name) && value !== undefined)
    .map(checked)
    .flatMap(([name, value]) => optionWords(flagOf(name), value));
  const command = options.command ?? [];
  const ours = complete ? ['--no-detach', '--no-dry-run'] : [];
  return ['start', ...ours, ...words, ...(command.length > 0 ? ['--', ...command] : [])];
}

function checked(option: [string, unknown]): [string, unknown] {
  const name = option[0];
  if (Object.hasOwn(OFFERED, name)) return option;
  throw new SinglepollError(EXIT.usage, `${JSON.stringify(name.slice(0, 64))} is not an option of start()`);
}

function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function optionWords(flag: string, value: unknown): string[] {
  if (value === true) return [flag];
  if (value === false) return flag.startsWith('--no-') ? [] : [`--no-${flag.slice(2)}`];
  return (Array.isArray(value) ? value : [value]).map((one) => `${flag}=${String(one)}`);
}
