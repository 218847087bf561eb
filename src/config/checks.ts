/**
 * Checks settings together: options that exclude each other or have no effect alone, unknown names, the lease with its times,
 * where alerts go, and the settings that are only variables. Pure.
 */
import { didYouMean, type Findings, showValue } from './messages.ts';
import { longFlag, namesIn, OPTION_NAMES, type OptionName, type OptionValues, optionRow } from './options.ts';
import { type Reading, type Source, variable } from './sources.ts';
import { ALERT_URL, guessFormat, TARGETS, topicOf, variableOf } from './targets.ts';

/** Pairs that exclude each other if both differ from their default. */
const EXCLUDE: readonly (readonly [OptionName, OptionName, why: string])[] = [
  ['wait', 'takeover', 'the one waits until the holder leaves, the other asks it to leave'],
  ['stdin', 'detach', 'a detached run has no terminal whose input it could pass on'],
  ['gateway', 'lease', 'only the gateway keeps a worker from polling when its lease has run out'],
  ['gateway', 'sealed', 'a sealed token is only good at the gateway'],
  ['gateway', 'requireGateway', 'without the gateway no worker can poll through it'],
  ['gateway', 'gatewayPort', 'there would be nothing at that port'],
  ['allowSetWebhook', 'keepWebhook', 'the one lets the worker set a webhook, the other ends because of one'],
  // This holds even if no webhook is set now, as one that is set before the call would be deleted.
  ['keepWebhook', 'dropPending', 'updates are dropped by deleteWebhook, which would also delete the webhook'],
];

/** Options that have no effect without another one. */
const NEEDED = {
  lease: ['leaseProfile', 'leaseTtl'],
  http: ['readyInStandby'],
  alertUrl: ['alertFormat'],
  digest: ['digestZone'],
  gateway: ['onRival', 'rivalAfter', 'deafAfter', 'allowSetWebhook'],
} as const;

export function checkTogether({ values, whereSet, error, warning }: Reading): void {
  const differs = (name: OptionName) => values[name as keyof OptionValues] !== optionRow(name).initial;
  for (const [one, other, why] of EXCLUDE) {
    if (!differs(one) || !differs(other)) continue;
    const [first, second] = [one, other].map((name) => whereSet(name) ?? longFlag(name));
    error(`${first} and ${second} exclude each other: ${why}`);
  }
  for (const [needed, names] of Object.entries(NEEDED) as [keyof typeof NEEDED, readonly OptionName[]][])
    for (const where of values[needed] ? [] : names.map(whereSet).filter((it) => it !== null))
      warning(
        `${where} has no effect ${needed === 'gateway' ? 'with --no-gateway' : `without ${longFlag(needed)}`}`,
      );
}

const PREFIX = 'SINGLEPOLL_';
/** This variable decides where files are, so no env file can hold it. */
const DIR = `${PREFIX}DIR`;
/** Variables that a supervisor gives its worker, which may start another supervisor. */
const INHERITED = ['BOT', 'RUN', 'SPAWN', 'EPOCH'].map((name) => PREFIX + name);

/** Reports unknown names. Unknown variables get a warning only, as they may be meant for another version. */
export function checkNames(sources: readonly Source[], { warning, mild }: Findings): void {
  const namesOf = (layer: Source['layer']) =>
    OPTION_NAMES.flatMap((name) => namesIn(layer, name).map(({ key }) => key));
  const inEnvironment = [...namesOf('environment'), DIR];
  const exported = sources.find(({ layer }) => layer === 'environment')?.values ?? {};
  for (const { layer, values, where } of sources) {
    if (layer === 'flag') continue;
    const known = layer === 'environment' ? inEnvironment : namesOf(layer);
    const others = layer === 'toml' ? ['command'] : INHERITED;
    for (const key of Object.keys(values)) {
      if (known.includes(key) || others.includes(key)) continue;
      if (layer === 'toml') mild(`${where(key)}: ${adviceFor(key, [...others, ...known])}`);
      else if (!key.startsWith(PREFIX)) continue;
      else if (!inEnvironment.includes(key)) warning(`${where(key)}: ${adviceFor(key, known)}`);
      else if (exported[key] === undefined) warning(`${where(key)} is not read: it decides where files are`);
    }
  }
}

function adviceFor(key: string, known: readonly string[]): string {
  return /^(?:bot_?)?token$/i.test(key)
    ? 'a token does not go into this file; name the place that holds it with tokenFile or tokenEnv'
    : `there is no such option${didYouMean(key, known)}`;
}

/** POLLING_ENABLED: only `1` or unset is polling mode. It is that strict so that a mistyped value starts no second poller. */
export function pollingGate({ sources }: Reading) {
  const set = variable(['POLLING_ENABLED'], sources, true);
  const polling = set === null || set.text === '1';
  const looksLikeYes = /^["']?(?:true|on|yes|y|t|enabled?|0*1)["']?$/i.test(set?.text.trim() ?? '');
  const doubt = `${set?.from} is "${set?.text}", which reads like a yes, but only 1 enables polling`;
  return {
    /** False: deploy mode, without polling. */
    polling,
    /** A sentence to show if the value means deploy mode but looks like a yes. */
    pollingDoubt: !polling && looksLikeYes ? doubt : null,
  };
}

/** The admin chat, a chat id or `@name`; null: none is set, or it is malformed, which is passed to `report`. */
export function findAdminChat(sources: readonly Source[], report: (message: string) => void): string | null {
  const set = variable(['ASSISTANT_ADMIN_TELEGRAM_ID', 'TELEGRAM_ADMIN_CHAT_ID'], sources);
  const chat = set?.text.trim() ?? null;
  if (set === null || chat === null || /^-?[1-9]\d{0,15}$|^@[A-Za-z]\w{3,31}$/.test(chat)) return chat;
  report(`${set.from} is ${showValue(chat)}: it is neither a chat id (a number) nor a @name`);
  return null;
}

/** The URL, read from the variable if one is named, and its place. Null: it is not set, or wrong, which is reported. */
function urlOf(
  name: keyof typeof TARGETS,
  { values, whereSet, sources }: Reading,
  report: (message: string) => void,
): { readonly url: string; readonly from: string } | null {
  const text = values[name];
  const where = whereSet(name);
  if (text === null || where === null) return null;
  const named = variableOf(text);
  if (named === undefined) return { url: text, from: where };
  const value = variable([named], sources)?.text.trim();
  if (value === undefined) {
    report(
      `${where} is env:${named}, and ${named} is not set, neither in the environment nor in the env file`,
    );
    return null;
  }
  const { read, show } = TARGETS[name];
  const from = `${named} (named by ${where})`;
  const answer = read(value);
  if (answer.ok) return { url: answer.value, from };
  report(`${from} is ${show(value)}: ${answer.problem}`);
  return null;
}

export type LeaseConfig = NonNullable<ReturnType<typeof chooseLease>>;

/**
 * The configured lease with its credentials, which must never be printed; null: none is configured. The lease itself checks the
 * engine's options and the times when it is opened.
 */
export function chooseLease(reading: Reading) {
  const { values, whereSet, error, mild } = reading;
  const found = urlOf('lease', reading, whereSet('lease') === '--lease' ? error : mild);
  const timesFrom = whereSet('leaseTtl') ?? whereSet('leaseProfile');
  return found && { ...found, profile: values.leaseProfile, ttlMs: values.leaseTtlMs, timesFrom };
}

export type AlertConfig = NonNullable<ReturnType<typeof chooseAlerts>>;
/** Holds secrets and must never be printed. */
export type AlertUrl = NonNullable<AlertConfig['url']>;

/** Where alerts and the daily digest go (chat or URL null: not there). Null: nothing is sent, or something is wrong. */
export function chooseAlerts(reading: Reading, adminChat: string | null) {
  const { values, whereSet, error, warning } = reading;
  const chat = values.alerts ? adminChat : null;
  const text = urlOf('alertUrl', reading, error)?.url ?? null;
  const format = text === null ? null : (values.alertFormat ?? guessFormat(new URL(text)));
  const url = text === null || format === null ? null : { url: text, format };
  if (url?.format === 'ntfy' && topicOf(new URL(url.url)) === '')
    error(
      `${whereSet('alertUrl')} is ${ALERT_URL.show(url.url)}: without a topic, such as https://ntfy.sh/my-topic`,
    );
  if (chat === null && values.alertUrl === null)
    for (const from of [whereSet('alertCooldown'), whereSet('digest')])
      if (from !== null)
        warning(
          `${from} has no effect: alerts go nowhere, without ASSISTANT_ADMIN_TELEGRAM_ID or --alert-url, or without polling`,
        );
  if (chat === null && url === null) return null;
  const { alertCooldownMs: cooldownMs, digest, digestZone } = values;
  if (digest === null) return { chat, url, cooldownMs, digest };
  // Asked only where it is needed: to know time zones costs a process 8 MB.
  const zone = digestZone ?? Intl.DateTimeFormat().resolvedOptions().timeZone;
  return { chat, url, cooldownMs, digest: { time: digest, zone } };
}
