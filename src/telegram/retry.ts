/**
 * Asking again while the Bot API is out of reach, for a time that is announced; a refused token ends it at once.
 */

import { EXIT, SinglepollError } from '../errors.ts';
import { duration } from '../output/words.ts';
import type { Ending } from '../supervisor/table.ts';
import type { Reply } from './bot-api.ts';

export const RETRY_FOR_MS = 30_000;
const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 5_000;

export interface RetryOptions {
  readonly what: string;
  readonly apiRoot: string;
  readonly tokenSource: string;
  readonly signal: AbortSignal;
  readonly say: (text: string) => void;
}

/** Asks until an answer comes that is worth having, for at most RETRY_FOR_MS. */
export async function retrying<T>(ask: () => Promise<Reply<T>>, options: RetryOptions): Promise<T> {
  const { apiRoot, tokenSource, signal, say, what } = options;
  const giveUpAtMs = performance.now() + RETRY_FOR_MS;
  for (let attempt = 0; ; attempt++) {
    const reply = await ask();
    signal.throwIfAborted();
    if (reply.kind === 'ok') return reply.result;
    if (reply.kind === 'refused') {
      throw new SinglepollError(
        EXIT.refused,
        `${apiRoot} refuses the token from ${tokenSource}: ${reply.status} ${reply.description}`,
        'copy the token again from @BotFather (/mybots), or set TELEGRAM_API_ROOT if the bot lives on a server of your own',
      );
    }
    if (reply.kind === 'error') {
      throw new SinglepollError(EXIT.unreachable, `${what} was turned down: ${reply.description}`);
    }
    const leftMs = giveUpAtMs - performance.now();
    if (leftMs <= 0) {
      throw new SinglepollError(
        EXIT.unreachable,
        `the Bot API at ${apiRoot} stayed out of reach for ${duration(RETRY_FOR_MS)}: ${reply.description}`,
        `curl -sS -o /dev/null -w '%{http_code}\\n' ${apiRoot}/`,
      );
    }
    if (attempt === 0) say(`${what}: ${reply.description}; trying again for ${duration(RETRY_FOR_MS)}`);
    const backoffMs = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** attempt) * (0.8 + 0.4 * Math.random());
    const waitMs = reply.kind === 'flood' ? Math.max(reply.retryAfterMs, backoffMs) : backoffMs;
    await pause(Math.min(waitMs, leftMs), signal);
  }
}

/** Waits; ends early (rejecting) when the signal aborts. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop);
      resolve();
    }, ms);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
}

/** The end of a run whose token was good when it began. */
export function tokenRefused(
  { apiRoot, tokenSource }: { readonly apiRoot: string; readonly tokenSource: string },
  { status, description }: { readonly status: number; readonly description: string },
): Ending {
  return {
    code: EXIT.refused,
    reason: `${apiRoot} refuses the token from ${tokenSource} now: ${status} ${description}`,
  };
}
