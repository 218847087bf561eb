/**
 * The two URLs that may hold secrets, `--lease` and `--alert-url`: each typed as it is or as `env:NAME` for the variable that holds
 * it, and shown without its secrets. Also what they mean together with the options around them.
 */
import { LeaseConfigError } from '../lease/store.ts';
import { type LeaseTiming, leaseTiming } from '../lease/timing.ts';
import { maskLeaseUrl, parseLeaseUrl } from '../lease/url.ts';
import type { Findings } from './messages.ts';
import { isWeb, type Parsed, parsed, unparsed, type ValueType } from './values.ts';

const VARIABLE = /^env:([A-Za-z_]\w*)$/;

/** `read` reads the URL itself, `show` hides its secrets. */
function target(
  accepts: string,
  read: (text: string) => Parsed<string>,
  show: (text: string) => string,
): Target {
  return {
    placeholder: 'url',
    accepts,
    parse(text) {
      const trimmed = text.trim();
      if (!/^env:/i.test(trimmed)) return read(trimmed);
      return VARIABLE.test(trimmed) ? parsed(trimmed) : unparsed('behind env: stands no name of a variable');
    },
    show: (text) => (/^env:/i.test(text.trim()) ? text.trim() : show(text.trim())),
    read,
  };
}

interface Target extends ValueType<string> {
  readonly read: (text: string) => Parsed<string>;
  readonly show: (text: string) => string;
}

export const LEASE_URL = target(
  'env:NAME, or the URL of an engine, such as redis://[user:password@]host[:port][/db], postgres://user:password@host/database, etcd://host:2379, k8s: or k8s://namespace/name',
  (text) => {
    try {
      parseLeaseUrl(text);
      return parsed(text);
    } catch (error) {
      if (!(error instanceof LeaseConfigError)) throw error;
      // The caller says which value it is, and the row of the table what is accepted.
      return unparsed(error.message.replace(/^the lease URL \S*: /, '').replace(/; accepted: .*/s, ''));
    }
  },
  maskLeaseUrl,
);

export const ALERT_URL = target(
  'env:NAME, or an http or https URL, such as https://hooks.slack.com/services/… or https://ntfy.sh/my-topic',
  (text) => {
    if (!URL.canParse(text)) return unparsed('it is no URL');
    return isWeb(new URL(text)) ? parsed(text) : unparsed('it is neither http nor https');
  },
  // The URL of a webhook is a secret as a whole: only its host is shown.
  (text) => {
    if (!URL.canParse(text)) return '…';
    const { protocol, host, pathname, search } = new URL(text);
    return `${protocol}//${host}${pathname.length > 1 || search ? '/…' : ''}`;
  },
);

const TARGETS = { lease: LEASE_URL, alertUrl: ALERT_URL } as const;

/** Flags that hold a secret, as they were typed: process lists show it, and it must not go into a file that others may read. */
export function secretFlags(
  flags: Readonly<Record<string, unknown>>,
): readonly { readonly name: keyof typeof TARGETS; readonly value: string }[] {
  return (['lease', 'alertUrl'] as const).flatMap((name) => {
    const value = flags[name];
    const isSecret = typeof value === 'string' && TARGETS[name].show(value) !== value.trim();
    return isSecret ? [{ name, value }] : [];
  });
}

export interface TargetContext {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly envFileVars: Readonly<Record<string, string>>;
  /** Without polling there is nothing to share, and Telegram is told nothing. */
  readonly polling: boolean;
  /** Where an option was set; null for its default. */
  readonly whereSet: (name: string) => string | null;
}

/** The URL itself, of the variable where one is named. Null where that is not set or wrong, which is reported. */
function resolveTarget(
  text: string,
  name: keyof typeof TARGETS,
  { environment, envFileVars, whereSet }: TargetContext,
  report: (message: string) => void,
): string | null {
  const variable = VARIABLE.exec(text)?.[1];
  if (variable === undefined) return text;
  const where = whereSet(name);
  const value = (environment[variable] || envFileVars[variable])?.trim();
  if (!value) {
    report(
      `${where} is env:${variable}, and ${variable} is not set, neither in the environment nor in the env file`,
    );
    return null;
  }
  const { read, show } = TARGETS[name];
  const url = read(value);
  if (url.ok) return url.value;
  report(`${variable} (named by ${where}) is ${show(value)}: ${url.problem}`);
  return null;
}

export interface LeaseConfig {
  /** With its credentials: never print it. */
  readonly url: string;
  readonly timing: LeaseTiming;
}

interface LeaseValues {
  readonly lease: string | null;
  readonly leaseProfile: Parameters<typeof leaseTiming>[0];
  readonly leaseTtl: number | null;
}

/** The lease with its times checked; null where none is wanted, or something is wrong with it. */
export function chooseLease(
  { lease, leaseProfile, leaseTtl }: LeaseValues,
  context: TargetContext,
  findings: Findings,
): LeaseConfig | null {
  const { whereSet, polling } = context;
  if (lease === null) return null;
  const isTyped = whereSet('lease') === '--lease';
  const report = isTyped ? (message: string) => void findings.errors.push(message) : findings.mild;
  const url = resolveTarget(lease, 'lease', context, report);
  const checked = leaseTiming(leaseProfile, leaseTtl);
  if (!checked.ok)
    report(
      `${whereSet('leaseTtl') ?? whereSet('leaseProfile')} makes a lease that can't work: ${checked.problem}. ` +
        'Try --lease-profile fast (6s) or a longer --lease-ttl.',
    );
  if (url === null || !checked.ok || !polling) return null;
  return { url, timing: checked.timing };
}

export const ALERT_PRESETS = ['json', 'slack', 'discord', 'ntfy'] as const;
export type AlertPreset = (typeof ALERT_PRESETS)[number];

export interface AlertUrl {
  /** With its secrets: never print it. */
  readonly url: string;
  readonly format: AlertPreset;
}

/** A time of day in a zone of the IANA database, such as Europe/Berlin. */
export interface Daily {
  readonly hour: number;
  readonly minute: number;
  readonly zone: string;
}

export interface AlertConfig {
  /** Null: nothing goes to a chat. */
  readonly chat: string | null;
  readonly url: AlertUrl | null;
  readonly cooldownMs: number;
  readonly digest: Daily | null;
}

interface AlertValues {
  readonly alerts: boolean;
  readonly alertUrl: string | null;
  readonly alertFormat: AlertPreset | null;
  readonly alertCooldownMs: number;
  readonly digest: Omit<Daily, 'zone'> | null;
  readonly digestZone: string | null;
}

/** Where alerts and the daily digest go; null where nothing is to be sent, or something is wrong. `adminChat`: if there is one. */
export function chooseAlerts(
  values: AlertValues,
  adminChat: string | null,
  context: TargetContext,
  findings: Findings,
): AlertConfig | null {
  const { whereSet, polling } = context;
  const { alerts, alertUrl, alertCooldownMs, digest, digestZone } = values;
  const chat = alerts && polling ? adminChat : null;
  const url = chooseAlertUrl(values, context, findings);
  if (chat === null && alertUrl === null) {
    const unused = polling ? '' : ' in use, without polling,';
    for (const from of [whereSet('alertCooldown'), digest && whereSet('digest')])
      if (from)
        findings.warnings.push(
          `${from} has no effect: there is neither an admin chat (ASSISTANT_ADMIN_TELEGRAM_ID)${unused} nor --alert-url`,
        );
  }
  if (chat === null && url === null) return null;
  const zone = digestZone ?? Intl.DateTimeFormat().resolvedOptions().timeZone;
  return { chat, url, cooldownMs: alertCooldownMs, digest: digest && { ...digest, zone } };
}

function chooseAlertUrl(
  { alertUrl, alertFormat }: AlertValues,
  context: TargetContext,
  { errors }: Findings,
): AlertUrl | null {
  if (alertUrl === null) return null;
  const text = resolveTarget(alertUrl, 'alertUrl', context, (message) => void errors.push(message));
  if (text === null) return null;
  const url = new URL(text);
  const format = alertFormat ?? guessFormat(url);
  if (format !== 'ntfy' || topicOf(url) !== '') return { url: text, format };
  const where = context.whereSet('alertUrl');
  errors.push(`${where} is ${ALERT_URL.show(text)}: without a topic, such as https://ntfy.sh/my-topic`);
  return null;
}

function guessFormat({ hostname, pathname }: URL): AlertPreset {
  // Slack's own server for governments, and Discord's test servers and old name.
  if (/^hooks\.slack(-gov)?\.com$/.test(hostname)) return 'slack';
  if (/(^|\.)discord(app)?\.com$/.test(hostname) && /^\/api\/(v\d+\/)?webhooks\//.test(pathname))
    return 'discord';
  return hostname === 'ntfy.sh' ? 'ntfy' : 'json';
}

/** The last part of the path. */
export function topicOf({ pathname }: URL): string {
  const last = pathname.replace(/\/+$/, '').replace(/^.*\//, '');
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}
