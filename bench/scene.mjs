// What every measurement needs: a private folder, the built program, the worker, processes that are ended by a mark in their environment
// whatever happens. Nothing here leaves loopback, and nothing of the caller's environment gets in.
import { spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endAll } from '../scripts/test-files.mjs';
import { alive } from '../test/support/proc.ts';
import { until } from '../test/support/wait.ts';

export const root = join(import.meta.dirname, '..');
/** What `singlepoll` is once it is installed. */
export const program = join(root, 'bin/entry.sh');
/** No bot's token; only its shape counts. */
export const TOKEN = '7312345678:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1';
const folder = mkdtempSync(join(tmpdir(), 'singlepoll-bench-'));
const run = randomUUID();

process.on('exit', () => {
  endAll(run);
  // What dies right now may still write a last line.
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));

/** A new private folder. */
export function newFolder(name) {
  return mkdtempSync(join(folder, `${name}-`));
}

/** The environment that everything is measured in. `home` is also the state folder. */
export function environment(home, more = {}) {
  const { PATH } = process.env;
  return {
    PATH,
    SP_TEST_RUN: run,
    HOME: home,
    LANG: 'C.UTF-8',
    SINGLEPOLL_DIR: join(home, 'state'),
    ...more,
  };
}

/** Ends a process, and waits until it is gone. */
export async function endAndWait(pid, signal = 'SIGTERM') {
  if (alive(pid)) process.kill(pid, signal);
  await until(`the end of ${pid}`, () => !alive(pid));
}

/** Wall time in ms of a command that runs to its end. */
export function wallMs(command, words, env) {
  const beganMs = performance.now();
  const { status, error, stderr } = spawnSync(command, words, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  const tookMs = performance.now() - beganMs;
  if (error || status !== 0)
    throw new Error(`${command} ${words.join(' ')} ended with ${status}: ${error ?? stderr}`);
  return tookMs;
}

/** The measure of things: a Node that does nothing. */
export const bareNodeMs = () => wallMs('node', ['-e', '0'], environment(folder));

/** Path of the compiled worker. */
export function workerProgram() {
  const worker = join(folder, 'worker');
  if (existsSync(worker)) return worker;
  const compiled = spawnSync('cc', ['-O2', '-o', worker, join(import.meta.dirname, 'native/worker.c')]);
  if (compiled.status !== 0) throw new Error('the bench needs a C compiler: apt-get install gcc libc6-dev');
  return worker;
}

/** The times (ns) and pids that workers have written down, as they come. */
export function openStamps(path) {
  let read = 0;
  return {
    path,
    async next(what) {
      const lines = () => (existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(0, -1) : []);
      const line = await until(what, () => lines()[read], { everyMs: 3 });
      read += 1;
      const [ns, pid] = line.split(' ');
      return { ns: BigInt(ns), pid: Number(pid) };
    },
  };
}

export const nsNow = () => process.hrtime.bigint();
export const msBetween = (from, to) => Number(to - from) / 1e6;

/** A crowd of processes that do nothing, so that looking through the machine costs something. Resolves with its end. */
export async function gather(count) {
  // What a service's environment looks like in size.
  const padding = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`SETTING_${i}`, 'x'.repeat(60)]));
  // It ends with its stdin, and so with us: all of its group, while a signal would end one.
  const script = 'for i in $(seq "$0"); do sleep 100000 & done; echo ready; read -r _; kill -9 0';
  const child = spawn('sh', ['-c', script, String(count)], {
    ...{ env: environment(folder, padding), cwd: folder, detached: true },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return async () => {
    child.stdin.end();
    await once(child, 'exit');
  };
}

/** A sandbox with `count` bots, each an { apiRoot, token }. Resolves with `close` beside them. */
export async function openSandbox(count) {
  const home = newFolder('sandbox');
  const child = spawn(program, ['sandbox', '--bots', String(count)], {
    env: environment(home),
    cwd: home,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let text = '';
  child.stdout.on('data', (chunk) => {
    text += chunk;
  });
  await until('the sandbox', () => text.split('TELEGRAM_BOT_TOKEN=').length > count);
  const apiRoot = /TELEGRAM_API_ROOT=(\S+)/.exec(text)[1];
  const bots = [...text.matchAll(/TELEGRAM_BOT_TOKEN=(\S+)/g)].map(([, token]) => ({ apiRoot, token }));
  return { bots, close: () => endAndWait(child.pid) };
}
