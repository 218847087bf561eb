/**
 * The scene behind `start --sandbox`: a bot in the state that a troubled one is found in (webhook set elsewhere, updates
 * waiting, a forgotten poller running), and a new message now and then. Leaves nothing behind.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sandbox } from './actions.ts';
import { startSandbox } from './server.ts';

const OLD_WEBHOOK = 'https://old-host.example/telegram/hook';
const WAITING = ['/start', 'Is anybody there?', '/ping'];
const MESSAGE_EVERY_MS = 10_000;
const STRAY_START_MS = 10_000;
const STRAY_STOP_MS = 2000;

export interface DemoOptions {
  /** Path of legacy-polling-bot.js. */
  readonly strayScript: string;
  /** Arguments for node before the script. */
  readonly nodeArgs?: readonly string[];
  /** Milliseconds between new messages; default 10,000. */
  readonly messageEveryMs?: number;
}

export interface Demo {
  readonly root: string;
  readonly token: string;
  readonly strayPid: number;
  readonly sandbox: Sandbox;
  /** Stops the messages, the stray and the sandbox; resolves when the stray is gone. */
  close(): Promise<void>;
}

/** Sets the scene and waits until the stray polls. Rejects, with everything stopped again, when it does not in 10 s. */
export async function prepareDemo(options: DemoOptions): Promise<Demo> {
  const sandbox = await startSandbox();
  const { root, token } = sandbox;
  await sandbox.call(token, 'setWebhook', { url: OLD_WEBHOOK });
  for (const text of WAITING) sandbox.injectText(token, text);

  const { PATH = '' } = process.env;
  const stray = spawn(process.execPath, [...(options.nodeArgs ?? []), options.strayScript], {
    detached: true,
    stdio: 'ignore',
    env: { PATH, TELEGRAM_BOT_TOKEN: token, TELEGRAM_API_ROOT: root },
  });
  stray.unref();
  let count = 0;
  const messages = setInterval(() => {
    sandbox.injectText(token, `message ${++count} while you watch`);
  }, options.messageEveryMs ?? MESSAGE_EVERY_MS).unref();

  const close = async (): Promise<void> => {
    clearInterval(messages);
    await stop(stray);
    await sandbox.close();
  };
  const outcome = await Promise.race([
    new Promise<null>((resolve) => {
      sandbox.onRequest(({ request }) => request.method === 'getUpdates' && resolve(null));
    }),
    once(stray, 'exit').then(
      () => 'ended before it polled',
      () => 'could not be started',
    ),
    sleep(STRAY_START_MS, `did not poll within ${STRAY_START_MS} ms`, { ref: false }),
  ]);
  if (outcome !== null) {
    await close();
    throw new Error(`the stray of the rehearsal ${outcome}`);
  }
  return { root, token, strayPid: stray.pid ?? 0, sandbox, close };
}

async function stop(stray: ChildProcess): Promise<void> {
  if (stray.pid === undefined || stray.exitCode !== null || stray.signalCode !== null) return;
  const force = setTimeout(() => stray.kill('SIGKILL'), STRAY_STOP_MS);
  stray.ref();
  stray.kill('SIGTERM');
  await once(stray, 'exit');
  clearTimeout(force);
}
