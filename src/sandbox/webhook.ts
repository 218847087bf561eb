/**
 * One bot's webhook: set, deleted, checked; one change at a time. Nothing is ever delivered to it.
 * Source: tdlib/telegram-bot-api Client.cpp (process_set_webhook_query, do_set_webhook, on_webhook_closed,
 * JsonWebhookInfo) and WebhookActor.cpp.
 */

import { type Args, booleanArg, integerArg } from '../gateway/params.ts';
import { type Answer, failure, type Reply, success, tooManyRequests } from './answer.ts';
import type { Clock } from './clock.ts';
import { judgeWebhook } from './webhook-url.ts';

const SET_EVERY_MS = 1000;
/** Of the range reserved for documentation: the sandbox resolves no names. */
const SOME_ADDRESS = '203.0.113.10';

export interface WebhookPorts {
  readonly clock: Clock;
  readonly stepMs: number;
  /** Ends the call of another set or delete that is still under way. */
  readonly conflict: (reply: Reply) => void;
  readonly abortLongPoll: () => void;
  readonly dropPending: () => void;
  /** Stores `allowed_updates` of a call; true when that changed something. */
  readonly takeAllowedUpdates: (args: Args) => boolean;
}

export interface Webhook {
  /** Set, being set or being deleted: getUpdates gets a 409. */
  active(): boolean;
  set(method: 'setwebhook' | 'deletewebhook', args: Args, reply: Reply): void;
  info(pendingCount: number, allowed: ReadonlySet<string> | null): object;
  noteError(message: string): void;
  /** Drops everything at once; a set or delete under way gets `answer`. */
  forget(answer: Answer): void;
}

interface Settings {
  readonly url: string;
  readonly certificate: boolean;
  readonly maxConnections: number;
  readonly ipAddress: string;
  readonly secretToken: string;
}

const NONE: Settings = { url: '', certificate: false, maxConnections: 0, ipAddress: '', secretToken: '' };

function settingsOf(method: string, args: Args): Settings {
  const url = method === 'setwebhook' ? args.get('url') : '';
  if (url === '') return NONE;
  const certificate = args.get('certificate');
  const attached = certificate.startsWith('attach://') ? certificate.slice(9) : 'certificate';
  return {
    url,
    certificate: args.files.some((file) => file.field === attached || file.field === 'certificate'),
    maxConnections: integerArg(args, 'max_connections', 40, 1, 100),
    ipAddress: args.get('ip_address'),
    secretToken: args.get('secret_token'),
  };
}

function sameSettings(a: Settings, b: Settings): boolean {
  return (
    a.url === b.url &&
    !a.certificate &&
    !b.certificate &&
    a.maxConnections === b.maxConnections &&
    a.ipAddress === b.ipAddress &&
    a.secretToken === b.secretToken
  );
}

export function createWebhook(ports: WebhookPorts): Webhook {
  const { clock } = ports;
  let current = NONE;
  let change: { readonly wanted: Settings; readonly args: Args; readonly reply: Reply } | null = null;
  let closing = false;
  let cancelStep: () => void = () => {};
  let nextSetMs = Number.NEGATIVE_INFINITY;
  let lastError: { readonly dateS: number; readonly message: string } | null = null;

  function finish(answer: Answer): void {
    const done = change;
    change = null;
    done?.reply(answer);
  }

  function closeOld(): void {
    if (closing) return;
    cancelStep();
    closing = true;
    cancelStep = clock.after(ports.stepMs, onClosed);
  }

  function onClosed(): void {
    closing = false;
    current = NONE;
    lastError = null;
    const next = change;
    change = null;
    if (next) apply(next.wanted, next.args, next.reply, true);
  }

  function apply(wanted: Settings, args: Args, reply: Reply, wasDeleted: boolean): void {
    if (booleanArg(args, 'drop_pending_updates')) ports.dropPending();
    if (wanted.url === '') {
      reply(success(true, wasDeleted ? 'Webhook was deleted' : 'Webhook is already deleted'));
      return;
    }
    const judged = judgeWebhook(wanted.url, wanted.ipAddress, wanted.secretToken);
    if (judged.refused !== null) {
      reply(failure(400, judged.refused));
      return;
    }
    current = wanted;
    lastError = null;
    ports.takeAllowedUpdates(args);
    change = { wanted, args, reply };
    cancelStep = clock.after(ports.stepMs, () => {
      if (judged.failed !== null) {
        current = NONE;
        return finish(failure(400, judged.failed));
      }
      finish(success(true, 'Webhook was set'));
    });
  }

  return {
    // The old url stands until its webhook is closed, the new one from the moment it is checked.
    active: () => current.url !== '',

    set(method, args, reply) {
      const wanted = settingsOf(method, args);
      if (wanted.url !== '') {
        if (clock.nowMs() < nextSetMs) return reply(tooManyRequests(1));
        nextSetMs = clock.nowMs() + SET_EVERY_MS;
      }
      if (change) {
        const loser = change;
        change = null;
        ports.conflict(loser.reply);
      } else if (sameSettings(wanted, current) && !booleanArg(args, 'drop_pending_updates')) {
        ports.takeAllowedUpdates(args);
        const what = wanted.url === '' ? 'Webhook is already deleted' : 'Webhook is already set';
        return reply(success(true, what));
      }
      if (wanted.url !== '') ports.abortLongPoll();
      if (current.url === '') return apply(wanted, args, reply, false);
      change = { wanted, args, reply };
      closeOld();
    },

    info(pendingCount, allowed) {
      const set = current.url !== '';
      return {
        url: current.url,
        has_custom_certificate: current.certificate,
        pending_update_count: pendingCount,
        ...(lastError && { last_error_date: lastError.dateS, last_error_message: lastError.message }),
        ...(set && {
          max_connections: current.maxConnections,
          ip_address: current.ipAddress || SOME_ADDRESS,
        }),
        ...(allowed && { allowed_updates: [...allowed] }),
      };
    },

    noteError(message) {
      lastError = { dateS: Math.floor(clock.unixMs() / 1000), message };
    },

    forget(answer) {
      cancelStep();
      closing = false;
      current = NONE;
      lastError = null;
      finish(answer);
    },
  };
}
