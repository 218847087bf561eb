/**
 * Writes alerts and the daily digest for people: short, without a token, the next command last; and the bodies for --alert-url.
 * - Slack, incoming webhooks: &, < and > as entities (api.slack.com/docs/message-formatting, "How to escape characters");
 *   `mrkdwn: false` leaves every other sign as it is (docs.slack.dev, ChatPostMessageArguments).
 * - Discord, execute webhook: at most 2000 characters; `allowed_mentions: {parse: []}` pings nobody
 *   (docs.discord.com/developers/resources/webhook and …/message#allowed-mentions-object). Markdown is escaped by backslashes.
 * - ntfy, publish as JSON: POST to the root of the server, the topic in the body; JSON sent to a topic's own URL would be shown
 *   raw (docs.ntfy.sh/publish/#publish-as-json). A message of more than 4096 bytes becomes a file.
 */
import type { AlertUrl } from '../config/checks.ts';
import { topicOf } from '../config/targets.ts';
import { spanWords, sumWords } from '../output/history-view.ts';
import { maskText } from '../output/mask.ts';
import { plain } from '../output/plain.ts';
import { count, duration, leaseWords, ON_REQUEST } from '../output/words.ts';
import { DAY_MS, type Summary } from '../supervisor/history.ts';
import type { Look } from './events.ts';
import { ALERT_KINDS, type Alert, type AlertKind } from './gate.ts';

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
  /** How many more events of the kind came since the last alert. */
  readonly more: number;
}

export interface Sender extends Pick<Message, 'bot' | 'botId' | 'host'> {
  readonly secrets: readonly string[];
}

const TEXT_MAX = 600;
const LINE_MAX = 200;

export function alertMessage(alert: Alert, { secrets, ...sender }: Sender): Message {
  const { kind, more, atMs, lines = [] } = alert;
  const [name, level] = ALERT_KINDS[kind];
  const clean = (text: string, max = TEXT_MAX) => plain(maskText(text, secrets), max);
  const at = new Date(atMs).toISOString();
  const isOver = kind === 'recovered';
  const over = alert.over.map((it) => ALERT_KINDS[it][0]).join(', ');
  const hint = alert.hint === null ? null : clean(alert.hint);
  const told = [
    isOver ? `all is well again after: ${over}` : clean(alert.text),
    `${isOver ? 'since' : 'at'} ${at.slice(0, 19).replace('T', ' ')} UTC`,
    ...(more > 0 ? [`and ${count(more, 'time')} more since the last alert`] : []),
    ...(lines.length > 0 ? ['its last lines:', ...lines.map((line) => `| ${clean(line, LINE_MAX)}`)] : []),
    ...(hint === null ? [] : [`next: ${hint}`]),
  ];
  const title = `${name}: ${sender.bot} on ${sender.host}`;
  return { ...sender, event: kind, level, title, message: told.join('\n'), at, hint, more };
}

/** `since`: the look at the last digest or at the start. `summary` sums up the history of a span that ends now. */
export function digestMessage(
  since: Look,
  now: Look,
  summary: (spanMs: number) => Summary,
  { secrets, ...sender }: Sender,
): Message {
  const lines = digestLines(since, now, summary).map((line) => plain(maskText(line, secrets), TEXT_MAX));
  return {
    ...{ ...sender, event: 'digest', level: 'digest', hint: null, more: 0 },
    title: `daily digest: ${sender.bot} on ${sender.host}`,
    message: lines.join('\n'),
    at: new Date(now.unixMs).toISOString(),
  };
}

export const wholeText = ({ title, message }: Message): string => `${title}\n${message}`;

function digestLines(since: Look, now: Look, summary: (spanMs: number) => Summary): string[] {
  const { doc, unixMs, tally } = now;
  const { polling, webhook, lease, supervisor, alerts } = doc;
  const risen = (of: (look: Look) => number | undefined) => (of(now) ?? 0) - (of(since) ?? 0);
  const periodMs = Math.max(1, unixMs - since.unixMs);
  const polled = share(summary(periodMs).polledMs / periodMs);
  const startedAt = supervisor?.startedAt;
  const up = startedAt ? `, supervisor up ${duration(Math.max(0, unixMs - Date.parse(startedAt)))}` : '';
  const polls = risen((it) => it.doc.polling?.polls);
  const updates = risen((it) => it.doc.polling?.updates);
  const stolen = risen((it) => it.doc.polling?.stolen);
  const conflicts = (of: 'poller' | 'webhook') => risen((it) => it.doc.polling?.conflicts[of]);
  const set = tally.webhookSetAgain - since.tally.webhookSetAgain;
  const pending = webhook ? `, ${count(webhook.pendingUpdates, 'update')} waiting` : '';
  const isSeen = polling?.via !== 'direct' || polling.polls > 0;
  const ofPolling = [
    isSeen ? `polls: ${polls}, updates: ${updates}` : 'polls and updates: past the gateway, so not seen',
  ];
  const ofOthers = [
    `conflicts (409): ${conflicts('poller')} with another poller, ${conflicts('webhook')} with a webhook`,
    ...(stolen > 0 ? [`updates taken by somebody else: ${stolen}`] : []),
    `strays stopped: ${tally.straysStopped - since.tally.straysStopped}`,
    `webhook: set again ${count(set, 'time')}, now ${webhook?.url || 'none'}${pending}`,
  ];
  return [
    `in the last ${duration(periodMs)}: ${polling ? 'polled' : 'ran'} ${polled} of the time${up}`,
    ...(polling ? ofPolling : []),
    ...(polling ? dayLines(summary(DAY_MS)) : []),
    `restarts: ${risen((it) => it.doc.worker?.restarts)}${reasons(since, now)}`,
    ...(polling ? ofOthers : []),
    ...(lease ? [`lease: ${leaseWords(lease, unixMs)}`] : []),
    `problems now: ${doc.problems.map(({ message }) => message).join('; ') || 'none'}`,
    ...(alerts ? [`alerts since the start: ${alerts.sent} delivered, ${alerts.failed} failed`] : []),
    `singlepoll ${supervisor?.version ?? 'unknown'}, Node ${process.version.slice(1)}`,
  ];
}

/** Covers all supervisors of the last day. */
function dayLines(day: Summary): string[] {
  const [longest] = day.spans.filter(({ state }) => state !== 'standby');
  const worst = longest
    ? [`the longest trouble: ${longest.state} of ${duration(longest.lastedMs)}, ${spanWords(longest, 'UTC')}`]
    : [];
  return [`the last day by minutes: ${sumWords(day)}`, ...worst];
}

/** Never rounded up to 100 %. */
function share(part: number): string {
  const percent = Math.min(100, Math.max(0, part * 100));
  return percent >= 99.995 ? '100 %' : `${(Math.floor(percent * 100) / 100).toFixed(percent < 99 ? 1 : 2)} %`;
}

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

const DISCORD_MAX = 2_000;
const NTFY_BYTES_MAX = 4_000;
const NTFY_LOOKS: Readonly<Record<Message['level'], { priority: number; tags: string[] }>> = {
  problem: { priority: 4, tags: ['warning'] },
  notice: { priority: 3, tags: ['information_source'] },
  good: { priority: 3, tags: ['white_check_mark'] },
  digest: { priority: 2, tags: ['bar_chart'] },
};

const BODIES: Readonly<Record<AlertUrl['format'], (message: Message, url: URL) => object>> = {
  json: (message) => ({ ...message, text: wholeText(message) }),
  slack: (message) => ({
    text: wholeText(message).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;'),
    mrkdwn: false,
  }),
  discord: (message) => ({
    content: forDiscord(fitting(wholeText(message), DISCORD_MAX, (text) => forDiscord(text).length)),
    allowed_mentions: { parse: [] },
  }),
  ntfy: ({ title, message, level }, url) => ({
    ...{ topic: topicOf(url), title, ...NTFY_LOOKS[level] },
    message: fitting(message, NTFY_BYTES_MAX, Buffer.byteLength),
  }),
};

export function postOf(message: Message, { url: text, format }: AlertUrl): { url: URL; body: string } {
  const url = new URL(text);
  const body = JSON.stringify(BODIES[format](message, url));
  if (format === 'ntfy') url.pathname = url.pathname.replace(/\/+$/, '').replace(/[^/]*$/, '');
  return { url, body };
}

/** The beginning of a text that is not longer than a place takes. */
function fitting(text: string, max: number, sizeOf: (text: string) => number): string {
  const characters = [...text];
  while (sizeOf(characters.join('')) > max) characters.splice(-10, 10, '…');
  return characters.join('');
}

const forDiscord = (text: string): string => text.replace(/[\\*_~`|>#[\]<-]/g, '\\$&');
