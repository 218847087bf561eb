/**
 * The stray of the demo, a program of its own (dist/legacy-polling-bot.js): a forgotten old poller. It keeps its connection,
 * retries every second on any 409, and ends on SIGTERM, after 120 s, or 5 s after its API went away, so that a demo never
 * leaves an orphan.
 */
import { setTimeout as sleep } from 'node:timers/promises';

const LIFE_MS = 120_000;
const API_GONE_MS = 5000;
const RETRY_MS = 1000;
/** Pause between two polls: without it fetch would open a second connection. */
const HANDLE_MS = 20;

const { TELEGRAM_BOT_TOKEN: token, TELEGRAM_API_ROOT: root } = process.env;

async function main(): Promise<void> {
  setTimeout(() => process.exit(0), LIFE_MS).unref();
  let offset = 0;
  let lastAnswerMs = performance.now();
  process.on('SIGTERM', () => process.exit(0));
  while (performance.now() - lastAnswerMs < API_GONE_MS) {
    try {
      const response = await fetch(`${root}/bot${token}/getUpdates?timeout=10&offset=${offset}`);
      const reply = (await response.json()) as { ok: boolean; result: { update_id: number }[] };
      lastAnswerMs = performance.now();
      if (reply.ok) offset = (reply.result.at(-1)?.update_id ?? offset - 1) + 1;
      await sleep(reply.ok ? HANDLE_MS : RETRY_MS);
    } catch {
      // The API is gone; the loop measures for how long.
      await sleep(RETRY_MS);
    }
  }
  process.exit(0);
}

void main();
