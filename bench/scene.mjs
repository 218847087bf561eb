// What every measurement needs: a private folder, the built program, the worker, processes that are ended by a mark in their environment
// whatever happens. Nothing here leaves loopback, and nothing of the caller's environment gets in.
import { spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
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
/** What runs of that which was launched. */
const children = new Set();

/** How many were still there. The mark does not find nginx, which writes its title over its environment, so what was launched here is told as well. */
function endEverything() {
  for (const child of children) child.kill();
  return children.size + endAll(run);
}

process.on('exit', () => {
  endEverything();
  // What dies right now may still write a last line.
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));

/** Ends all that was started: the next row has the machine to itself. */
export const clear = () => until('nothing to be left of a row', () => endEverything() === 0);

/** A new private folder. */
export const newFolder = (name) => mkdtempSync(join(folder, `${name}-`));

/** The environment that everything is measured in. `home` is also the state folder. */
export const environment = (home, more = {}) => ({
  ...{ PATH: process.env.PATH, SP_TEST_RUN: run, HOME: home, LANG: 'C.UTF-8' },
  ...{ SINGLEPOLL_DIR: join(home, 'state'), ...more },
});

/** Starts a program in a folder of its own. */
export function launch(command, words, { variables, ...options } = {}) {
  const cwd = newFolder('home');
  const stdio = ['ignore', 'pipe', 'inherit'];
  const child = spawn(command, words, { env: environment(cwd, variables), cwd, stdio, ...options });
  children.add(child);
  return child.once('exit', () => children.delete(child));
}

/** Ends a process, and waits until it is gone. */
export async function endAndWait(pid) {
  if (alive(pid)) process.kill(pid, 'SIGTERM');
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

export const nsNow = () => process.hrtime.bigint();
export const msBetween = (from, to) => Number(to - from) / 1e6;

/** A crowd of processes that do nothing, so that looking through the machine costs something. */
export async function gather(count) {
  // What a service's environment looks like in size.
  const variables = Object.fromEntries(
    Array.from({ length: 30 }, (_, i) => [`SETTING_${i}`, 'x'.repeat(60)]),
  );
  // It ends with its stdin, and so with us: all of its group, while a signal would end one.
  const script = 'for i in $(seq "$0"); do sleep 100000 & done; echo ready; read -r _; kill -9 0';
  const options = { stdio: ['pipe', 'pipe', 'inherit'], variables, detached: true };
  await once(launch('sh', ['-c', script, String(count)], options).stdout, 'data');
}

/** The bots of a new sandbox, each an { apiRoot, token }. */
export async function openSandbox(count) {
  const stdio = ['ignore', 'pipe', 'ignore'];
  const { stdout } = launch(program, ['sandbox', '--bots', String(count)], { stdio });
  let text = '';
  stdout.on('data', (chunk) => {
    text += chunk;
  });
  await until('the sandbox', () => text.split('TELEGRAM_BOT_TOKEN=').length > count);
  const apiRoot = /TELEGRAM_API_ROOT=(\S+)/.exec(text)[1];
  return [...text.matchAll(/TELEGRAM_BOT_TOKEN=(\S+)/g)].map(([, token]) => ({ apiRoot, token }));
}
