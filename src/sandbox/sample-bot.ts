/**
 * The built-in sample worker, a program of its own (dist/sample-bot.js): a well-behaved polling bot.
 * Polls when POLLING_ENABLED is 1, prints a line per update, answers messages, retries a 409 after 1 s, and on SIGTERM
 * confirms what it has handled and exits 0. Otherwise it idles.
 */
import { setTimeout } from 'node:timers/promises';
import { type ApiReply, createApiClient } from './api-client.ts';

const POLL_TIMEOUT_S = 25;
const RETRY_MS = 1000;

interface Update {
  readonly update_id: number;
  readonly message?: { readonly text?: string; readonly chat: { readonly id: number } };
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function main(): Promise<void> {
  const token = process.env.TELEGRAM_BOT_TOKEN ?? '';
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop.abort());

  if (process.env.POLLING_ENABLED !== '1') {
    say('sample bot: polling is off (POLLING_ENABLED is not 1), idle');
    await untilAborted(stop.signal);
    return;
  }
  if (token === '') {
    say('sample bot: TELEGRAM_BOT_TOKEN is missing');
    process.exitCode = 1;
    return;
  }
  const client = createApiClient(process.env.TELEGRAM_API_ROOT || 'https://api.telegram.org', token);
  say(`sample bot ${token.split(':')[0]}: polling`);
  let offset = 0;

  const handle = async (update: Update): Promise<void> => {
    const text = update.message?.text;
    say(`update ${update.update_id}: ${text ?? 'no text'}`);
    if (update.message && text !== undefined)
      await client
        .call(
          'sendMessage',
          { chat_id: update.message.chat.id, text: text === '/ping' ? 'pong' : text },
          10_000,
        )
        .catch((error: Error) => say(`sendMessage failed: ${error.message}`));
    offset = update.update_id + 1;
  };

  while (!stop.signal.aborted) {
    let reply: ApiReply;
    try {
      const params = { offset, timeout: POLL_TIMEOUT_S };
      reply = await client.call('getUpdates', params, (POLL_TIMEOUT_S + 10) * 1000, stop.signal);
    } catch (error) {
      if (stop.signal.aborted) break;
      say(`getUpdates failed: ${(error as Error).message}`);
      await pause(RETRY_MS, stop.signal);
      continue;
    }
    if (reply.ok) {
      for (const update of reply.result as Update[]) await handle(update);
      continue;
    }
    say(`getUpdates: ${reply.status} ${reply.description}`);
    if (reply.status === 401) {
      process.exitCode = 1;
      break;
    }
    await pause(Math.max(reply.retryAfter * 1000, RETRY_MS), stop.signal);
  }
  // The offset is taken when the request arrives, so the answer (which the server may hold for 3 s) need not be awaited long.
  if (offset > 0)
    await client.call('getUpdates', { offset, limit: 1, timeout: 0 }, 1000).catch(() => undefined);
  client.close();
  say('sample bot: stopped');
}

/** Resolves after `ms`, or as soon as the signal aborts. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await setTimeout(ms, undefined, { signal }).catch(() => undefined);
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  while (!signal.aborted) await pause(3_600_000, signal);
}

main().catch((error: unknown) => {
  say(`sample bot: ${String(error)}`);
  process.exitCode = 1;
});
