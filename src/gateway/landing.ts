/**
 * What an answer to getUpdates means for the door. Pure. No answer is taken for JSON unseen. Texts and codes:
 * tdlib/telegram-bot-api Client.cpp (fail_query_conflict, process_get_updates_query), Query.cpp (retry_after).
 */

import { classify, isWebhookConflict } from '../telegram/bot-api.ts';
import type { PollResult } from './door.ts';

export interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

export interface Landed {
  readonly result: PollResult;
  /** Ids of the updates that a 200 brings; null: it is none. */
  readonly updates: readonly number[] | null;
  /** For a person, where something went wrong; may hold what came from outside. */
  readonly problem: string | null;
  /** The token is refused. */
  readonly refused: boolean;
}

export function landingOf({ status, body }: Answer): Landed {
  const reply = classify<unknown>(status, body.toString('utf8'), 0);
  switch (reply.kind) {
    case 'ok':
      return Array.isArray(reply.result)
        ? { ...land({ kind: 'updates', count: reply.result.length }), updates: idsOf(reply.result) }
        : land({ kind: 'outage' }, 'an answer that is none to getUpdates');
    case 'refused':
      return { ...land({ kind: 'verdict' }, reply.description), refused: status === 401 };
    case 'flood':
      return land({ kind: 'flood', retryAfterMs: reply.retryAfterMs }, reply.description);
    case 'outage':
      return land({ kind: 'outage' }, reply.description);
    case 'error':
      if (status !== 409) return land({ kind: 'verdict' }, reply.description);
      return land({ kind: isWebhookConflict(reply.description) ? 'webhook' : 'conflict' }, reply.description);
  }
}

function land(result: PollResult, problem: string | null = null): Landed {
  return { result, updates: null, problem, refused: false };
}

function idsOf(updates: readonly unknown[]): number[] {
  return updates.map((it) => Number((it as { update_id?: unknown } | null)?.update_id));
}
