/** The demo of `start --sandbox`: a bot in trouble (a webhook, updates waiting, a forgotten poller), and a new message now and then. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { startSandbox } from './server.ts';

const OLD_WEBHOOK = 'https://old-host.example/telegram/hook';
const WAITING = ['/start', 'Is anybody there?', '/ping'];
const MESSAGE_EVERY_MS = 10_000;
const STRAY_START_MS = 10_000;
const STRAY_STOP_MS = 2000;

/** Prepares the demo and waits until the stray polls. If it does not in 10 s, stops everything and rejects. */
export async function prepareDemo(strayScript: string) {
  const sandbox = await startSandbox();
  const { root, token } = sandbox;
  await sandbox.call(token, 'setWebhook', { url: OLD_WEBHOOK });
  for (const text of WAITING) sandbox.injectText(token, text);

  const { PATH = '' } = process.env;
  const stray = spawn(process.execPath, [strayScript], {
    detached: true,
    // The channel ends with us, however we end, and the stray with it.
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    env: { PATH, POLLING_ENABLED: '1', TELEGRAM_BOT_TOKEN: token, TELEGRAM_API_ROOT: root },
  });
  stray.unref();
  stray.channel?.unref();
  let count = 0;
  const messages = setInterval(() => {
    sandbox.injectText(token, `message ${++count} while you watch`);
  }, MESSAGE_EVERY_MS).unref();
  const gone = once(stray, 'exit').catch(() => {});

  /** Stops the messages, the stray and the sandbox; resolves when the stray is gone. */
  async function close(): Promise<void> {
    clearInterval(messages);
    stray.ref();
    stray.kill('SIGTERM');
    const force = setTimeout(() => stray.kill('SIGKILL'), STRAY_STOP_MS);
    await gone;
    clearTimeout(force);
    await sandbox.close();
  }

  try {
    // Its first request is its first poll.
    const polls = once(sandbox.requests, 'start', { signal: AbortSignal.timeout(STRAY_START_MS) });
    await Promise.race([polls, gone.then(() => Promise.reject(new Error('ended before it polled')))]);
  } catch (error) {
    await close();
    const isLate = (error as Error).name === 'AbortError';
    const why = isLate ? `did not poll within ${STRAY_START_MS} ms` : (error as Error).message;
    throw new Error(`the stray of the rehearsal ${why}`);
  }
  return { root, token, strayPid: stray.pid ?? 0, close };
}
