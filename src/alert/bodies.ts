/**
 * What is posted to --alert-url. Pure. Sources:
 * - Slack, incoming webhooks: `{"text": …}`, with &, < and > as entities (api.slack.com/docs/message-formatting, "How to escape
 *   characters"); `mrkdwn: false` leaves every other sign as it is (docs.slack.dev, ChatPostMessageArguments).
 * - Discord, execute webhook: `{"content": …}` of at most 2000 characters; `allowed_mentions: {parse: []}` pings nobody
 *   (docs.discord.com/developers/resources/webhook and …/message#allowed-mentions-object). Markdown is escaped by backslashes.
 * - ntfy, publish as JSON: POST to the root of the server, the topic in the body; JSON sent to a topic's own URL would be shown as it is
 *   (docs.ntfy.sh/publish/#publish-as-json). A message of more than 4096 bytes becomes a file.
 */
import { type AlertUrl, topicOf } from '../config/targets.ts';
import type { Message } from './message.ts';

export interface Post {
  readonly url: URL;
  readonly contentType: string;
  readonly body: string;
}

const JSON_TYPE = 'application/json';
const DISCORD_MAX = 2_000;
const NTFY_BYTES_MAX = 4_000;
const NTFY_LOOKS: Readonly<Record<Message['level'], { priority: number; tags: string[] }>> = {
  problem: { priority: 4, tags: ['warning'] },
  notice: { priority: 3, tags: ['information_source'] },
  good: { priority: 3, tags: ['white_check_mark'] },
  digest: { priority: 2, tags: ['bar_chart'] },
};

export function postOf(message: Message, { url: text, format }: AlertUrl): Post {
  const url = new URL(text);
  const json = (body: unknown): Post => ({ url, contentType: JSON_TYPE, body: JSON.stringify(body) });
  const whole = wholeText(message);
  switch (format) {
    case 'json':
      return json({ ...message, text: whole });
    case 'slack':
      return json({ text: escapeSlack(whole), mrkdwn: false });
    case 'discord':
      return json({ content: forDiscord(whole), allowed_mentions: { parse: [] } });
    case 'ntfy': {
      const topic = topicOf(url);
      url.pathname = url.pathname.replace(/\/+$/, '').replace(/[^/]*$/, '');
      const { priority, tags } = NTFY_LOOKS[message.level];
      return json({
        ...{ topic, title: message.title, message: cutBytes(message.message, NTFY_BYTES_MAX) },
        ...{ priority, tags },
      });
    }
  }
}

/** Also what a chat is sent. */
export function wholeText({ title, message }: Message): string {
  return `${title}\n${message}`;
}

function escapeSlack(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function forDiscord(text: string): string {
  const escaped = text.replace(/[\\*_~`|>#[\]<-]/g, '\\$&');
  if (escaped.length <= DISCORD_MAX) return escaped;
  // Not half of an escape, nor of a character of two units.
  return `${escaped
    .slice(0, DISCORD_MAX - 1)
    .replace(/(^|[^\\])((?:\\\\)*)\\$/, '$1$2')
    .replace(/[\ud800-\udbff]$/, '')}…`;
}

function cutBytes(text: string, max: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= max) return text;
  return `${bytes.toString('utf8', 0, max - 3).replace(/\ufffd+$/, '')}…`;
}
