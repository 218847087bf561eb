/**
 * The values of --alert-url, --alert-format, --digest and --digest-zone, one by one. The URL of a webhook is a secret as a whole: only its
 * host is ever shown. What they mean together: alert-choice.ts.
 */
import { PLACEHOLDERS, type Template } from '../alert/template.ts';
import type { Daily } from '../core/daily.ts';
import { type Parsed, parsed, unparsed } from './parsed.ts';

export const ALERT_PRESETS = ['json', 'slack', 'discord', 'ntfy'] as const;
export type AlertPreset = (typeof ALERT_PRESETS)[number];

export interface AlertUrl {
  /** With its secrets: never print it. */
  readonly url: string;
  readonly format: AlertPreset | Template;
}

export interface AlertConfig {
  /** Null: nothing goes to a chat. */
  readonly chat: string | null;
  readonly url: AlertUrl | null;
  readonly cooldownMs: number;
  readonly digest: Daily | null;
}

export const VARIABLE = /^env:([A-Za-z_][A-Za-z0-9_]*)$/;

export const ALERT_URL_ACCEPTED =
  'env:NAME, or an http or https URL, such as https://hooks.slack.com/services/… or https://ntfy.sh/my-topic';

export function parseAlertUrl(text: string): Parsed<string | null> {
  const trimmed = text.trim();
  if (/^env:/i.test(trimmed))
    return VARIABLE.test(trimmed) ? parsed(trimmed) : unparsed('behind env: stands no name of a variable');
  return parseWebUrl(trimmed);
}

export function parseWebUrl(text: string): Parsed<string> {
  if (!URL.canParse(text)) return unparsed('it is no URL');
  return /^https?:$/.test(new URL(text).protocol) ? parsed(text) : unparsed('it is neither http nor https');
}

/** `https://hooks.slack.com/…`. */
export function showAlertUrl(text: string): string {
  if (/^env:\w*$/i.test(text.trim())) return text.trim();
  if (!URL.canParse(text.trim())) return '…';
  const { protocol, host, pathname, search } = new URL(text.trim());
  return `${protocol}//${host}${pathname.length > 1 || search ? '/…' : ''}`;
}

export function parseAlertFormat(text: string): Parsed<string | null> {
  const trimmed = text.trim();
  if (trimmed === '') return unparsed('it is empty');
  return trimmed.includes('\0') ? unparsed('it holds a NUL') : parsed(trimmed);
}

export function parseTimeOfDay(text: string): Parsed<{ hour: number; minute: number } | null> {
  const [, hour = '', minute = ''] = /^(\d{1,2}):(\d{2})$/.exec(text.trim()) ?? [];
  if (hour === '') return unparsed('it is not HH:MM');
  if (Number(hour) > 23 || Number(minute) > 59) return unparsed('there is no such time');
  return parsed({ hour: Number(hour), minute: Number(minute) });
}

export function parseZone(text: string): Parsed<string | null> {
  try {
    return parsed(new Intl.DateTimeFormat('en-US', { timeZone: text.trim() }).resolvedOptions().timeZone);
  } catch {
    return unparsed('there is no such time zone');
  }
}

export function guessFormat({ hostname, pathname }: URL): AlertPreset {
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

export const ALERT_FORMAT_ACCEPTED = `${ALERT_PRESETS.join(', ')}, or the path of a template with ${PLACEHOLDERS.slice(
  0,
  4,
)
  .map((name) => `{{${name}}}`)
  .join(', ')} …`;
