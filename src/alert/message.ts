/** An alert or digest as people read it: short, without a token, the next command last. Pure. */
import { type Alert, type AlertKind, alertName } from '../core/alerts.ts';
import { maskText } from '../output/mask.ts';
import { plain } from '../output/plain.ts';
import { count, duration } from '../output/words.ts';

export interface Message {
  readonly event: AlertKind | 'digest';
  readonly level: 'problem' | 'notice' | 'good' | 'digest';
  /** `crash loop: @my_bot on box`. */
  readonly title: string;
  /** Everything below the title, several lines. */
  readonly message: string;
  /** `@my_bot`, `bot 123456`. */
  readonly bot: string;
  readonly botId: number | null;
  readonly host: string;
  /** When it happened, ISO 8601. */
  readonly at: string;
  readonly hint: string | null;
  /** How many more of the kind came since the last alert of it. */
  readonly more: number;
}

export interface From {
  readonly bot: string;
  readonly botId: number | null;
  readonly host: string;
  /** Never to be shown. */
  readonly secrets: readonly string[];
}

const LEVELS: Readonly<Partial<Record<AlertKind, Message['level']>>> = {
  'stray-stopped': 'notice',
  'lease-taken': 'notice',
  recovered: 'good',
};
const TEXT_MAX = 600;
const LINE_MAX = 200;

export function alertMessage(alert: Alert, from: From): Message {
  const { kind, more, moreInMs, hint } = alert;
  const clean = cleaner(from);
  const lines = [clean(alert.text, TEXT_MAX)];
  lines.push(`${kind === 'recovered' ? 'since' : 'at'} ${timeText(alert.atUnixMs)}`);
  if (more > 0) lines.push(`and ${count(more, 'time')} more in the last ${duration(moreInMs)}`);
  if (alert.lines.length > 0)
    lines.push('its last lines:', ...alert.lines.map((line) => `| ${clean(line, LINE_MAX)}`));
  if (hint !== null) lines.push(`next: ${clean(hint, TEXT_MAX)}`);
  return {
    event: kind,
    level: LEVELS[kind] ?? 'problem',
    title: `${alertName(kind)}: ${from.bot} on ${from.host}`,
    message: lines.join('\n'),
    ...{ bot: from.bot, botId: from.botId, host: from.host, more },
    at: new Date(alert.atUnixMs).toISOString(),
    hint: hint === null ? null : clean(hint, TEXT_MAX),
  };
}

export function digestMessage(lines: readonly string[], unixMs: number, from: From): Message {
  const clean = cleaner(from);
  return {
    event: 'digest',
    level: 'digest',
    title: `daily digest: ${from.bot} on ${from.host}`,
    message: lines.map((line) => clean(line, TEXT_MAX)).join('\n'),
    ...{ bot: from.bot, botId: from.botId, host: from.host, hint: null, more: 0 },
    at: new Date(unixMs).toISOString(),
  };
}

function cleaner({ secrets }: From): (text: string, max: number) => string {
  return (text, max) => plain(maskText(text, secrets), max);
}

/** `2026-11-22 09:30:00 UTC`. */
function timeText(unixMs: number): string {
  return `${new Date(unixMs).toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}
