/**
 * The webhook step: while a webhook is set, every getUpdates gets a 409, so it is cleared, keeping the updates that wait. Source:
 * tdlib/telegram-bot-api Client.cpp (do_set_webhook: deleting is idempotent and leaves a waiting long poll alone).
 */
import type { BotApi, Reply, WebhookInfo } from './bot-api.ts';

export interface WebhookOutcome {
  /** kept: a webhook is set, and --keep-webhook was given; set-again: another program set it again before the deletion could be verified. */
  readonly kind: 'clear' | 'cleared' | 'kept' | 'set-again';
  /** Shows where the webhook points or pointed, with what may be secret masked; empty: none is or was set. */
  readonly url: string;
  readonly pending: number;
  readonly dropped: boolean;
  readonly lastError: string | null;
}

/**
 * Looks, clears unless told to keep, verifies. At most five calls; the caller retries on outages. Once the signal aborts nothing
 * more is sent; what was sent by then may still arrive.
 */
export async function clearWebhook(
  api: BotApi,
  options: { readonly keep: boolean; readonly dropPending: boolean; readonly signal?: AbortSignal },
): Promise<Reply<WebhookOutcome>> {
  const { keep, dropPending: dropped, signal } = options;
  const look = (given?: AbortSignal) => api.call<WebhookInfo>('getWebhookInfo', {}, { signal: given });
  let info = await look(signal);
  if (info.kind !== 'ok') return info;
  const { url } = info.result;
  const outcome = (now: typeof info & { kind: 'ok' }, kind: WebhookOutcome['kind']) => {
    const { pending_update_count: pending, last_error_message: lastError = null } = now.result;
    const shown = maskWebhookUrl(url || now.result.url);
    return { ...now, result: { kind, url: shown, pending, dropped, lastError } };
  };
  if (url !== '' && keep) return outcome(info, 'kept');
  if (url === '' && !dropped) return outcome(info, 'clear');
  for (let attempt = 0; attempt < 2; attempt++) {
    const params = dropped ? { drop_pending_updates: true } : {};
    // Not given up from here on: the webhook may be gone by then, and nobody else could tell of it.
    const deleted = await api.call('deleteWebhook', params);
    if (deleted.kind !== 'ok') return deleted;
    info = await look();
    if (info.kind !== 'ok') return info;
    if (info.result.url === '') return outcome(info, url === '' ? 'clear' : 'cleared');
  }
  return outcome(info, 'set-again');
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
