/**
 * Bodies that are posted to --alert-url, one for each format. Sources:
 * - Slack, incoming webhooks: `{"text": …}`, with &, < and > as entities (api.slack.com/docs/message-formatting, "How to escape
 *   characters"); `mrkdwn: false` leaves every other sign as it is (docs.slack.dev, ChatPostMessageArguments).
 * - Discord, execute webhook: `{"content": …}` of at most 2000 characters; `allowed_mentions: {parse: []}` pings nobody
 *   (docs.discord.com/developers/resources/webhook and …/message#allowed-mentions-object). Markdown is escaped by backslashes.
 * - ntfy, publish as JSON: POST to the root of the server, the topic in the body; JSON sent to a topic's own URL would be shown as it is
 *   (docs.ntfy.sh/publish/#publish-as-json). A message of more than 4096 bytes becomes a file.
 */
import { type AlertUrl, topicOf } from '../config/targets.ts';
import { type Message, wholeText } from './message.ts';

const DISCORD_MAX = 2_000;
const NTFY_BYTES_MAX = 4_000;
const NTFY_LOOKS: Readonly<Record<Message['level'], { priority: number; tags: string[] }>> = {
  problem: { priority: 4, tags: ['warning'] },
  notice: { priority: 3, tags: ['information_source'] },
  good: { priority: 3, tags: ['white_check_mark'] },
  digest: { priority: 2, tags: ['bar_chart'] },
};

/** The JSON to post, and where. */
export function postOf(message: Message, { url: text, format }: AlertUrl): { url: URL; body: string } {
  const url = new URL(text);
  const whole = wholeText(message);
  const body = (): unknown => {
    switch (format) {
      case 'json':
        return { ...message, text: whole };
      case 'slack':
        return { text: escapeSlack(whole), mrkdwn: false };
      case 'discord':
        return { content: forDiscord(whole), allowed_mentions: { parse: [] } };
      case 'ntfy': {
        const { title, level } = message;
        const cut = cutBytes(message.message, NTFY_BYTES_MAX);
        return { topic: topicOf(new URL(text)), title, message: cut, ...NTFY_LOOKS[level] };
      }
    }
  };
  if (format === 'ntfy') url.pathname = url.pathname.replace(/\/+$/, '').replace(/[^/]*$/, '');
  return { url, body: JSON.stringify(body()) };
}

function escapeSlack(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function forDiscord(text: string): string {
  const escaped = text.replace(/[\\*_~`|>#[\]<-]/g, '\\$&');
  if (escaped.length <= DISCORD_MAX) return escaped;
  // Not half of an escape, nor of a character of two units.
  const cut = escaped.slice(0, DISCORD_MAX - 1).replace(/(^|[^\\])((?:\\\\)*)\\$/, '$1$2');
  return `${cut.replace(/[\ud800-\udbff]$/, '')}…`;
}

function cutBytes(text: string, max: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= max) return text;
  return `${bytes.toString('utf8', 0, max - 3).replace(/\ufffd+$/, '')}…`;
}
