/**
 * The program's own calls of the Bot API. Answers need not be JSON: front ends answer 502 with HTML.
 * Sources: tdlib/telegram-bot-api Query.cpp (error shapes, retry_after), Client.cpp (texts).
 */
import { parseObject } from '../config/files.ts';
import { maskText } from '../output/mask.ts';
import { plain } from '../output/plain.ts';
import { explain, openHttpClient, type WholeAnswer } from './http-client.ts';

export type Reply<T = unknown> =
  | ({ readonly kind: 'ok'; readonly result: T } & Measured)
  /** 401 or 404: the token (or the API root) is wrong, so asking again won't help. */
  | { readonly kind: 'refused'; readonly status: number; readonly description: string }
  | { readonly kind: 'flood'; readonly retryAfterMs: number; readonly description: string }
  /** 5xx, no JSON, reset, time-out, no route: the call may or may not have been carried out. */
  | { readonly kind: 'outage'; readonly description: string }
  /** Any other Bot API error: the request was understood and refused. `conflict`: what blocks a getUpdates. */
  | {
      readonly kind: 'error';
      readonly status: number;
      readonly description: string;
      readonly conflict: 'poller' | 'webhook' | null;
    };

interface Measured {
  readonly tookMs: number;
  /** Length of a 409 of this server on the wire; null if unknown. */
  readonly conflictBytes: number | null;
}

export interface BotApi {
  call<T>(method: string, params?: Record<string, unknown>, options?: CallOptions): Promise<Reply<T>>;
  close(): void;
}

interface CallOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

export interface Me {
  readonly id: number;
  readonly username?: string;
  readonly first_name?: string;
}

export interface WebhookInfo {
  readonly url: string;
  readonly pending_update_count: number;
  readonly last_error_message?: string;
}

/** The server shortens longer timeouts of getUpdates to this (tdlib/telegram-bot-api Client.h, LONG_POLL_MAX_TIMEOUT). */
export const LONG_POLL_MAX_S = 50;
/** The server delays a 409 that follows another one within this time by as much (Client::fail_query_conflict). */
export const CONFLICT_HOLD_MS = 3_000;

const TIMEOUT_MS = 10_000;
const CONNECTIONS_MAX = 4;
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;
const HEADERS = ['content-type', 'application/json', 'user-agent', 'singlepoll'];

/** The first call connects. `given`: the token, as a function if it may change. */
export function openBotApi(apiRoot: string, given: string | (() => string)): BotApi {
  const url = new URL(apiRoot);
  const rootPath = url.pathname.replace(/\/+$/, '');
  const client = openHttpClient(url, CONNECTIONS_MAX);

  return {
    async call<T>(method: string, params: Record<string, unknown> = {}, options: CallOptions = {}) {
      const startedAtMs = performance.now();
      const token = typeof given === 'string' ? given : given();
      const tokens = [token];
      const signals = [AbortSignal.timeout(options.timeoutMs ?? TIMEOUT_MS)];
      if (options.signal) signals.push(options.signal);
      try {
        const answer = await client.ask({
          path: `${rootPath}/bot${token}/${method}`,
          headers: HEADERS,
          body: JSON.stringify(params),
          answerBytesMax: ANSWER_BYTES_MAX,
          signal: AbortSignal.any(signals),
        });
        const reply = classify<T>(answer.status, answer.body.toString('utf8'), {
          tookMs: performance.now() - startedAtMs,
          conflictBytes: client.proxied ? null : conflictBytes(answer, url),
        });
        // A front end's description may hold the requested path (and so the token), or control characters.
        if (reply.kind !== 'ok') return { ...reply, description: clean(reply.description, tokens) };
        return checked(method, reply, tokens);
      } catch (error) {
        return { kind: 'outage', description: maskText(explain(error, url), tokens) };
      }
    },
    close: client.close,
  };
}

/** Classifies an answer; pure. `measured` is only passed through. */
export function classify<T>(
  status: number,
  text: string,
  measured: Measured = { tookMs: 0, conflictBytes: null },
): Reply<T> {
  // Null: a front end has answered, not the Bot API itself.
  const body = parseObject<Record<string, unknown>>(text);
  if (body?.ok === true) return { kind: 'ok', result: body.result as T, ...measured };
  const bare = status === 200 ? 'HTTP 200, but no answer of a Bot API' : `HTTP ${status}`;
  const description = typeof body?.description === 'string' ? body.description : bare;
  if (status === 429) {
    const seconds = Number((body?.parameters as Record<string, unknown> | undefined)?.retry_after);
    return { kind: 'flood', retryAfterMs: (Number.isFinite(seconds) ? seconds : 1) * 1000, description };
  }
  if (status === 401 || status === 404) return { kind: 'refused', status, description };
  if (body?.ok !== false || status >= 500) return { kind: 'outage', description };
  return { kind: 'error', status, description, conflict: status === 409 ? conflictOf(description) : null };
}

/** `webhook`: one is active, being set or deleted. A poller's 409 once read "terminated by other long poll or webhook". */
function conflictOf(description: string): 'poller' | 'webhook' {
  return /webhook/i.test(description) && !/other getUpdates|long poll/i.test(description)
    ? 'webhook'
    : 'poller';
}

/** `{"ok":false,"error_code":409,"description":"Conflict: terminated by other getUpdates request; make sure …"}` (Query.cpp). */
const CONFLICT_BODY_BYTES = 143;
/** What one record of TLS 1.3 adds. */
const TLS_BYTES = 22;

/** Computes the length of a 409 of this server on the wire from the headers of another answer. */
function conflictBytes({ statusMessage, rawHeaders }: WholeAnswer, { protocol }: URL): number {
  // `HTTP/1.1 409 Conflict`, then `name: value` lines, then an empty line.
  const status = 'HTTP/1.1 409 '.length + 'Conflict'.length - 'OK'.length + statusMessage.length + 2;
  const head = rawHeaders.reduce((sum, text) => sum + Buffer.byteLength(text, 'latin1') + 2, status) + 2;
  return head + CONFLICT_BODY_BYTES + (protocol === 'https:' ? TLS_BYTES : 0);
}

function clean(text: string, tokens: readonly string[]): string {
  return plain(maskText(text, tokens), 300);
}

/** Turns an ok without the expected result into an outage: it does not come from the Bot API. */
function checked<T>(
  method: string,
  reply: Extract<Reply<T>, { kind: 'ok' }>,
  tokens: readonly string[],
): Reply<T> {
  const shape = SHAPES[method];
  const result = (reply.result ?? {}) as Record<string, unknown>;
  if (shape && !shape(result)) return { kind: 'outage', description: `an answer that is none to ${method}` };
  const lastError = result.last_error_message;
  if (typeof lastError !== 'string') return reply;
  return { ...reply, result: { ...reply.result, last_error_message: clean(lastError, tokens) } };
}

const SHAPES: Readonly<Record<string, (result: Record<string, unknown>) => boolean>> = {
  getMe: ({ id, username }) =>
    typeof id === 'number' && (username === undefined || /^\w{1,64}$/.test(String(username))),
  getWebhookInfo: ({ url, pending_update_count: pending }) =>
    typeof url === 'string' && typeof pending === 'number',
  getUpdates: (result) => Array.isArray(result) && result.every((it) => typeof it?.update_id === 'number'),
  sendMessage: ({ message_id: id }) => typeof id === 'number',
};
