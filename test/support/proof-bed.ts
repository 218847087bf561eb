// Processes that hold this bot's token, or poll it without showing the token, and who of them asked what.
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Bed, node, PYTHON, randomToken } from './bed.ts';
import type { Running } from './cli.ts';
import { handled } from './judge.ts';
import { alive, findByEnv, readProc } from './proc.ts';
import type { StrayView } from './status.ts';
import { polledBy } from './strays.ts';
import { until } from './wait.ts';

export const proofFixture = (name = ''): string =>
  fileURLToPath(new URL(`../fixtures/proof/${name}`, import.meta.url));
export const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));

/** How long everything may take that has no time of its own to keep. */
export const LONG_MS = 60_000;

/** Pids that asked `method` under this name (`SP_NAME`), of any bot. */
export function askedBy(b: Bed, name: string, method: string): number[] {
  const pids = b.sandbox
    .requests()
    .filter((record) => record.method.toLowerCase() === method.toLowerCase())
    .map((record) => new RegExp(`^proof/${name}/(\\d+)$`).exec(record.userAgent)?.[1])
    .filter((pid) => pid !== undefined);
  return [...new Set(pids)].map(Number);
}

/** Our token and the API root, as the fixtures take them from their environment. */
export const withToken = (b: Bed): Record<string, string> => ({
  LEGACY_TOKEN: b.token,
  LEGACY_ROOT: b.sandbox.root,
});

/** A second bot of the same stand-in. */
export function otherBot(b: Bed): string {
  const token = randomToken();
  b.sandbox.raw.addBot(token);
  return token;
}

/** Starts `holder.py KIND words…` under a name of its own and waits until it has asked `method`. */
export async function hold(
  b: Bed,
  name: string,
  words: readonly string[],
  method: string,
  options: { env?: Record<string, string>; cwd?: string } = {},
): Promise<Running> {
  const env = { ...(options.env ?? withToken(b)), SP_NAME: name };
  const run = b.spawn(PYTHON, [proofFixture('holder.py'), ...words], { cwd: options.cwd ?? b.dir, env });
  await until(`${name} to ask ${method}`, () => askedBy(b, name, method).includes(run.pid), {
    ms: LONG_MS,
    seen: run.seen,
  });
  return run;
}

export interface HiddenOptions {
  /** Where its token is. */
  from?: 'literal' | 'config.json' | 'settings.py' | 'stdin' | 'wiped' | 'locked';
  runtime?: 'python' | 'node';
  /** More arguments. */
  args?: readonly string[];
  /** Words before the program, such as a manager; `%` stands for the command. */
  shell?: string;
  root?: string;
  token?: string;
  uid?: number;
}

export interface Hidden {
  name: string;
  folder: string;
  /** Of the process that the test started. */
  run: Running;
  /** Of whoever polled under this name so far. */
  pids(): number[];
}

/** The folder of a bot with a hidden token; gives its command line. */
export function hiddenFolder(
  b: Bed,
  name: string,
  options: HiddenOptions = {},
): { folder: string; command: string[] } {
  const { from = 'literal', runtime = 'python', args = [] } = options;
  const folder = join(b.dir, name);
  const secret = `${options.token ?? b.token} ${options.root ?? b.sandbox.root}`;
  mkdirSync(folder);
  const script = join(folder, runtime === 'node' ? 'hidden-bot.mjs' : 'hidden_bot.py');
  const source = readFileSync(proofFixture(runtime === 'node' ? 'hidden-bot.mjs' : 'hidden_bot.py'), 'utf8');
  writeFileSync(
    script,
    from === 'literal' ? source.replace('SECRET = None', `SECRET = "${secret}"`) : source,
  );
  copyFileSync(proofFixture('common.py'), join(folder, 'common.py'));
  if (from === 'config.json') writeFileSync(join(folder, from), JSON.stringify({ bot: { secret } }));
  if (from === 'settings.py') writeFileSync(join(folder, from), `SECRET = "${secret}"\n`);
  if (from === 'stdin') writeFileSync(join(folder, 'secret'), secret);
  if (from === 'locked') {
    writeFileSync(
      join(folder, 'store.bin'),
      Buffer.from(secret).map((byte) => byte ^ 0x5a),
    );
  }
  if (runtime === 'node') return { folder, command: [process.execPath, script, ...args] };
  return { folder, command: [PYTHON, script, '--from', from, ...args] };
}

/** Starts a poller of this bot whose token nobody can read, and waits until it polls. */
export async function startHidden(b: Bed, name: string, options: HiddenOptions = {}): Promise<Hidden> {
  const { folder, command } = hiddenFolder(b, name, options);
  const env: Record<string, string> = { SP_NAME: name };
  if (options.from === 'wiped')
    env.BOT_SECRET = `${options.token ?? b.token} ${options.root ?? b.sandbox.root}`;
  const text = command.map((word) => `'${word}'`).join(' ');
  const line =
    options.shell?.replaceAll('%', text) ?? (options.from === 'stdin' ? `exec ${text} < secret` : null);
  const place = { cwd: folder, env, ...(options.uid === undefined ? {} : { uid: options.uid }) };
  const run = line ? b.spawn('sh', ['-c', line], place) : b.spawn(command[0] ?? '', command.slice(1), place);
  const pids = () => askedBy(b, name, 'getUpdates');
  await until(`${name} to poll`, () => pids().length > 0, { ms: LONG_MS, seen: run.seen });
  for (const pid of pids()) b.own(pid);
  return { name, folder, run, pids };
}

export const startWorker = (b: Bed, ...args: string[]): Running =>
  b.cli(['start', '--stop-timeout', '3s', ...args, '--', ...node('polite.mjs')]);

/** Waits until the worker has polled and gets an update that came after that; gives its pid. */
export async function workerWorks(b: Bed, run: Running, ms = LONG_MS): Promise<number> {
  const ended = () => {
    const exit = run.ended();
    if (exit) throw new Error(`ended with ${exit.code ?? exit.signal}\n${run.seen()}`);
  };
  await until(
    'the worker to poll',
    () => {
      ended();
      return polledBy(b, 'polite.mjs').length > 0;
    },
    { ms, seen: run.seen },
  );
  // While a stray still polls it may take one: then another is sent.
  const ids: number[] = [];
  let nextMs = 0;
  await until(
    'the worker to get an update',
    () => {
      ended();
      if (performance.now() >= nextMs) {
        ids.push(b.sandbox.text('to the worker'));
        nextMs = performance.now() + 1500;
      }
      const got = handled(b.journal().filter((entry) => entry.name === 'polite.mjs'));
      return ids.some((id) => got.has(id));
    },
    { ms, seen: run.seen },
  );
  return polledBy(b, 'polite.mjs').at(-1) ?? -1;
}

export interface WhoView {
  strays: StrayView[];
  probe: { result: string; message: string } | null;
}

export async function who(b: Bed, ...args: string[]) {
  const result = await b.run(['who', '--json', ...args], { ms: LONG_MS });
  assert.notEqual(result.stdout, '', result.stderr);
  return { ...result, view: JSON.parse(result.stdout) as WhoView };
}

/** A process that is meant to live, as it was when it was seen first. */
export interface Living {
  pid: number;
  startTicks: number | undefined;
}

export const living = (pids: readonly number[]): Living[] =>
  pids.map((pid) => ({ pid, startTicks: readProc(pid)?.startTicks }));

/** Those that are gone, or that somebody sent a SIGTERM (they write it down). */
export function harmed(b: Bed, those: readonly Living[]): string[] {
  const told = new Set(
    b
      .journal()
      .filter((entry) => entry.ev === 'signal')
      .map((entry) => entry.pid),
  );
  return those.flatMap(({ pid, startTicks }) => {
    if (!alive(pid) || readProc(pid)?.startTicks !== startTicks) return [`pid ${pid} is gone`];
    return told.has(pid) ? [`pid ${pid} got SIGTERM`] : [];
  });
}

/** Waits for `count` processes that carry the mark, and gives them. */
export async function marked(mark: string, count: number, run: Running): Promise<number[]> {
  await until(`${count} processes of ${mark}`, () => findByEnv('SP_WHAT', mark).length >= count, {
    ms: LONG_MS,
    seen: run.seen,
  });
  return findByEnv('SP_WHAT', mark);
}

/** Starts `pipes.py KIND words…`; gives it with the port on which it listens. */
export async function startPipe(
  b: Bed,
  words: readonly string[],
  env: Record<string, string> = {},
): Promise<{ run: Running; port: number }> {
  const run = b.spawn(PYTHON, [proofFixture('pipes.py'), ...words], { cwd: b.dir, env });
  await run.waitFor(/port \d+|connected/, LONG_MS);
  return { run, port: Number(/port (\d+)/.exec(run.stdout())?.[1] ?? 0) };
}
