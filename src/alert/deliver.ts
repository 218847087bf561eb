/**
 * Brings messages to the admin chat, by the real API root and token and never through the gateway, and to --alert-url. Each place has a
 * queue of its own: one that hangs or fails keeps nobody else waiting. Loaded with the first message.
 */
import type { AlertConfig, AlertUrl } from '../config/targets.ts';
import {
  answered,
  type Delivery,
  emptyOutbox,
  hurry,
  isFailing,
  type Outbox,
  outboxDueMs,
  put,
  take,
} from '../core/outbox.ts';
import type { AlertsEntry } from '../core/status.ts';
import { plain } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import { count, duration } from '../output/words.ts';
import { openBotApi } from '../telegram/bot-api.ts';
import { explain } from '../telegram/explain.ts';
import { openTransport, type Transport } from '../telegram/transport.ts';
import { postOf, wholeText } from './bodies.ts';
import type { Message } from './message.ts';

export interface Deliveries {
  post(message: Message): void;
  entry(): AlertsEntry;
  failing(): boolean;
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

interface Place {
  readonly name: string;
  send(message: Message): Promise<Delivery>;
  /** Nothing waits any more: no connection is held. */
  rest(): void;
}

/** 4096 is what a message may have. */
const CHAT_TEXT_MAX = 4_000;
const TIMEOUT_MS = 10_000;
const TIMER_MAX_MS = 2 ** 31 - 1;

export function openDeliveries({ alerts, apiRoot, token, report }: DeliveriesOptions): Deliveries {
  const lanes: Lane[] = [];
  const changed: (() => void)[] = [];
  const onChange = () => {
    for (const listener of changed) listener();
  };
  if (alerts.chat !== null && token !== null)
    lanes.push(createLane(chatPlace(apiRoot, token, alerts.chat), report, onChange));
  if (alerts.url) lanes.push(createLane(urlPlace(alerts.url), report, onChange));
  const boxes = () => lanes.map((it) => it.box());
  const sum = (of: (box: Outbox<Message>) => number) => boxes().reduce((total, box) => total + of(box), 0);

  return {
    post(message) {
      for (const lane of lanes) lane.put(message);
    },
    entry: () => ({
      sent: sum((it) => it.sent),
      failed: sum((it) => it.failed),
      waiting: sum((it) => it.waiting.length),
      lastError: boxes().findLast(({ lastError }) => lastError !== null)?.lastError ?? null,
    }),
    failing: () => boxes().some(isFailing),
    async finish(ms, cut) {
      const deadlineMs = performance.now() + ms;
      for (const lane of lanes) lane.hurry();
      const pending = () => lanes.some((it) => it.pendingUntil(deadlineMs));
      if (pending() && !cut.aborted) {
        await new Promise<void>((resolve) => {
          // Not unref'd: nothing else may keep the process.
          const timer = setTimeout(resolve, ms);
          const done = () => {
            clearTimeout(timer);
            resolve();
          };
          cut.addEventListener('abort', done, { once: true });
          changed.push(() => void (pending() || done()));
        });
      }
      const left = sum((it) => it.waiting.length);
      if (left > 0)
        report.line('alert', `${count(left, 'message')} could not be delivered before the end`, 'warn');
    },
    close() {
      for (const lane of lanes) lane.close();
    },
  };
}

interface Lane {
  put(message: Message): void;
  hurry(): void;
  box(): Outbox<Message>;
  /** Something may come of waiting until then. */
  pendingUntil(deadlineMs: number): boolean;
  close(): void;
}

function createLane(place: Place, report: Report, onChange: () => void): Lane {
  let box = emptyOutbox<Message>();
  let timer: NodeJS.Timeout | null = null;
  let closed = false;

  function pump(): void {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    if (closed) return;
    const nowMs = performance.now();
    const failed = box.failed;
    const [next, message] = take(box, nowMs);
    box = next;
    if (box.failed > failed)
      report.line(
        'alert',
        `${count(box.failed - failed, 'message')} given up after an hour: ${box.lastError}`,
        'warn',
      );
    if (message) {
      void place
        .send(message)
        .catch((error: unknown): Delivery => ({ kind: 'later', error: String(error), afterMs: null }))
        .then((delivery) => settle(message, delivery));
      return;
    }
    const dueMs = outboxDueMs(box);
    if (dueMs === null) return;
    timer = setTimeout(pump, Math.min(TIMER_MAX_MS, Math.max(1, Math.ceil(dueMs - nowMs)))).unref();
  }

  function settle(message: Message, delivery: Delivery): void {
    if (closed) return;
    const before = box;
    const named: Delivery =
      delivery.kind === 'ok'
        ? delivery
        : { ...delivery, error: `${place.name}: ${plain(delivery.error, 200)}` };
    box = answered(box, named, performance.now());
    if (box.waiting.length === 0) place.rest();
    if (named.kind === 'ok') report.line('alert', `"${message.title}" told to ${place.name}`);
    else if (named.kind === 'never')
      report.line('alert', `"${message.title}" not delivered, and given up: ${named.error}`, 'warn');
    else if (before.failuresInRow === 0)
      report.line(
        'alert',
        `"${message.title}" not delivered yet: ${named.error}; tried again in ${duration(box.notBeforeMs - performance.now())}`,
        'warn',
      );
    pump();
    onChange();
  }

  return {
    put(message) {
      box = put(box, message, performance.now());
      pump();
    },
    hurry() {
      box = hurry(box, performance.now());
      pump();
    },
    box: () => box,
    pendingUntil: (deadlineMs) => box.busy || (outboxDueMs(box) ?? Number.POSITIVE_INFINITY) < deadlineMs,
    close() {
      closed = true;
      if (timer !== null) clearTimeout(timer);
      place.rest();
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
  const { host } = new URL(target.url);
  let transport: Promise<Transport> | null = null;
  const rest = () => {
    transport?.then((it) => it.close()).catch(() => {});
    transport = null;
  };
  return {
    name: host,
    async send(message) {
      const { url, contentType, body } = postOf(message, target);
      const { username, password, pathname, search } = url;
      const headers: Record<string, string> = { 'content-type': contentType };
      if (username !== '' || password !== '') {
        const pair = `${decode(username)}:${decode(password)}`;
        headers.authorization = `Basic ${Buffer.from(pair).toString('base64')}`;
        url.username = '';
        url.password = '';
      }
      try {
        transport ??= openTransport(url, process.env, headers);
        const { post } = await transport;
        const { status, text, retryAfter } = await post(
          pathname + search,
          body,
          AbortSignal.timeout(TIMEOUT_MS),
        );
        return judge(status, withoutSecrets(text, target.url), retryAfter);
      } catch (error) {
        return { kind: 'later', error: explain(error, url), afterMs: null };
      }
    },
    rest,
  };
}

/** What an answer means; exported for its tests. `retryAfter`: the header; Discord also says it in the body. */
export function judge(status: number, text: string, retryAfter: string | null): Delivery {
  if (status >= 200 && status < 300) return { kind: 'ok' };
  const error = `HTTP ${status}`;
  if (status >= 300 && status < 400)
    return { kind: 'never', error: `${error}, and redirects are not followed` };
  if (status === 429) return { kind: 'later', error, afterMs: askedMs(text, retryAfter) };
  if (status >= 500 || status === 408 || status === 425) return { kind: 'later', error, afterMs: null };
  return { kind: 'never', error: `${error}${text.trim() === '' ? '' : ` ${plain(text.trim(), 100)}`}` };
}

/** An answer may repeat what it was asked for. */
function withoutSecrets(text: string, target: string): string {
  const { pathname, search, username, password } = new URL(target);
  const secrets = [...pathname.split('/'), ...search.slice(1).split(/[&=]/), username, password];
  return secrets
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

const ASKED_MAX_MS = 3_600_000;

function askedMs(text: string, retryAfter: string | null): number | null {
  const date =
    retryAfter === null || /^\s*\d/.test(retryAfter) ? Number.NaN : Date.parse(retryAfter) - Date.now();
  const header = retryAfter === null ? Number.NaN : Number(retryAfter) * 1_000;
  const ms = [header, date, bodyMs(text)].find((it) => Number.isFinite(it) && it >= 0);
  return ms === undefined ? null : Math.min(ASKED_MAX_MS, ms);
}

function bodyMs(text: string): number {
  try {
    return Number((JSON.parse(text) as { retry_after?: unknown } | null)?.retry_after ?? Number.NaN) * 1_000;
  } catch {
    return Number.NaN;
  }
}
