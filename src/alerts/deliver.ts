/** Brings messages to the admin chat, by the real API root and token and never through the gateway, and to --alert-url. */
import type { AlertConfig, AlertUrl } from '../config/targets.ts';
import { plain } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import { count } from '../output/words.ts';
import type { AlertsEntry } from '../supervisor/status.ts';
import { openBotApi } from '../telegram/bot-api.ts';
import { explain, type HttpClient, openHttpClient } from '../telegram/http-client.ts';
import { postOf } from './formats.ts';
import { type Message, wholeText } from './message.ts';
import { type Counts, createQueue, type Delivery, type Place } from './queue.ts';

export interface Deliveries {
  post(message: Message): void;
  entry(): AlertsEntry;
  isFailing(): boolean;
  /** Waits until everything is delivered or given up, but no longer than `ms`, nor for a place that would be tried later only. */
  finish(ms: number, cut: AbortSignal): Promise<void>;
  close(): void;
}

export interface DeliveriesOptions {
  readonly alerts: AlertConfig;
  readonly apiRoot: string;
  readonly token: string | null;
  readonly report: Report;
}

/** 4096 is what a message may have. */
const CHAT_TEXT_MAX = 4_000;
const TIMEOUT_MS = 10_000;
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;
const ASKED_MAX_MS = 3_600_000;

export function openDeliveries({ alerts, apiRoot, token, report }: DeliveriesOptions): Deliveries {
  let onChange = (): void => {};
  const places = [
    ...(alerts.chat !== null && token !== null ? [chatPlace(apiRoot, token, alerts.chat)] : []),
    ...(alerts.url ? [urlPlace(alerts.url)] : []),
  ];
  const queues = places.map((place) => createQueue(place, report, () => onChange()));
  const sum = (name: 'sent' | 'failed' | 'waiting') =>
    queues.reduce((total, queue) => total + queue.counts()[name], 0);
  const lastError = ({ lastError: it }: Counts) => it;
  return {
    post(message) {
      for (const queue of queues) queue.post(message);
    },
    entry: () => ({
      ...{ sent: sum('sent'), failed: sum('failed'), waiting: sum('waiting') },
      lastError: queues.map((queue) => lastError(queue.counts())).findLast((it) => it !== null) ?? null,
    }),
    isFailing: () => queues.some((queue) => queue.counts().isFailing),
    async finish(ms, cut) {
      const deadlineMs = performance.now() + ms;
      for (const queue of queues) queue.hurry();
      const isPending = () => queues.some((queue) => queue.isPending(deadlineMs));
      if (isPending() && !cut.aborted)
        await new Promise<void>((resolve) => {
          // Not unref'd: nothing else may keep the process.
          const timer = setTimeout(resolve, ms);
          const done = () => {
            clearTimeout(timer);
            resolve();
          };
          cut.addEventListener('abort', done, { once: true });
          onChange = () => void (isPending() || done());
        });
      const left = sum('waiting');
      if (left > 0)
        report.line('alert', `${count(left, 'message')} could not be delivered before the end`, 'warn');
    },
    close() {
      for (const queue of queues) queue.close();
    },
  };
}

function chatPlace(apiRoot: string, token: string, chat: string): Place {
  const api = openBotApi(apiRoot, token);
  return {
    name: 'the admin chat',
    async send(message) {
      const text = wholeText(message).slice(0, CHAT_TEXT_MAX);
      const params = { chat_id: chat, text, link_preview_options: { is_disabled: true } };
      const reply = await api.call('sendMessage', params, { timeoutMs: TIMEOUT_MS });
      switch (reply.kind) {
        case 'ok':
          return { kind: 'ok' };
        case 'flood':
          return { kind: 'later', error: reply.description, afterMs: reply.retryAfterMs };
        case 'outage':
          return { kind: 'later', error: reply.description, afterMs: null };
        default:
          return { kind: 'never', error: `${reply.status} ${reply.description}` };
      }
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
      const pair = Buffer.from(`${decode(username)}:${decode(password)}`).toString('base64');
      const credentials = username === '' && password === '' ? [] : ['authorization', `Basic ${pair}`];
      url.username = '';
      url.password = '';
      try {
        client ??= openHttpClient({ root: url, connections: 1 });
        const answer = await client.ask({
          path: pathname + search,
          headers: ['content-type', 'application/json', 'user-agent', 'singlepoll', ...credentials],
          body,
          answerBytesMax: ANSWER_BYTES_MAX,
          signal: AbortSignal.timeout(TIMEOUT_MS),
        });
        const text = withoutSecrets(answer.body.toString('utf8'), target.url);
        return judge(answer.status, text, answer.headers['retry-after'] ?? null);
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

/** Decides what an answer means. `retryAfter` is the header; Discord also says it in the body. */
export function judge(status: number, text: string, retryAfter: string | null): Delivery {
  if (status >= 200 && status < 300) return { kind: 'ok' };
  const error = `HTTP ${status}`;
  if (status >= 300 && status < 400)
    return { kind: 'never', error: `${error}, and redirects are not followed` };
  if (status === 429) return { kind: 'later', error, afterMs: askedMs(text, retryAfter) };
  if (status >= 500 || status === 408 || status === 425) return { kind: 'later', error, afterMs: null };
  return { kind: 'never', error: `${error} ${plain(text.trim(), 100)}`.trimEnd() };
}

/** Seconds or a date in the header, else seconds in the body. */
function askedMs(text: string, header: string | null): number | null {
  const inBody = /"retry_after"\s*:\s*([\d.]+)/.exec(text)?.[1];
  const asked = [
    Number(header ?? Number.NaN) * 1_000,
    Date.parse(/^\s*\d/.test(header ?? '0') ? '' : header!) - Date.now(),
    Number(inBody ?? Number.NaN) * 1_000,
  ].find((ms) => Number.isFinite(ms) && ms >= 0);
  return asked === undefined ? null : Math.min(ASKED_MAX_MS, asked);
}

/** An answer may repeat what it was asked for. */
function withoutSecrets(text: string, target: string): string {
  const { pathname, search, username, password } = new URL(target);
  return [...pathname.split('/'), ...search.slice(1).split(/[&=]/), username, password]
    .filter((it) => it.length > 3)
    .flatMap((it) => [it, decode(it), encodeURIComponent(it), encodeURIComponent(decode(it))])
    .sort((a, b) => b.length - a.length)
    .map((it) => new RegExp(it.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'), 'gi'))
    .reduce((rest, secret) => rest.replace(secret, '…'), text);
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
