/**
 * What the Bot API answers, before it is bytes: the JSON envelope and its status.
 * Source: tdlib/telegram-bot-api Query.h (JsonQueryOk, JsonQueryError), Query::set_retry_after_error.
 */

export interface Answer {
  readonly status: number;
  readonly body: object;
  /** Seconds; becomes the `Retry-After` header. */
  readonly retryAfter?: number;
  /** Ids of the updates in the answer of a getUpdates. */
  readonly delivered?: readonly number[];
  /** The request was the bot's long poll, or a conflict held for 3 s, before it got this. */
  readonly waited?: boolean;
}

/** Called exactly once for every call that a bot was given. */
export type Reply = (answer: Answer) => void;

export function success(result: unknown, description?: string): Answer {
  return {
    status: 200,
    body: description === undefined ? { ok: true, result } : { ok: true, result, description },
  };
}

export function failure(status: number, description: string): Answer {
  return { status, body: { ok: false, error_code: status, description } };
}

/** 429 with `parameters.retry_after`, in seconds. */
export function tooManyRequests(retryAfter: number): Answer {
  const description = `Too Many Requests: retry after ${retryAfter}`;
  return {
    status: 429,
    body: { ok: false, error_code: 429, description, parameters: { retry_after: retryAfter } },
    retryAfter,
  };
}
