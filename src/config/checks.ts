/**
 * What is wrong, or does nothing, although every value is right by itself: options that exclude each other, names that nobody
 * reads; and the two settings that are variables only. Pure.
 */
import { type Layers, type TomlLayer, tomlWhere } from './layers.ts';
import { type Findings, showValue, suggest } from './messages.ts';
import {
  longFlag,
  OPTION_NAMES,
  type OptionName,
  type OptionValues,
  optionRow,
  spellingsOf,
  variablesOf,
} from './options.ts';
import { type DurationRange, formatDuration, type Rate } from './values.ts';

/** Where an option was set, or null for its default. */
export type WhereSet = (name: OptionName) => string | null;

/** Pairs that exclude each other where both differ from their default. */
const EXCLUDE: readonly (readonly [OptionName, OptionName, why: string])[] = [
  ['wait', 'takeover', 'the one waits until the holder leaves, the other asks it to leave'],
  ['gateway', 'lease', 'only the gateway keeps a worker from polling when its lease has run out'],
  ['gateway', 'sealed', 'a sealed token is only good at the gateway'],
  ['gateway', 'requireGateway', 'without the gateway no worker can poll through it'],
  ['gateway', 'gatewayPort', 'there would be nothing at that port'],
  ['allowSetWebhook', 'keepWebhook', 'the one lets the worker set a webhook, the other ends because of one'],
  // Even where no webhook is set now: one that appears between the look and the call would be deleted.
  ['keepWebhook', 'dropPending', 'updates are dropped by deleteWebhook, which would also delete the webhook'],
];

/** What has no effect without another option. */
const NEEDED = {
  lease: ['leaseProfile', 'leaseTtl'],
  http: ['readyInStandby'],
  alertUrl: ['alertFormat'],
  digest: ['digestZone'],
  gateway: ['onRival', 'rivalAfter', 'deafAfter', 'allowSetWebhook'],
} as const;

export function checkTogether(
  values: OptionValues,
  whereSet: WhereSet,
  { errors, warnings }: Findings,
): void {
  const differs = (name: OptionName) => values[name as keyof OptionValues] !== optionRow(name).initial;
  for (const [one, other, why] of EXCLUDE) {
    if (!differs(one) || !differs(other)) continue;
    const [first, second] = [one, other].map((name) => whereSet(name) ?? longFlag(name));
    errors.push(`${first} and ${second} exclude each other: ${why}`);
  }
  for (const [needed, names] of Object.entries(NEEDED) as [keyof typeof NEEDED, readonly OptionName[]][])
    for (const where of values[needed] ? [] : names.map(whereSet).filter((it) => it !== null))
      warnings.push(
        needed === 'gateway'
          ? `${where} has no effect with ${whereSet('gateway')}: only the gateway does that`
          : `${where} has no effect without ${longFlag(needed)}`,
      );
  const { backoff, maxRestarts, restart } = values;
  const where = whereSet('backoff') ?? whereSet('maxRestarts');
  if (where === null || restart === 'never') return;
  if (shortestCrashLoopMs(backoff, maxRestarts) <= maxRestarts.periodMs) return;
  const [min, max, period] = [backoff.minMs, backoff.maxMs, maxRestarts.periodMs].map(formatDuration);
  warnings.push(
    `a crash loop will never be noticed: with --backoff ${min},${max} ${maxRestarts.count + 1} restarts take longer ` +
      `than the ${period} of --max-restarts ${maxRestarts.count}/${period} (${where})`,
  );
}

/** The least time from the first to the last of one restart too many; jitter may halve every wait. */
function shortestCrashLoopMs(backoff: DurationRange, rate: Rate): number {
  let totalMs = 0;
  let waitMs = backoff.minMs;
  for (let restart = 0; restart < rate.count && totalMs <= rate.periodMs; restart++) {
    totalMs += waitMs / 2;
    waitMs = Math.min(waitMs * 2, backoff.maxMs);
  }
  return totalMs;
}

/** Keys of singlepoll.toml that are no option. */
export function unknownTomlKeys(toml: TomlLayer): readonly string[] {
  const names = OPTION_NAMES.filter((name) => !optionRow(name).notIn?.includes('toml'));
  const accepted = names.flatMap((name) => spellingsOf(name).map(({ key }) => key));
  return Object.keys(toml.values)
    .filter((key) => key !== 'command' && !accepted.includes(key))
    .map((key) => {
      const where = /^[\w-]{1,64}$/.test(key) ? tomlWhere(key, toml) : `${showValue(key)} in ${toml.shown}`;
      return `${where}: ${advice(key, ['command', ...names])}`;
    });
}

function advice(key: string, known: readonly string[]): string {
  if (/^(?:bot_?)?token$/i.test(key))
    return 'a token does not go into this file; name the place that holds it with tokenFile or tokenEnv';
  if (key === 'config') return 'a configuration file cannot name another one';
  const close = suggest(key, known);
  return `there is no such option${close === null ? `; the options are ${known.join(', ')}` : `; did you mean ${close}?`}`;
}

const PREFIX = 'SINGLEPOLL_';
/** Variables that are no options: the state folder, and what a supervisor gives its worker. */
const OTHER_VARIABLES = ['DIR', 'BOT', 'RUN', 'SPAWN', 'EPOCH'].map((name) => PREFIX + name);

/** Variables that look like ours and mean nothing: they may be meant for another version, so they are only warned of. */
export function unknownVariables({ environment, envFile }: Layers): readonly string[] {
  const namesOf = (options: readonly OptionName[]) =>
    options.flatMap((name) => variablesOf(name).map((it) => it.name));
  const known = [...namesOf(OPTION_NAMES), ...OTHER_VARIABLES].filter((name) => name.startsWith(PREFIX));
  const unknownIn = (vars: object, place: string) =>
    Object.keys(vars)
      .filter((name) => name.startsWith(PREFIX) && !known.includes(name))
      .map((name) => {
        // Without what all have in common, which would make any two of them alike.
        const close = suggest(
          name.slice(PREFIX.length),
          known.map((it) => it.slice(PREFIX.length)),
        );
        const shown = /^\w{1,64}$/.test(name) ? name : showValue(name);
        return `${shown} in ${place} means nothing${close === null ? '' : `; did you mean ${PREFIX}${close}?`}`;
      });
  const here = unknownIn(environment, 'the environment');
  if (!envFile) return here;
  const { vars, shown } = envFile;
  const decisive = OPTION_NAMES.filter((name) => optionRow(name).notIn?.includes('envFile'));
  const notRead = [...namesOf(decisive), 'SINGLEPOLL_DIR']
    .filter((name) => name in vars && environment[name] === undefined)
    .map((name) => `${name} in ${shown} is not read: it decides where files are`);
  return [...here, ...unknownIn(vars, shown), ...notRead];
}

type Variables = Pick<Layers, 'environment' | 'envFile'>;

/** The first of the variables that is set, the environment before the env file. */
function firstSet(names: readonly string[], { environment, envFile }: Variables, mayBeEmpty: boolean) {
  for (const [vars, place] of [
    [environment, 'the environment'],
    [envFile?.vars ?? {}, envFile?.shown ?? ''],
  ] as const)
    for (const name of names) {
      const text = vars[name];
      if (text !== undefined && (mayBeEmpty || text.trim() !== ''))
        return { text, from: `${name} in ${place}` };
    }
  return null;
}

export interface PollingGate {
  /** False is deploy mode, where nobody polls. */
  readonly polling: boolean;
  /** Deploy mode, but the value reads like a yes: a sentence to show. */
  readonly pollingDoubt: string | null;
}

/** POLLING_ENABLED: exactly `1`, or unset, is polling mode. The strictness is the contract: a stray space must not start a second poller. */
export function pollingGate(variables: Variables): PollingGate {
  const set = firstSet(['POLLING_ENABLED'], variables, true);
  if (set === null || set.text === '1') return { polling: true, pollingDoubt: null };
  const looksLikeYes = /^["']?(?:true|on|yes|y|t|enabled?|0*1)["']?$/i.test(set.text.trim());
  const doubt = `${set.from} is "${set.text}", which reads like a yes, but only 1 enables polling`;
  return { polling: false, pollingDoubt: looksLikeYes ? doubt : null };
}

/** The admin chat, a chat id or `@name`; null where none is set, or a malformed one, which `report` is told. */
export function findAdminChat(variables: Variables, report: (message: string) => void): string | null {
  const set = firstSet(['ASSISTANT_ADMIN_TELEGRAM_ID', 'TELEGRAM_ADMIN_CHAT_ID'], variables, false);
  const chat = set?.text.trim() ?? null;
  if (set === null || chat === null || /^-?[1-9]\d{0,15}$|^@[A-Za-z]\w{3,31}$/.test(chat)) return chat;
  report(`${set.from} is ${showValue(chat)}: it is neither a chat id (a number) nor a @name`);
  return null;
}
