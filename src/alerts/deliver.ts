/**
 * Sends messages to the admin chat, with the real API root and token, and to --alert-url. Each place has its own queue, so that one that hangs
 * delays no other: at most twenty wait, sent one by one, retried with growing waits, and given up after an hour.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { AlertConfig, AlertUrl } from '../config/checks.ts';
import { plain } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import { count, duration } from '../output/words.ts';
import { openBotApi } from '../telegram/bot-api.ts';
import { basicAuth, explain, type HttpClient, openHttpClient } from '../telegram/http-client.ts';
import { type Message, postOf, wholeText } from './message.ts';

export type Delivery =
  | { readonly kind: 'ok' }
  /** It may work later. `afterMs`: the pause that the receiver asks for. */
  | { readonly kind: 'later'; readonly error: string; readonly afterMs: number | null }
  /** Retries are pointless. */
  | { readonly kind: 'never'; readonly error: string };

export interface Place {
  readonly name: string;
  send(message: Message): Promise<Delivery>;
  /** Nothing waits any more: close the connection. */
  rest(): void;
}

const WAITING_MAX = 20;
export const GIVE_UP_AFTER_MS = 3_600_000;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 300_000;
const FAILING_TRIES = 3;

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
      try {
        const credentials = username || password ? ['authorization', basicAuth(url)] : [];
        client ??= openHttpClient(url, 1);
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
    rest: () => client?.close(),
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

export function createQueue(
  place: Place,
  report: Pick<Report, 'line'>,
  nowMs: () => number = () => performance.now(),
) {
  const waiting: { readonly message: Message; readonly sinceMs: number }[] = [];
  let [sent, failed, failuresInRow] = [0, 0, 0];
  let [hasGivenUp, isClosed] = [false, false];
  let lastError: string | null = null;
  /** Ends when nothing waits any more. */
  let delivering: Promise<void> | null = null;
  let endPause = (): void => {};

  function drop(index: number, error: string): void {
    waiting.splice(index, 1);
    failed += 1;
    hasGivenUp = true;
    lastError = error;
  }

  async function deliver(): Promise<void> {
    let waitMs = 0;
    for (let [first] = waiting; first; [first] = waiting) {
      const { message, sinceMs } = first;
      const delivery = await place
        .send(message)
        .catch((error): Delivery => ({ kind: 'later', error: String(error), afterMs: null }));
      if (isClosed) return;
      if (delivery.kind === 'ok') {
        waiting.shift();
        sent += 1;
        [failuresInRow, hasGivenUp, waitMs] = [0, false, 0];
        report.line('alert', `"${message.title}" told to ${place.name}`);
        continue;
      }
      const error = `${place.name}: ${plain(delivery.error, 200)}`;
      failuresInRow += 1;
      const leftMs = sinceMs + GIVE_UP_AFTER_MS - nowMs();
      if (delivery.kind === 'never' || leftMs <= 0) {
        drop(0, error);
        waitMs = 0;
        report.line('alert', `"${message.title}" not delivered, and given up: ${error}`, 'warn');
        continue;
      }
      lastError = error;
      waitMs = Math.min(LONGEST_WAIT_MS, waitMs * 2 || FIRST_WAIT_MS);
      const inMs = Math.min(leftMs, Math.max(waitMs, delivery.afterMs ?? 0));
      const when = `tried again in ${duration(inMs)}`;
      if (failuresInRow === 1)
        report.line('alert', `"${message.title}" not delivered yet: ${error}; ${when}`, 'warn');
      await new Promise<void>((resolve) => {
        setTimeout(resolve, inMs).unref();
        if (delivery.afterMs === null) endPause = resolve;
      });
      if (isClosed) return;
      endPause = () => {};
    }
    delivering = null;
    place.rest();
  }

  return {
    post(message: Message): void {
      waiting.push({ message, sinceMs: nowMs() });
      // The first message may be under way, so the oldest after it is dropped.
      if (waiting.length > WAITING_MAX) drop(1, 'too many messages wait');
      delivering ??= deliver();
    },
    counts: () => ({ sent, failed, waiting: waiting.length, lastError }),
    /** Shown as a problem in `status`: a message was given up, or three tries in a row have failed. */
    isFailing: () => hasGivenUp || failuresInRow >= FAILING_TRIES,
    /** Tries now, as no time is left, unless the receiver has asked for a pause. Resolves when nothing waits. */
    async hurry(): Promise<void> {
      endPause();
      await delivering;
    },
    close(): void {
      isClosed = true;
      place.rest();
    },
  };
}
