/** Is this process of a compose file, a manifest or a platform the one that polls? */
import type { Facts } from '../project/facts.ts';
import { isBotName } from '../project/kinds.ts';
import { type Launch, resolve, type Said } from '../project/launches.ts';
import type { Evidence } from '../project/polling.ts';
import { commandText, list, table, text } from '../project/structured.ts';

export interface Process {
  readonly name: string;
  readonly image: string | null;
  readonly launch: Launch | null;
  /** Names of the variables that are set for it. */
  readonly variables: readonly string[];
}

export interface Verdict {
  /** Where it polls, null where it is only likely by its name or variables. */
  readonly at: Evidence | null;
}

const INFRASTRUCTURE =
  /^(?:[\w.:-]+\/)*(postgres|postgresql|mysql|mariadb|mongo|redis|valkey|nginx|traefik|caddy|rabbitmq|kafka|zookeeper|elasticsearch|grafana|prometheus|minio|memcached|adminer|pgadmin4?|certbot|vault|etcd|busybox|alpine|telegram-bot-api)(?:[:@-]|$)/;

/** Null: it does not poll, as far as can be told. */
export function polls(facts: Facts, process: Process): Verdict | null {
  const { launch } = process;
  if (launch?.polls) return { at: launch.polls };
  if (launch?.resolved) return null;
  if (facts.takesUpdates === 'webhook') return null;
  if (process.image !== null && INFRASTRUCTURE.test(process.image)) return null;
  const tokenNamed = process.variables.some((name) => /BOT_?TOKEN|TELEGRAM\w*TOKEN|^TG_\w*TOKEN/i.test(name));
  const named =
    isBotName(process.name) || (process.image !== null && isBotName(process.image.split(/[/:@]/).join('-')));
  return tokenNamed || named ? { at: null } : null;
}

/** Whether all that this process runs is behind `singlepoll start --lease`: then copies stand by. */
export function sharesLease(facts: Facts, { launch, variables }: Process): boolean {
  if (variables.includes('SINGLEPOLL_LEASE')) return true;
  if (launch === null) return facts.lease;
  return (
    launch.runs.some(({ lease }) => lease) ||
    (facts.lease && launch.runs.some(({ supervised }) => supervised))
  );
}

/** A container of a manifest or a service of a compose file. */
export function containerProcess(
  facts: Facts,
  name: string,
  container: unknown,
  said: Launch | null,
): Process {
  const { image, env, environment, command, args } = table(container);
  const names = [
    ...list(env).map((entry) => text(table(entry).name)),
    ...list(environment).map((entry) => text(entry)?.split('=')[0] ?? null),
    ...Object.keys(table(environment)),
  ].filter((entry): entry is string => entry !== null);
  const own = [commandText(command), commandText(args)].filter(Boolean).join(' ');
  const launch = said ?? (own === '' ? imageLaunch(facts, text(image)) : null);
  return { name, image: text(image), launch, variables: names };
}

/** An image without a command runs what the project's only Dockerfile says, unless it is somebody else's. */
function imageLaunch(facts: Facts, image: string | null): Launch | null {
  if (image !== null && INFRASTRUCTURE.test(image)) return null;
  const built = facts.launches.filter(({ manager, development }) => manager === 'docker' && !development);
  return built.length === 1 ? built[0]! : null;
}

export const launchOf = (facts: Facts, row: Said): Launch => resolve(row, facts.reach, facts.runs);

/** ` (app.py:12 polls)`, or nothing. */
export const seen = ({ at }: Verdict): string => (at ? ` (${at.file}:${at.line} polls: ${at.what})` : '');
