/**
 * The rehearsal behind `start --sandbox`: a bot in the state that a troubled one is found in (webhook set elsewhere,
 * updates waiting, a forgotten poller running), and a new message now and then. Leaves nothing behind.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createArgs } from '../gateway/params.ts';
import { type Sandbox, startSandbox } from './server.ts';

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
  readonly port?: number;
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
  const sandbox = await startSandbox(options.port === undefined ? {} : { port: options.port });
  const { root, token } = sandbox;
  await sandbox.call(token, 'setWebhook', createArgs({ url: OLD_WEBHOOK }));
  for (const text of WAITING) sandbox.injectText(token, text);

  const { PATH = '' } = process.env;
  const stray = spawn(process.execPath, [...(options.nodeArgs ?? []), options.strayScript], {
    detached: true,
    stdio: 'ignore',
    env: { PATH, TELEGRAM_BOT_TOKEN: token, TELEGRAM_API_ROOT: root },
  });
  stray.unref();
  const stopStray = async (): Promise<void> => {
    if (stray.pid === undefined || stray.exitCode !== null || stray.signalCode !== null) return;
    const force = setTimeout(() => stray.kill('SIGKILL'), STRAY_STOP_MS);
    stray.ref();
    stray.kill('SIGTERM');
    await once(stray, 'exit');
    clearTimeout(force);
  };
  try {
    await firstPoll(sandbox, stray);
  } catch (error) {
    await stopStray();
    await sandbox.close();
    throw error;
  }

  let count = 0;
  const timer = setInterval(() => {
    count += 1;
    sandbox.injectText(token, `message ${count} while you watch`);
  }, options.messageEveryMs ?? MESSAGE_EVERY_MS);
  timer.unref();

  return {
    root,
    token,
    strayPid: stray.pid ?? 0,
    sandbox,
    async close() {
      clearInterval(timer);
      await stopStray();
      await sandbox.close();
    },
  };
}

function firstPoll(sandbox: Sandbox, stray: ReturnType<typeof spawn>): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: Error): void => {
      clearTimeout(timer);
      unsubscribe();
      stray.off('error', failed);
      stray.off('exit', ended);
      if (error) reject(error);
      else resolve();
    };
    const failed = (error: Error): void => done(error);
    const ended = (): void => done(new Error('the stray of the rehearsal ended before it polled'));
    const timer = setTimeout(
      () => done(new Error(`the stray of the rehearsal did not poll within ${STRAY_START_MS} ms`)),
      STRAY_START_MS,
    );
    const unsubscribe = sandbox.onRequest(({ type, request }) => {
      if (type === 'start' && request.method === 'getUpdates') done();
    });
    stray.once('error', failed);
    stray.once('exit', ended);
  });
}
