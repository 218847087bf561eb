/**
 * The built-in sample worker, a program of its own (dist/sample-bot.js), and the forgotten poller of the demo (dist/legacy-polling-bot.js),
 * which ends with the channel to the demo. Polls when POLLING_ENABLED is 1, prints a line per update, answers messages, retries a 409 after
 * 1 s, and on SIGTERM confirms what it has handled and exits 0. Otherwise it idles.
 */
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_TIMEOUT_S = 25;
const RETRY_MS = 1000;
const IDLE_MS = 3_600_000;

type Update = { update_id: number; message?: { text?: string; chat: { id: number } } };
type Reply = { ok: boolean; result?: Update[]; parameters?: { retry_after?: number } } & Partial<Failure>;
type Failure = { error_code: number; description: string };

const { TELEGRAM_BOT_TOKEN: token = '', TELEGRAM_API_ROOT: root, POLLING_ENABLED } = process.env;
const url = `${(root || 'https://api.telegram.org').replace(/\/+$/, '')}/bot${token}`;
const stop = new AbortController();
const pause = (ms: number) => sleep(ms, undefined, { signal: stop.signal }).catch(() => undefined);

/** Never rejects: an error of fetch becomes a reply without `error_code`. */
async function call(method: string, params: object, signal: AbortSignal): Promise<Reply> {
  try {
    const headers = { 'Content-Type': 'application/json' };
    const body = JSON.stringify(params);
    const response = await fetch(`${url}/${method}`, { method: 'POST', headers, body, signal });
    // A front end answers in HTML, of which the status suffices.
    return (await response.json().catch(() => ({ ok: false, error_code: response.status }))) as Reply;
  } catch (error) {
    const { message, cause } = error as Error;
    return { ok: false, description: cause instanceof Error ? cause.message : message };
  }
}

async function handle({ update_id: id, message }: Update): Promise<void> {
  const text = message?.text;
  console.log(`update ${id}: ${text ?? 'no text'}`);
  if (!message || text === undefined) return;
  const answer = { chat_id: message.chat.id, text: text === '/ping' ? 'pong' : text };
  const { ok, description } = await call('sendMessage', answer, AbortSignal.timeout(10_000));
  if (!ok) console.log(`sendMessage failed: ${description}`);
}

/** Polls until the signal or a refused token; returns the offset to confirm. */
async function poll(): Promise<number> {
  let offset = 0;
  while (!stop.signal.aborted) {
    const late = AbortSignal.timeout((POLL_TIMEOUT_S + 10) * 1000);
    const params = { offset, timeout: POLL_TIMEOUT_S };
    const reply = await call('getUpdates', params, AbortSignal.any([late, stop.signal]));
    for (const update of reply.result ?? []) {
      await handle(update);
      offset = update.update_id + 1;
    }
    if (reply.ok || stop.signal.aborted) continue;
    console.log(`getUpdates: ${[reply.error_code, reply.description].filter(Boolean).join(' ')}`);
    if (reply.error_code === 401) {
      process.exitCode = 1;
      break;
    }
    await pause(Math.max((reply.parameters?.retry_after ?? 0) * 1000, RETRY_MS));
  }
  return offset;
}

async function main(): Promise<void> {
  for (const event of ['SIGTERM', 'SIGINT', 'disconnect'] as const) process.on(event, () => stop.abort());
  if (POLLING_ENABLED !== '1') {
    console.log('sample bot: polling is off (POLLING_ENABLED is not 1), idle');
    while (!stop.signal.aborted) await pause(IDLE_MS);
    return;
  }
  console.log(`sample bot ${token.split(':')[0]}: polling`);
  const offset = await poll();
  // The request itself confirms the offset, so the answer (which the server may hold for 3 s) need not be awaited long.
  if (offset > 0) await call('getUpdates', { offset, limit: 1, timeout: 0 }, AbortSignal.timeout(1000));
  console.log('sample bot: stopped');
  process.exit();
}

void main();
