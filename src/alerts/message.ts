/** An alert and the daily digest as people read them: short, without a token, the next command last. Takes no decision. */
import { maskText } from '../output/mask.ts';
import { plain } from '../output/plain.ts';
import { count, duration, leaseWords, ON_REQUEST } from '../output/words.ts';
import type { Look } from './events.ts';
import type { Alert, AlertKind } from './gate.ts';

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

export interface Sender {
  readonly bot: string;
  readonly botId: number | null;
  readonly host: string;
  /** Never to be shown. */
  readonly secrets: readonly string[];
}

const KINDS: Readonly<Record<AlertKind, readonly [name: string, level: Message['level']]>> = {
  'crash-loop': ['crash loop', 'problem'],
  rival: ['rival', 'problem'],
  'stray-stopped': ['stray stopped', 'notice'],
  'stray-back': ['stray that stays', 'problem'],
  'webhook-set': ['webhook set again', 'problem'],
  deaf: ['deaf worker', 'problem'],
  stolen: ['updates taken', 'problem'],
  'lease-taken': ['lease taken over', 'notice'],
  'lease-lost': ['lease lost', 'problem'],
  ended: ['ended', 'problem'],
  recovered: ['recovered', 'good'],
};
const TEXT_MAX = 600;
const LINE_MAX = 200;

export function alertMessage(alert: Alert, sender: Sender): Message {
  const { kind, more, moreInMs, hint, atMs } = alert;
  const [name, level] = KINDS[kind];
  const clean = cleaner(sender);
  const at = new Date(atMs).toISOString();
  const isOver = kind === 'recovered';
  const over = alert.over.map((it) => KINDS[it][0]).join(', ');
  const lines = [
    isOver ? `all is well again after: ${over}` : clean(alert.text, TEXT_MAX),
    `${isOver ? 'since' : 'at'} ${at.slice(0, 19).replace('T', ' ')} UTC`,
  ];
  if (more > 0) lines.push(`and ${count(more, 'time')} more in the last ${duration(moreInMs)}`);
  if (alert.lines.length > 0)
    lines.push('its last lines:', ...alert.lines.map((line) => `| ${clean(line, LINE_MAX)}`));
  const next = hint === null ? null : clean(hint, TEXT_MAX);
  if (next !== null) lines.push(`next: ${next}`);
  const { bot, botId, host } = sender;
  const title = `${name}: ${bot} on ${host}`;
  return { event: kind, level, title, message: lines.join('\n'), bot, botId, host, at, hint: next, more };
}

/** `since`: the look of the last digest, or of the start. */
export function digestMessage(since: Look, now: Look, sender: Sender): Message {
  const clean = cleaner(sender);
  const { bot, botId, host } = sender;
  return {
    event: 'digest',
    level: 'digest',
    title: `daily digest: ${bot} on ${host}`,
    message: digestLines(since, now)
      .map((line) => clean(line, TEXT_MAX))
      .join('\n'),
    ...{ bot, botId, host, hint: null, more: 0 },
    at: new Date(now.unixMs).toISOString(),
  };
}

/** Also what a chat is sent. */
export function wholeText({ title, message }: Message): string {
  return `${title}\n${message}`;
}

function cleaner({ secrets }: Sender): (text: string, max: number) => string {
  return (text, max) => plain(maskText(text, secrets), max);
}

function digestLines(since: Look, now: Look): string[] {
  const { doc, unixMs } = now;
  const periodMs = Math.max(1, unixMs - since.unixMs);
  const risen = (of: (look: Look) => number | undefined) => (of(now) ?? 0) - (of(since) ?? 0);
  const startedAt = doc.supervisor?.startedAt;
  const up = startedAt ? `, supervisor up ${duration(Math.max(0, unixMs - Date.parse(startedAt)))}` : '';
  const polled = share(risen((look) => look.tally.pollingMs) / periodMs);
  const lines = [
    `in the last ${duration(periodMs)}: ${doc.polling ? 'polled' : 'ran'} ${polled} of the time${up}`,
  ];
  const { polling } = doc;
  if (polling)
    lines.push(
      polling.via === 'direct' && polling.polls === 0
        ? 'polls and updates: past the gateway, so not seen'
        : `polls: ${risen(({ doc: it }) => it.polling?.polls)}, updates: ${risen(({ doc: it }) => it.polling?.updates)}`,
    );
  lines.push(`restarts: ${risen(({ doc: it }) => it.worker?.restarts)}${reasons(since, now)}`);
  if (polling) {
    const conflicts = (of: 'poller' | 'webhook') => risen(({ doc: it }) => it.polling?.conflicts[of]);
    lines.push(
      `conflicts (409): ${conflicts('poller')} with another poller, ${conflicts('webhook')} with a webhook`,
    );
    const stolen = risen(({ doc: it }) => it.polling?.stolen);
    if (stolen > 0) lines.push(`updates taken by somebody else: ${stolen}`);
    lines.push(`strays stopped: ${risen((look) => look.tally.straysStopped)}`);
    const set = count(
      risen((look) => look.tally.webhookSetAgain),
      'time',
    );
    const pending = doc.webhook ? `, ${count(doc.webhook.pendingUpdates, 'update')} waiting` : '';
    lines.push(`webhook: set again ${set}, now ${doc.webhook?.url || 'none'}${pending}`);
  }
  if (doc.lease) lines.push(`lease: ${leaseWords(doc.lease, unixMs)}`);
  lines.push(`problems now: ${doc.problems.map(({ message }) => message).join('; ') || 'none'}`);
  if (doc.alerts)
    lines.push(`alerts since the start: ${doc.alerts.sent} delivered, ${doc.alerts.failed} failed`);
  lines.push(`singlepoll ${doc.supervisor?.version ?? 'unknown'}, Node ${process.version.slice(1)}`);
  return lines;
}

/** Never rounded up to 100 %. */
function share(part: number): string {
  const percent = Math.min(100, Math.max(0, part * 100));
  return percent >= 99.995 ? '100 %' : `${(Math.floor(percent * 100) / 100).toFixed(percent < 99 ? 1 : 2)} %`;
}

/** Why workers ended. */
function reasons(since: Look, { tally }: Look): string {
  const deaf = tally.deafReplaced - since.tally.deafReplaced;
  const why = Object.entries(tally.ends)
    .map(([how, n]) => [how, n - (since.tally.ends[how] ?? 0) - (how === ON_REQUEST ? deaf : 0)] as const)
    .filter(([, n]) => n > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([how, n]) => `${n} ended ${how}`);
  if (deaf > 0) why.push(`${deaf} replaced as deaf`);
  return why.length > 0 ? ` (workers: ${why.join(', ')})` : '';
}
