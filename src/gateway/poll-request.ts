/**
 * Reads a call whose parameters decide what becomes of it, as the server reads it, and writes getUpdates anew: every
 * parameter as it came (the first of a name wins), only the timeout shortened where a part of it has passed.
 * Source: tdlib/telegram-bot-api Client::process_get_updates_query, Query::arg.
 */
import type { IncomingMessage } from 'node:http';
import { LONG_POLL_MAX_S } from '../telegram/bot-api.ts';
import { type Args, addBody, addFormParams, createArgs, integerArg } from './params.ts';

/** A getUpdates needs some hundred bytes; a setWebhook may bring a certificate. */
export const READ_BYTES_MAX = 1024 * 1024;
const READ_MS_MAX = 30_000;

export class TooLarge extends Error {}

/** The whole body. Throws TooLarge; rejects where the client leaves, or dawdles for 30 s. */
export async function readSmallBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const timer = setTimeout(() => request.destroy(new Error('the body did not come in time')), READ_MS_MAX);
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > READ_BYTES_MAX) throw new TooLarge(`more than ${READ_BYTES_MAX} bytes`);
      chunks.push(chunk);
    }
  } finally {
    clearTimeout(timer);
  }
  return Buffer.concat(chunks);
}

/** Throws UnreadableRequest where the server could not read it either. */
export function readArgs(query: string, body: Buffer, headers: IncomingMessage['headers']): Args {
  const args = createArgs();
  addFormParams(query.replace(/^\?/, ''), args);
  addBody(body, headers, args, READ_BYTES_MAX);
  return args;
}

export function pollTimeoutMs(args: Args): number {
  return integerArg(args, 'timeout', 0, 0, LONG_POLL_MAX_S) * 1_000;
}

export function pollLimit(args: Args): number {
  return integerArg(args, 'limit', 100, 1, 100);
}

/** The offset as it was asked with; null where there is none. */
export function pollOffset(args: Args): number | null {
  return args.get('offset') === '' ? null : integerArg(args, 'offset', 0);
}

/** The body of the getUpdates that goes upstream, form-encoded. `timeoutMs` null: the worker's own. */
export function pollBody(args: Args, timeoutMs: number | null): string {
  const pairs: string[] = [];
  for (const [name, value] of args.entries()) {
    if (name === 'method' || (name === 'timeout' && timeoutMs !== null)) continue;
    pairs.push(`${encodeURIComponent(name)}=${encodeURIComponent(value)}`);
  }
  if (timeoutMs !== null) pairs.push(`timeout=${Math.floor(timeoutMs / 1_000)}`);
  return pairs.join('&');
}
