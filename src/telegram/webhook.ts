/**
 * The webhook step: while a webhook is set, every getUpdates gets a 409, so it is cleared, keeping the updates that wait. Source:
 * tdlib/telegram-bot-api Client.cpp (do_set_webhook: deleting is idempotent and leaves a waiting long poll alone).
 */
import type { BotApi, Reply, WebhookInfo } from './bot-api.ts';

export type WebhookOutcome =
  | {
      readonly kind: 'clear';
      readonly pending: number;
      readonly dropped: boolean;
      readonly lastError: string | null;
    }
  | { readonly kind: 'cleared'; readonly url: string; readonly pending: number; readonly dropped: boolean }
  /** A webhook is set, and --keep-webhook was given. */
  | { readonly kind: 'kept'; readonly url: string }
  /** Another program set it again before the deletion could be verified. */
  | { readonly kind: 'set-again'; readonly url: string }
  | { readonly kind: 'failed'; readonly reply: Exclude<Reply, { kind: 'ok' }> };

/**
 * Looks, clears unless told to keep, verifies. At most six calls; the caller retries on outages. Once the signal aborts nothing
 * more is sent; what was sent by then may still arrive.
 */
export async function clearWebhook(
  api: BotApi,
  options: { readonly keep: boolean; readonly dropPending: boolean; readonly signal?: AbortSignal },
): Promise<WebhookOutcome> {
  const { signal } = options;
  const before = await api.call<WebhookInfo>('getWebhookInfo', {}, { signal });
  if (before.kind !== 'ok') return { kind: 'failed', reply: before };
  const url = before.result.url;
  const shown = maskWebhookUrl(url);
  if (url !== '' && options.keep) return { kind: 'kept', url: shown };
  if (url === '' && !options.dropPending) {
    const { pending_update_count: pending, last_error_message: lastError = null } = before.result;
    return { kind: 'clear', pending, dropped: false, lastError };
  }
  for (let attempt = 0; attempt < 2; attempt++) {
    const params = options.dropPending ? { drop_pending_updates: true } : {};
    const deleted = await api.call('deleteWebhook', params, { signal });
    if (deleted.kind !== 'ok') return { kind: 'failed', reply: deleted };
    const after = await api.call<WebhookInfo>('getWebhookInfo', {}, { signal });
    if (after.kind !== 'ok') return { kind: 'failed', reply: after };
    if (after.result.url === '') {
      const pending = after.result.pending_update_count;
      const { dropPending: dropped } = options;
      if (url === '') return { kind: 'clear', pending, dropped, lastError: null };
      return { kind: 'cleared', url: shown, pending, dropped };
    }
  }
  return { kind: 'set-again', url: shown };
}

/** Shows the host in full and the path's usual words; masks other words, which may be the webhook's secret, and the query. */
export function maskWebhookUrl(text: string): string {
  if (text === '' || !URL.canParse(text)) return text === '' ? '' : '…';
  const { protocol, host, pathname, search } = new URL(text);
  const isPlain = (part: string) =>
    part.split(/[-_.]/).every((word) => word === '' || PLAIN_WORDS.has(word.toLowerCase()));
  const path = pathname.split('/').map((part) => (isPlain(part) ? part : '…'));
  return `${protocol}//${host}${path.join('/')}${search ? '?…' : ''}`;
}

const PLAIN_WORDS = new Set(
  `api app bot bots callback hook hooks new old php python node js py prod production public staging dev telegram telegraf tg
  update updates v1 v2 v3 web webhook webhooks`.split(/\s+/),
);
