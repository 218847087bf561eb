/**
 * Keeps the webhook away: verified before the first worker (step 6), looked at beside every later spawn and now and then
 * while running. A webhook that somebody sets again is cleared again, counted and named.
 */
import type { Ending } from '../core/supervisor.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import type { Report } from '../output/report.ts';
import type { BotApi, Reply } from '../telegram/bot-api.ts';
import { clearWebhook, type WebhookOutcome } from '../telegram/webhook.ts';
import type { Facts } from './facts.ts';
import { retrying, tokenRefused } from './identify.ts';

export interface WebhookWatchOptions {
  readonly api: BotApi;
  readonly report: Report;
  readonly facts: Facts;
  readonly token: string;
  readonly tokenSource: string;
  readonly apiRoot: string;
  readonly keep: boolean;
  readonly dropPending: boolean;
  /** How a look while running has ended: null: with an answer. */
  readonly onReached: (problem: string | null) => void;
  /** While running, a webhook was found: it may have been given updates. */
  readonly onSetAgain: () => void;
  /** While running: the token was revoked, or a webhook set that is to be kept. */
  readonly onBlocked: (ending: Ending) => void;
}

export interface WebhookWatch {
  /** Step 6: retried on outages, verified. The reason to end, or null. `mayDrop`: waiting updates, where that was asked for. */
  first(mayDrop: boolean, abandoned: AbortSignal): Promise<Ending | null>;
  /** A look while running; never two at once. `hurry`: sooner than 2 s after the last one, too. */
  again(abandoned: AbortSignal, hurry?: boolean): Promise<void>;
}

const AGAIN_MIN_MS = 2_000;

export function createWebhookWatch(options: WebhookWatchOptions): WebhookWatch {
  const { api, report, facts, token } = options;
  let busy: { readonly look: Promise<void>; readonly abandoned: AbortSignal } | null = null;
  let lastMs = Number.NEGATIVE_INFINITY;

  function note(outcome: Extract<WebhookOutcome, { pending: number }>): void {
    const lastError = outcome.kind === 'clear' ? outcome.lastError : null;
    facts.webhook = { url: '', pendingUpdates: outcome.pending, lastError };
    lastMs = performance.now();
  }

  async function first(mayDrop: boolean, signal: AbortSignal): Promise<Ending | null> {
    const dropPending = options.dropPending && mayDrop;
    let outcome: WebhookOutcome | null = null;
    const ask = async (): Promise<Reply<true>> => {
      outcome = await clearWebhook(api, { keep: options.keep, dropPending, token, signal });
      if (outcome.kind === 'failed') return outcome.reply;
      return { kind: 'ok', result: true, description: null, tookMs: 0 };
    };
    try {
      await retrying(ask, {
        what: 'webhook',
        apiRoot: options.apiRoot,
        tokenSource: options.tokenSource,
        signal,
        say: (text) => report.line('webhook', text, 'warn'),
      });
    } catch (error) {
      // Nobody waits for the answer.
      if (signal.aborted) return null;
      if (!SinglepollError.is(error)) throw error;
      return { code: error.exitCode, reason: error.message };
    }
    return sayFirst(outcome as unknown as WebhookOutcome);
  }

  function sayFirst(outcome: WebhookOutcome): Ending | null {
    switch (outcome.kind) {
      case 'clear':
        note(outcome);
        report.line('webhook', `none set; ${waiting(outcome.pending)}`, 'good');
        return null;
      case 'cleared':
        note(outcome);
        facts.webhooksCleared += 1;
        report.line(
          'webhook',
          `was set to ${outcome.url}: cleared and verified; ${outcome.dropped ? 'waiting updates dropped, as asked' : `${waiting(outcome.pending)}, kept`}`,
          'good',
        );
        return null;
      case 'kept':
        return {
          code: EXIT.config,
          reason: `a webhook is set (${outcome.url}) and --keep-webhook was given: nobody can poll beside it. Clear it by starting without --keep-webhook`,
        };
      case 'set-again':
        report.line('webhook', `somebody sets it again as soon as it is cleared: ${outcome.url}`, 'error');
        facts.webhook = { url: outcome.url, pendingUpdates: 0, lastError: null };
        facts.webhooksCleared += 1;
        facts.webhookSetAgain += 1;
        facts.lastWebhook = outcome.url;
        facts.lastWebhookSetAtMs = performance.now();
        return null;
      case 'failed':
        return { code: EXIT.unreachable, reason: outcome.reply.description };
    }
  }

  function again(abandoned: AbortSignal, hurry = false): Promise<void> {
    if (facts.webhookOfWorker || abandoned.aborted) return Promise.resolve();
    // One that was abandoned does nothing more: it is begun anew.
    if (busy && !busy.abandoned.aborted) return busy.look;
    if (!hurry && performance.now() - lastMs < AGAIN_MIN_MS) return Promise.resolve();
    const mine = { look: look(abandoned), abandoned };
    busy = mine;
    return mine.look.finally(() => {
      if (busy === mine) busy = null;
    });
  }

  async function look(signal: AbortSignal): Promise<void> {
    // A webhook that comes back is never a reason to drop what users have sent meanwhile.
    const outcome = await clearWebhook(api, { keep: options.keep, dropPending: false, token, signal });
    if (signal.aborted) return;
    lastMs = performance.now();
    const isOut = outcome.kind === 'failed' && outcome.reply.kind === 'outage';
    options.onReached(isOut ? outcome.reply.description : null);
    sayAgain(outcome);
  }

  function sayAgain(outcome: WebhookOutcome): void {
    if (outcome.kind === 'clear') {
      note(outcome);
      return;
    }
    if (outcome.kind === 'cleared' || outcome.kind === 'set-again') {
      facts.webhooksCleared += 1;
      facts.webhookSetAgain += 1;
      facts.lastWebhook = outcome.url;
      facts.lastWebhookSetAtMs = performance.now();
      options.onSetAgain();
      if (outcome.kind === 'cleared') note(outcome);
      const end = outcome.kind === 'cleared' ? 'cleared again, updates kept' : 'it comes back at once';
      report.line(
        'webhook',
        `somebody set a webhook while we poll: ${outcome.url}; ${end} (${facts.webhookSetAgain} so far)`,
        'error',
      );
      return;
    }
    if (outcome.kind === 'kept') {
      options.onBlocked({
        code: EXIT.config,
        reason: `somebody set a webhook while we polled (${outcome.url}), and --keep-webhook was given: nobody can poll beside it`,
      });
      return;
    }
    if (outcome.reply.kind === 'refused') options.onBlocked(tokenRefused(options, outcome.reply));
  }

  return { first, again };
}

function waiting(pending: number): string {
  return pending === 0 ? 'no updates waiting' : `${pending} ${pending === 1 ? 'update' : 'updates'} waiting`;
}
