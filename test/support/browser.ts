// Headless Chromium, driven over a pipe by its DevTools protocol (chromedevtools.github.io/devtools-protocol): what a page
// looks like and does for a person, at a width, in the dark, without scripts.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import type { TestContext } from 'node:test';
import { isRemoved, LONG_MS, until, within } from './wait.ts';

interface Message {
  id?: number;
  method?: string;
  params?: Record<string, unknown>;
  result?: Record<string, unknown>;
  error?: { message: string };
}

const WIDE = 1200;
const HEIGHT = 900;

/** Starts one that ends with the test. `hosts`: names that lead to 127.0.0.1. */
export async function openBrowser(t: TestContext, hosts: readonly string[] = []) {
  const profile = mkdtempSync(join(tmpdir(), 'sp-browser-'));
  const rules = hosts.map((name) => `MAP ${name} 127.0.0.1`).join(',');
  const child = spawn(
    'chromium',
    [
      ...['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run'],
      ...['--disable-background-networking', '--disable-component-update', '--disable-extensions'],
      ...['--remote-debugging-pipe', `--user-data-dir=${profile}`, '--hide-scrollbars'],
      ...(rules === '' ? [] : [`--host-resolver-rules=${rules}`]),
      'about:blank',
    ],
    { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'], env: { ...process.env, HOME: profile } },
  );
  t.after(async () => {
    child.kill('SIGKILL');
    await until('the browser to end', () => child.exitCode !== null || child.signalCode !== null);
    // Its helpers may still be writing for a moment.
    await until('the profile to be removed', () => isRemoved(profile));
  });
  const wire = speak(child);
  const { targetInfos } = (await wire.call('Target.getTargets')) as {
    targetInfos: { type: string; targetId: string }[];
  };
  const targetId = targetInfos.find(({ type }) => type === 'page')?.targetId;
  const attached = await wire.call('Target.attachToTarget', { targetId, flatten: true });
  const sessionId = attached.sessionId as string;
  const call = (method: string, params: Record<string, unknown> = {}) => wire.call(method, params, sessionId);

  let requested: string[] = [];
  let complaints: string[] = [];
  let status = 0;
  let loads = 0;
  wire.on('Network.requestWillBeSent', ({ request }) => requested.push((request as { url: string }).url));
  wire.on('Network.responseReceived', ({ type, response }) => {
    if (type !== 'Document') return;
    ({ status } = response as { status: number });
    // What has been loaded until now was the page before.
    loads = 0;
  });
  wire.on('Page.loadEventFired', () => {
    loads += 1;
  });
  wire.on('Log.entryAdded', ({ entry }) => complaints.push((entry as { text: string }).text));
  for (const domain of ['Network', 'Page', 'Log', 'Runtime']) await call(`${domain}.enable`);
  // Those who read it may have none.
  await call('Emulation.setScriptExecutionDisabled', { value: true });

  return {
    /** Loads a page and waits until it is there; gives the status of the answer. */
    async open(url: string): Promise<number> {
      [requested, complaints, status, loads] = [[], [], 0, 0];
      await call('Page.navigate', { url });
      await until(`the page ${url}`, () => status > 0 && loads > 0);
      return status;
    },
    /** The value of an expression in the page; works although the page itself may run no script. */
    async evaluate<T>(expression: string): Promise<T> {
      const { result, exceptionDetails } = await call('Runtime.evaluate', {
        expression,
        returnByValue: true,
      });
      if (exceptionDetails) throw new Error(`${expression}: ${JSON.stringify(exceptionDetails)}`);
      return (result as { value: T }).value;
    },
    async view({ width, dark = false }: { width: number; dark?: boolean }): Promise<void> {
      await call('Emulation.setDeviceMetricsOverride', {
        ...{ width, height: HEIGHT, deviceScaleFactor: 1 },
        mobile: width < WIDE,
      });
      const features = [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }];
      await call('Emulation.setEmulatedMedia', { features });
    },
    /** URLs of all that was asked for since `open`, with the number of loads of the page. */
    requests: () => requested,
    /** What the browser complained about: refused styles and scripts, failed loads. */
    complaints: () => complaints,
  };
}

/** Messages are JSON, each ended by a NUL, on descriptors 3 and 4. */
function speak(child: ChildProcess) {
  const out = child.stdio[3] as Writable;
  const answers = child.stdio[4] as Readable;
  const waiting = new Map<number, (message: Message) => void>();
  const listeners = new Map<string, ((params: Record<string, unknown>) => void)[]>();
  let last = 0;
  let text = '';
  out.on('error', () => {});
  answers.setEncoding('utf8');
  answers.on('data', (chunk: string) => {
    text += chunk;
    for (let end = text.indexOf('\0'); end >= 0; end = text.indexOf('\0')) {
      const message = JSON.parse(text.slice(0, end)) as Message;
      text = text.slice(end + 1);
      if (message.id !== undefined) waiting.get(message.id)?.(message);
      else for (const listener of listeners.get(message.method ?? '') ?? []) listener(message.params ?? {});
    }
  });
  return {
    on(method: string, listener: (params: Record<string, unknown>) => void): void {
      listeners.set(method, [...(listeners.get(method) ?? []), listener]);
    },
    async call(method: string, params: Record<string, unknown> = {}, sessionId?: string) {
      const id = ++last;
      const answered = new Promise<Message>((resolve) => waiting.set(id, resolve));
      out.write(`${JSON.stringify({ id, method, params, ...(sessionId ? { sessionId } : {}) })}\0`);
      const { result, error } = await within(`the browser's answer to ${method}`, answered, LONG_MS);
      waiting.delete(id);
      if (error) throw new Error(`${method}: ${error.message}`);
      return result ?? {};
    },
  };
}
