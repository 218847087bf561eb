// One test's private world: temp folders, a Bot API stand-in, a bot of its own, an environment with nothing of
// the machine in it, and a clean-up that ends every process the test started, whatever became of the test.
import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { StatusDocument } from '../../src/supervisor/status.ts';
import { type Exit, type LaunchOptions, launch, PROGRAM, type Running } from './cli.ts';
import { alive, COOKIE_NAME, killByCookie, readProc } from './proc.ts';
import { openSandbox } from './sandbox.ts';
import { until } from './wait.ts';

export const PYTHON = '/usr/bin/python3';

export interface JournalEntry {
  ev: 'start' | 'poll' | 'update' | 'conflict' | 'error' | 'signal' | 'end';
  name: string;
  pid: number;
  at: number;
  /** start: fixture pollers of this bot that were alive at that moment. */
  others?: number[];
  id?: number;
  text?: string;
  signal?: string;
}

export type StartOptions = Partial<LaunchOptions>;

/** A text is split at its blanks. */
export type Words = string | readonly string[];
const wordsOf = (words: Words): readonly string[] =>
  typeof words === 'string' ? words.split(' ').filter(Boolean) : words;

export interface Finished extends Exit {
  stdout: string;
  stderr: string;
  /** Both. */
  text: string;
  ms: number;
}

export type Bed = Awaited<ReturnType<typeof bed>>;
type RunOptions = StartOptions & { ms?: number };

export const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
export const worker = (name: string): string => fixture(`workers/${name}`);
export const botFixture = (name: string): string => fixture(`bots/${name}`);

/** A command for `start`: the node fixture with its arguments. */
export const node = (name: string, ...args: string[]): string[] => [process.execPath, worker(name), ...args];

export const POLITE = ['--', ...node('polite.mjs')];

export const randomToken = (botId = randomInt(100_000_000, 2_000_000_000)): string =>
  `${botId}:AA${randomBytes(24).toString('base64url').slice(0, 33)}`;

/** Builds the world and registers its end with the test. */
export async function bed(t: TestContext) {
  const dir = mkdtempSync(join(tmpdir(), 'sp-e2e-'));
  chmodSync(dir, 0o755);
  const project = join(dir, 'project');
  const stateDir = join(dir, 'state');
  const journalFile = join(dir, 'journal');
  for (const path of [project, join(dir, 'home')]) mkdirSync(path);
  mkdirSync(stateDir, { mode: 0o700 });
  writeFileSync(journalFile, '');
  chmodSync(journalFile, 0o666);
  const token = randomToken();
  const cookie = randomBytes(12).toString('hex');
  const sandbox = await openSandbox(token);
  const owned = new Map<number, number>();
  const base: Record<string, string> = {
    PATH: process.env.PATH ?? '/usr/bin:/bin',
    HOME: join(dir, 'home'),
    LANG: 'C.UTF-8',
    [COOKIE_NAME]: cookie,
    SP_TEST_JOURNAL: journalFile,
    // By it the runner finds what a test leaves behind.
    SP_TEST_RUN: process.env.SP_TEST_RUN ?? cookie,
  };
  const env: Record<string, string> = {
    ...base,
    SINGLEPOLL_DIR: stateDir,
    TELEGRAM_API_ROOT: sandbox.root,
    TELEGRAM_BOT_TOKEN: token,
  };
  const remember = (running: Running): Running => {
    const proc = readProc(running.pid);
    if (proc) owned.set(proc.pid, proc.startTicks);
    return running;
  };
  t.after(async () => {
    try {
      await killByCookie(cookie, owned);
    } finally {
      await sandbox.close();
      rmSync(dir, { recursive: true, force: true });
    }
  });

  /** Starts `singlepoll …args`. */
  const cli = (args: Words, options: StartOptions = {}): Running =>
    remember(launch(process.execPath, ['--', PROGRAM, ...wordsOf(args)], { cwd: project, env, ...options }));

  /** Runs `singlepoll …args` to its end. */
  async function run(args: Words, options: RunOptions = {}): Promise<Finished> {
    const begin = performance.now();
    const running = cli(args, options);
    const exit = await running.exit(options.ms);
    const [stdout, stderr] = [running.stdout(), running.stderr()];
    return { ...exit, stdout, stderr, text: stdout + stderr, ms: performance.now() - begin };
  }

  /** The same; it must end with this code, or one of these. */
  async function exits(code: number | readonly number[], args: Words, options?: RunOptions) {
    const finished = await run(args, options);
    const told = `singlepoll ${wordsOf(args).join(' ')} ended with ${finished.code}, not ${code}`;
    assert.ok([code].flat().includes(finished.code ?? -1), `${told}\n${finished.text}`);
    return finished;
  }

  /** `singlepoll start …`; without a command in `args` the worker is polite.mjs. */
  function start(args: Words = [], options?: StartOptions): Running {
    const words = wordsOf(args);
    return cli(['start', ...words, ...(words.includes('--') ? [] : POLITE)], options);
  }

  /** The same, and waits until the worker has polled. */
  async function polling(args?: Words, options?: StartOptions): Promise<Running> {
    // Who `start` asks for is not polling yet.
    const polls = () => sandbox.polls().filter(({ userAgent }) => userAgent !== 'singlepoll').length;
    const before = polls();
    const running = start(args, options);
    const isThere = () => {
      if (running.ended()) throw new Error(`ended before it polled\n${running.seen()}`);
      return polls() > before;
    };
    await until('the first poll of the worker', isThere, running);
    return running;
  }

  /** What the fixture workers wrote down. */
  const journal = (): JournalEntry[] =>
    readFileSync(journalFile, 'utf8')
      .split('\n')
      // The last line may be half written.
      .slice(0, -1)
      .map((line) => JSON.parse(line) as JournalEntry);

  return {
    ...{ t, dir, stateDir, cookie, token, sandbox },
    /** The project folder: default cwd of everything. */
    project,
    botId: Number(token.split(':')[0]),
    /** Default environment of the program; a test may change it. */
    env,
    ...{ cli, run, exits, start, polling, journal },
    /** Starts any other process: cookie and PATH in its environment, nothing of singlepoll. */
    spawn(file: string, args: readonly string[], { env: own, ...options }: StartOptions = {}): Running {
      return remember(launch(file, args, { cwd: project, ...options, env: { ...base, ...own } }));
    },
    async status(options?: StartOptions): Promise<StatusDocument> {
      const { stdout, text, code } = await run('status --json', options);
      try {
        return JSON.parse(stdout) as StatusDocument;
      } catch (cause) {
        throw new Error(`status --json printed no JSON (exit ${code}): ${text}`, { cause });
      }
    },
    /** A worker handles an update that comes now; gives its id. */
    async serves(seen = { seen: () => '' }): Promise<number> {
      const id = sandbox.text('served?');
      const isHandled = () => journal().some((entry) => entry.ev === 'update' && entry.id === id);
      await until('a worker to handle an update that has just come', isHandled, seen);
      return id;
    },
    /** Writes a file under the project folder and returns its path. */
    file(name: string, text: string | Buffer, mode?: number): string {
      const path = join(project, name);
      writeFileSync(path, text);
      if (mode !== undefined) chmodSync(path, mode);
      return path;
    },
    /** Makes sure that a process without the cookie ends with the test. */
    own(pid: number): void {
      const proc = readProc(pid);
      if (proc) owned.set(pid, proc.startTicks);
    },
  };
}

/** Waits until none of the pids is alive. */
export const allGone = (pids: readonly number[]): Promise<unknown> =>
  until(`processes ${pids.join(', ')} to be gone`, () => pids.every((pid) => !alive(pid)));
