// Processes as a machine has them before singlepoll comes, or beside it: legacy pollers with the token in an env file, in the
// environment or hidden, holders of the token that do not poll, strangers; who of them asked what, and who was harmed.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { StrayEntry } from '../../src/supervisor/status.ts';
import { type Bed, fixture, PYTHON, randomToken, worker } from './bed.ts';
import type { Running } from './cli.ts';
import { handled } from './judge.ts';
import { alive, findByEnv, readProc } from './proc.ts';
import { openBackDoor } from './rival.ts';
import { until } from './wait.ts';

export const proofFixture = (name = ''): string => fixture(`proof/${name}`);

/** Below the ports that the system gives to whoever asks for any (ip_local_port_range): nobody gets it before it is used, or between two uses. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(10_000, 32_768);
    const server = createServer().listen(port, '127.0.0.1');
    const isFree = await once(server, 'listening').catch(() => null);
    await new Promise((resolve) => server.close(resolve));
    if (isFree) return port;
  }
}

/** Our token and the API root, as the fixtures take them from their environment. */
export const withToken = (b: Bed): Record<string, string> => ({
  LEGACY_TOKEN: b.token,
  LEGACY_ROOT: b.sandbox.root,
});

/** The same as a bot would take them. */
export const botEnv = (b: Bed): Record<string, string> => ({
  TELEGRAM_BOT_TOKEN: b.token,
  TELEGRAM_API_ROOT: b.sandbox.root,
});

/** A second bot of the same stand-in. */
export function otherBot(b: Bed): string {
  const token = randomToken();
  b.sandbox.raw.addBot(token);
  return token;
}

/** Copies the Python poller under a legacy name into a folder and starts it there. */
export function legacyPoller(
  b: Bed,
  name: string,
  options: { args?: string[]; cwd?: string; env?: Record<string, string> } = {},
): Running {
  const { cwd = b.project, env = withToken(b), args = [] } = options;
  copyFileSync(worker('poller.py'), join(cwd, name));
  return b.spawn(PYTHON, [name, ...args], { cwd, env });
}

/** The same, and waits until it has polled. */
export async function pollingStray(...stray: Parameters<typeof legacyPoller>): Promise<Running> {
  const run = legacyPoller(...stray);
  const [b, name] = stray;
  await until(`${name} to poll`, () => polledBy(b, name).length > 0, run);
  return run;
}

/** Pids of the fixture pollers of this name that polled so far. */
export function polledBy(b: Bed, name: string): number[] {
  const polls = b.sandbox.polls().filter((poll) => poll.name === name && poll.pid !== null);
  return [...new Set(polls.map((poll) => poll.pid as number))];
}

/** Pids that asked `method` under this name (`SP_NAME`), of any bot. */
export function askedBy(b: Bed, name: string, method: string): number[] {
  const pids = b.sandbox
    .requests()
    .filter((record) => record.method.toLowerCase() === method.toLowerCase())
    .map((record) => new RegExp(`^proof/${name}/(\\d+)$`).exec(record.userAgent)?.[1])
    .filter((pid) => pid !== undefined);
  return [...new Set(pids)].map(Number);
}

/**
 * Starts `gunicorn app:app` with the polling thread, orphaned (its parent is gone), in `cwd`; waits until all its
 * processes are there. Gives their pids, the master first.
 */
export async function orphanedGunicorn(
  b: Bed,
  cwd: string,
  token: string,
  workers: number,
): Promise<number[]> {
  mkdirSync(cwd, { recursive: true });
  copyFileSync(worker('gunicorn/app.py'), join(cwd, 'app.py'));
  const mark = `${b.cookie}-${Math.random()}`;
  const words = `gunicorn app:app --workers=${workers} --bind 127.0.0.1:${await freePort()}`;
  const bot = { TELEGRAM_BOT_TOKEN: token, TELEGRAM_API_ROOT: b.sandbox.root, POLLING_ENABLED: '1' };
  const env = { ...bot, SP_WHAT: mark };
  await b.spawn('sh', ['-c', `setsid ${words} >gunicorn.out 2>&1 </dev/null & exit 0`], { cwd, env }).exit();
  const pids = await marked(mark, workers + 1);
  const master = pids.find((pid) => !pids.includes(readProc(pid)?.ppid ?? -1)) ?? -1;
  return [master, ...pids.filter((pid) => pid !== master)];
}

/** Waits for `count` processes that carry the mark, and gives them. */
export async function marked(mark: string, count: number, run?: Running): Promise<number[]> {
  const all = () => findByEnv('SP_WHAT', mark);
  const seen = run?.seen ?? (() => all().join(' '));
  await until(`${count} processes of ${mark}`, () => all().length >= count, { seen });
  return all();
}

/** The configuration of a supervisord of the test's own, which runs one command as the program `name`; its path. */
export const supervisord = (b: Bed, name: string, command: readonly string[]): string =>
  b.file(
    `${name}.conf`,
    `[unix_http_server]
file=%(here)s/${name}.sock
[supervisord]
logfile=%(here)s/${name}.log
pidfile=%(here)s/${name}.pid
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://%(here)s/${name}.sock
[program:${name}]
command=${command.join(' ')}
startsecs=0
[group:bots]
programs=${name}
`,
  );

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
  await until(`${name} to ask ${method}`, () => askedBy(b, name, method).includes(run.pid), run);
  return run;
}

export interface HiddenOptions {
  /** Where its token is. */
  from?: 'literal' | 'config.json' | 'stdin' | 'wiped';
  runtime?: 'python' | 'node';
  /** More arguments. */
  args?: readonly string[];
  /** Words before the program, such as a manager; `%` stands for the command. */
  shell?: string;
  root?: string;
  token?: string;
}

export interface Hidden {
  name: string;
  folder: string;
  /** Of the process that the test started. */
  run: Running;
  /** Of whoever polled under this name so far. */
  pids(): number[];
}

const secretOf = (b: Bed, { token = b.token, root = b.sandbox.root }: HiddenOptions) => `${token} ${root}`;

/** The folder of a bot with a hidden token; gives its command line. */
export function hiddenFolder(b: Bed, name: string, options: HiddenOptions = {}) {
  const { from = 'literal', runtime = 'python', args = [] } = options;
  const folder = join(b.dir, name);
  const secret = secretOf(b, options);
  mkdirSync(folder);
  const program = runtime === 'node' ? 'hidden-bot.mjs' : 'hidden_bot.py';
  const source = readFileSync(proofFixture(program), 'utf8');
  const text = from === 'literal' ? source.replace('SECRET = None', `SECRET = "${secret}"`) : source;
  writeFileSync(join(folder, program), text);
  copyFileSync(proofFixture('common.py'), join(folder, 'common.py'));
  const files = {
    literal: null,
    wiped: null,
    'config.json': ['config.json', JSON.stringify({ bot: { secret } })],
    stdin: ['secret', secret],
  } as const;
  const [file, content] = files[from] ?? [];
  if (file !== undefined && content !== undefined) writeFileSync(join(folder, file), content);
  const words = runtime === 'node' ? [process.execPath] : [PYTHON];
  words.push(join(folder, program), ...(runtime === 'node' ? [] : ['--from', from]), ...args);
  return { folder, command: words };
}

/** Starts a poller of this bot whose token nobody can read, and waits until it polls. */
export async function startHidden(b: Bed, name: string, options: HiddenOptions = {}): Promise<Hidden> {
  const { folder, command } = hiddenFolder(b, name, options);
  const env = { SP_NAME: name, ...(options.from === 'wiped' && { BOT_SECRET: secretOf(b, options) }) };
  const text = command.map((word) => `'${word}'`).join(' ');
  const line =
    options.shell?.replaceAll('%', text) ?? `exec ${text}${options.from === 'stdin' ? ' < secret' : ''}`;
  const run = b.spawn('sh', ['-c', line], { cwd: folder, env });
  const pids = () => askedBy(b, name, 'getUpdates');
  await until(`${name} to poll`, () => pids().length > 0, run);
  for (const pid of pids()) b.own(pid);
  return { name, folder, run, pids };
}

export const startWorker = (b: Bed, ...args: string[]): Running => b.start(['--stop-timeout', '3s', ...args]);

/** Waits until the worker has polled and gets an update that came after that; gives its pid. */
export async function workerWorks(b: Bed, run: Running): Promise<number> {
  const isThere = () => {
    const exit = run.ended();
    if (exit) throw new Error(`ended with ${exit.code ?? exit.signal}\n${run.seen()}`);
    return polledBy(b, 'polite.mjs').length > 0;
  };
  await until('the worker to poll', isThere, run);
  // While a stray still polls it may take one: then another is sent.
  const ids: number[] = [];
  let nextMs = 0;
  const isServed = () => {
    if (isThere() && performance.now() >= nextMs) {
      ids.push(b.sandbox.text('to the worker'));
      nextMs = performance.now() + 1500;
    }
    const got = handled(b.journal().filter((entry) => entry.name === 'polite.mjs'));
    return ids.some((id) => got.has(id));
  };
  await until('the worker to get an update', isServed, run);
  return polledBy(b, 'polite.mjs').at(-1) ?? -1;
}

export interface WhoView {
  strays: StrayEntry[];
  probe: { result: string; message: string } | null;
}

export async function who(b: Bed, ...args: string[]) {
  const result = await b.exits([0, 1], ['who', '--json', ...args]);
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

/** Starts `pipes.py KIND words…`; gives it with the port on which it listens. */
export async function startPipe(b: Bed, words: readonly string[], env: Record<string, string> = {}) {
  const run = b.spawn(PYTHON, [proofFixture('pipes.py'), ...words], { cwd: b.dir, env });
  await run.waitFor(/port \d+|connected/);
  return { run, port: Number(/port (\d+)/.exec(run.stdout())?.[1] ?? 0) };
}

/**
 * Makes a network namespace of the test's own in which the stand-in answers at the same address as outside, through a socket in the file
 * system: no route, no address of the machine's. Gives the words before a command that is to run in it.
 */
export async function openNetworkNamespace(t: TestContext, b: Bed): Promise<readonly string[]> {
  const name = `sp-${randomBytes(5).toString('hex')}`;
  const ip = (...args: string[]) => {
    const done = spawnSync('ip', args, { encoding: 'utf8', timeout: 20_000 });
    assert.equal(done.status, 0, `ip ${args.join(' ')}: ${done.stderr}`);
  };
  ip('netns', 'add', name);
  t.after(() => ip('netns', 'delete', name));
  ip('-n', name, 'link', 'set', 'lo', 'up');
  const enter = ['nsenter', `--net=/run/netns/${name}`];
  const path = await openBackDoor(t, b);
  const way = spawnIn(b, enter, [PYTHON, proofFixture('pipes.py'), 'unix', String(b.sandbox.port), path]);
  await way.waitFor(/port \d+/);
  return enter;
}

/** A process list of its own around the command. */
export const OWN_PIDS: readonly string[] = ['unshare', '-p', '-f', '--mount-proc', '--kill-child'];

/** Runs a command behind such words; nothing of singlepoll in its environment but what is given. */
export function spawnIn(
  b: Bed,
  words: readonly string[],
  command: readonly string[],
  options: { env?: Record<string, string>; cwd?: string } = {},
): Running {
  const [file = '', ...args] = [...words, ...command];
  return b.spawn(file, args, options);
}
