/**
 * Keeps the webhook away: verified before the first worker, looked at beside every later spawn and now and then while running. A
 * webhook that somebody sets again is cleared again, counted and named.
 */
import { EXIT, SinglepollError } from '../errors.ts';
import { WEBHOOK_CURE } from '../gateway/words.ts';
import { count } from '../output/words.ts';
import type { BotApi } from '../telegram/bot-api.ts';
import type { ApiReach } from '../telegram/reach.ts';
import { retrying, tokenRefused } from '../telegram/reach.ts';
import { clearWebhook, type WebhookOutcome } from '../telegram/webhook.ts';
import type { WebhookWatch } from './ahead.ts';
import type { Run } from './run.ts';
import type { Ending } from './table.ts';

const AGAIN_MIN_MS = 2_000;
const SETTLES_MS = 300;

export function createWebhookWatch(run: Run, api: BotApi, reach: ApiReach): WebhookWatch {
  const { report, status, config, bus, loop } = run;
  let busy: { readonly look: Promise<void>; readonly abandoned: AbortSignal } | null = null;
  let lastMs = Number.NEGATIVE_INFINITY;

  const clear = async (dropPending: boolean, signal: AbortSignal) =>
    await clearWebhook(api, { keep: config.keepWebhook, dropPending, signal });

  function note({ kind, url, pending, lastError }: WebhookOutcome, isRunning: boolean): void {
    if (kind === 'kept') return;
    const isStill = kind === 'set-again';
    const webhook = {
      ...{ url: isStill ? url : '', pendingUpdates: isStill ? 0 : pending },
      lastError: kind === 'clear' ? lastError : null,
    };
    status.note({ kind: 'webhook-seen', webhook });
    if (kind === 'clear') return;
    status.note({ kind: 'webhook-cleared' });
    if (isStill || isRunning) status.note({ kind: 'webhook-set', url });
  }

  async function first(mayDrop: boolean, signal: AbortSignal): Promise<Ending | null> {
    let outcome: WebhookOutcome;
    const ask = () => clear(config.dropPending && mayDrop, signal);
    const say = (text: string) => report.line('webhook', text, 'warn');
    try {
      outcome = await retrying('webhook', ask, config, signal, say);
    } catch (error) {
      // Nobody waits for the answer.
      if (signal.aborted) return null;
      if (!(error instanceof SinglepollError)) throw error;
      return { code: error.exitCode, reason: error.message, hint: error.hint };
    }
    lastMs = performance.now();
    note(outcome, false);
    const { text, ending } = webhookWords(outcome);
    if (outcome.kind === 'kept') return ending;
    report.line('webhook', text, ending ? 'error' : 'good');
    return null;
  }

  function again(abandoned: AbortSignal, hurry = false): Promise<void> {
    if (status.record.webhookOfWorker || abandoned.aborted) return Promise.resolve();
    if (busy && !busy.abandoned.aborted) return busy.look;
    if (!hurry && performance.now() - lastMs < AGAIN_MIN_MS) return Promise.resolve();
    // An abandoned look begins nothing more, but tells of the webhook that it may have deleted already.
    const mine = { look: Promise.resolve(busy?.look).then(() => look(abandoned)), abandoned };
    busy = mine;
    return mine.look.finally(() => {
      if (busy === mine) busy = null;
    });
  }

  async function look(signal: AbortSignal): Promise<void> {
    // A webhook that comes back is never a reason to drop what users have sent meanwhile.
    const reply = await clear(false, signal);
    const isCleared =
      reply.kind === 'ok' && (reply.result.kind === 'cleared' || reply.result.kind === 'set-again');
    if (signal.aborted && !isCleared) return;
    lastMs = performance.now();
    const isOut = reply.kind === 'outage';
    if (isOut) reach.failed(reply.description);
    else reach.answered();
    bus.apiReached.tell(!isOut);
    if (reply.kind === 'refused') loop.send({ kind: 'blocked', ending: tokenRefused(config, reply) });
    if (reply.kind !== 'ok') return;
    const outcome = reply.result;
    note(outcome, true);
    if (isCleared) {
      bus.webhookCleared.tell();
      const end = outcome.kind === 'cleared' ? 'cleared again, updates kept' : 'it comes back at once';
      const text = `somebody set a webhook while we poll: ${outcome.url}; ${end} (${status.record.tally.webhookSetAgain} so far)`;
      report.line('webhook', text, 'error');
    } else if (outcome.kind === 'kept') {
      const reason = `somebody set a webhook while we polled (${outcome.url}), and --keep-webhook was given: nobody can poll beside it`;
      loop.send({ kind: 'blocked', ending: { code: EXIT.config, reason, hint: KEPT_CURE } });
    }
  }

  // The 409 comes when somebody begins to set a webhook: once it is set, it can be named.
  bus.webhookSeen.add(() => {
    const clear = () => void again(loop.abandoned, true).then(bus.webhookCleared.tell);
    setTimeout(clear, SETTLES_MS).unref();
  });
  return { first, again };
}

/** What it means before a worker is started. `ending`: nobody can poll then, or not for long. */
export function webhookWords({ kind, url, pending, dropped }: WebhookOutcome) {
  if (kind === 'clear' || kind === 'cleared') {
    const waiting = pending === 0 ? 'no updates waiting' : `${count(pending, 'update')} waiting`;
    const rest = dropped ? 'waiting updates dropped, as asked' : waiting;
    if (kind === 'clear') return { text: `none set; ${rest}`, ending: null };
    const kept = dropped || pending === 0 ? '' : ', kept';
    return { text: `was set to ${url}: cleared and verified; ${rest}${kept}`, ending: null };
  }
  const [code, hint, text] =
    kind === 'kept'
      ? [
          EXIT.config,
          KEPT_CURE,
          `a webhook is set (${url}) and --keep-webhook was given: nobody can poll beside it`,
        ]
      : [EXIT.otherPoller, WEBHOOK_CURE, `somebody sets the webhook again as soon as it is cleared: ${url}`];
  return { text, ending: { code, reason: text, hint } };
}

const KEPT_CURE = 'singlepoll reset --no-keep-webhook    # clears it, and starts again';
