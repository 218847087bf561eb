/** Sends messages to the admin chat, with the real API root and token instead of the gateway, and to --alert-url. */
import { setTimeout as pause } from 'node:timers/promises';
import type { AlertConfig, AlertUrl } from '../config/checks.ts';
import type { Report } from '../output/report.ts';
import { count } from '../output/words.ts';
import { openBotApi } from '../telegram/bot-api.ts';
import { explain, type HttpClient, openHttpClient } from '../telegram/http-client.ts';
import { type Message, postOf, wholeText } from './message.ts';
import { createQueue, type Delivery, type Place } from './queue.ts';

export interface DeliveriesOptions {
  readonly alerts: AlertConfig;
  readonly apiRoot: string;
  readonly token: (() => string) | null;
  readonly report: Report;
}

/** Telegram's limit is 4096. */
const CHAT_TEXT_MAX = 4_000;
const TIMEOUT_MS = 10_000;
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;
const ASKED_MAX_MS = 3_600_000;

export function openDeliveries({ alerts, apiRoot, token, report }: DeliveriesOptions) {
  const places = [
    ...(alerts.chat !== null && token !== null ? [chatPlace(apiRoot, token, alerts.chat)] : []),
    ...(alerts.url ? [urlPlace(alerts.url)] : []),
  ];
  const queues = places.map((place) => createQueue(place, report));
  const sum = (name: 'sent' | 'failed' | 'waiting') =>
    queues.reduce((total, queue) => total + queue.counts()[name], 0);
  return {
    cure:
      alerts.chat === null
        ? 'check --alert-url and --alert-format'
        : 'singlepoll ping    # tries the same chat',
    post(message: Message): void {
      for (const queue of queues) queue.post(message);
    },
    entry: () => ({
      ...{ sent: sum('sent'), failed: sum('failed'), waiting: sum('waiting') },
      lastError: queues.map((queue) => queue.counts().lastError).findLast((it) => it !== null) ?? null,
    }),
    isFailing: () => queues.some((queue) => queue.isFailing()),
    /** Waits until every message is delivered or given up, but no longer than `ms`. */
    async finish(ms: number, cut: AbortSignal): Promise<void> {
      const limit = pause(ms, undefined, { signal: cut }).catch(() => {});
      await Promise.race([limit, Promise.all(queues.map((queue) => queue.hurry()))]);
      const left = sum('waiting');
      const words = `${count(left, 'message')} could not be delivered before the end`;
      if (left > 0) report.line('alert', words, 'warn');
    },
    close(): void {
      for (const queue of queues) queue.close();
    },
  };
}

function chatPlace(apiRoot: string, token: () => string, chat: string): Place {
  const api = openBotApi(apiRoot, token);
  return {
    name: 'the admin chat',
    async send(message) {
      const text = wholeText(message).slice(0, CHAT_TEXT_MAX);
      const params = { chat_id: chat, text, link_preview_options: { is_disabled: true } };
      const reply = await api.call('sendMessage', params, { timeoutMs: TIMEOUT_MS });
      if (reply.kind === 'ok') return { kind: 'ok' };
      const { description: error } = reply;
      if (reply.kind === 'flood') return { kind: 'later', error, afterMs: reply.retryAfterMs };
      if (reply.kind === 'outage') return { kind: 'later', error, afterMs: null };
      return { kind: 'never', error: `${reply.status} ${error}` };
    },
    rest: () => api.close(),
  };
}

function urlPlace(target: AlertUrl): Place {
  let client: HttpClient | null = null;
  return {
    name: new URL(target.url).host,
    async send(message) {
      const { url, body } = postOf(message, target);
      const { username, password, pathname, search } = url;
      url.username = '';
      url.password = '';
      try {
        const pair = Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`);
        const credentials = username || password ? ['authorization', `Basic ${pair.toString('base64')}`] : [];
        client ??= openHttpClient({ root: url, connections: 1 });
        const { status, headers } = await client.ask({
          path: pathname + search,
          headers: ['content-type', 'application/json', 'user-agent', 'singlepoll', ...credentials],
          body,
          answerBytesMax: ANSWER_BYTES_MAX,
          signal: AbortSignal.timeout(TIMEOUT_MS),
        });
        return judge(status, headers['retry-after']);
      } catch (error) {
        return { kind: 'later', error: explain(error, url), afterMs: null };
      }
    },
    rest() {
      client?.close();
      client = null;
    },
  };
}

/** Decides what an answer means. Its text is not shown, as it may repeat the URL. */
export function judge(status: number, retryAfter: string | undefined): Delivery {
  if (status >= 200 && status < 300) return { kind: 'ok' };
  const error = `HTTP ${status}`;
  if (status < 400) return { kind: 'never', error: `${error}, and redirects are not followed` };
  if (status < 500 && ![408, 425, 429].includes(status)) return { kind: 'never', error };
  const askedMs = Number(retryAfter ?? Number.NaN) * 1_000;
  return { kind: 'later', error, afterMs: askedMs >= 0 ? Math.min(ASKED_MAX_MS, askedMs) : null };
}
