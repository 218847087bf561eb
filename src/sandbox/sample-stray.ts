/**
 * The stray of the demo, a program of its own (dist/legacy-polling-bot.js): an old poller that somebody forgot. It keeps
 * its connection, retries every second on any 409, and ends on SIGTERM, after 120 s, or 5 s after its API went away, so
 * that a demo never leaves an orphan.
 */
import { createApiClient } from './api-client.ts';

const LIFE_MS = 120_000;
const API_GONE_MS = 5000;
const RETRY_MS = 1000;
const POLL_TIMEOUT_S = 10;

async function main(): Promise<void> {
  const { TELEGRAM_BOT_TOKEN: token = '', TELEGRAM_API_ROOT: root = '' } = process.env;
  if (token === '' || root === '') {
    process.stderr.write('legacy polling bot: TELEGRAM_BOT_TOKEN and TELEGRAM_API_ROOT are needed\n');
    process.exitCode = 1;
    return;
  }
  process.on('SIGTERM', () => process.exit(0));
  setTimeout(() => process.exit(0), LIFE_MS).unref();
  const client = createApiClient(root, token);
  let offset = 0;
  let lastAnswerMs = performance.now();
  while (performance.now() - lastAnswerMs < API_GONE_MS) {
    try {
      const reply = await client.call('getUpdates', { offset, timeout: POLL_TIMEOUT_S }, 30_000);
      lastAnswerMs = performance.now();
      const updates = reply.ok ? (reply.result as { update_id: number }[]) : [];
      offset = (updates.at(-1)?.update_id ?? offset - 1) + 1;
      if (reply.ok) continue;
    } catch {
      // Gone for now; the loop counts how long.
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
  process.exit(0);
}

void main();
