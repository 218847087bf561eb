// One test's private world: temp folders, a Bot API stand-in, a bot of its own, an environment with nothing of
// the machine in it, and a clean-up that ends every process the test started, whatever became of the test.
import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { StatusDocument } from '../../src/supervisor/status.ts';
import { type Exit, type LaunchOptions, launch, PROGRAM, type Running } from './cli.ts';
import { alive, COOKIE_NAME, killByCookie, readProc } from './proc.ts';
import { openSandbox, type TestSandbox } from './sandbox.ts';
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
const wordsOf = (words: Words): readonly string[] => (typeof words === 'string' ? words.split(' ') : words);

export interface Finished extends Exit {
  stdout: string;
  stderr: string;
  /** Both. */
  text: string;
  ms: number;
}

export interface Bed {
  readonly t: TestContext;
  readonly dir: string;
  /** The project folder: default cwd of everything. */
  readonly project: string;
  readonly stateDir: string;
  readonly cookie: string;
  readonly token: string;
  readonly botId: number;
  readonly sandbox: TestSandbox;
  /** Default environment of the program; a test may change it. */
  readonly env: Record<string, string>;
  /** Starts `singlepoll …args`. */
  cli(args: Words, options?: StartOptions): Running;
  /** Runs `singlepoll …args` to its end. */
  run(args: Words, options?: StartOptions & { ms?: number }): Promise<Finished>;
  /** The same; it must end with this code, or one of these. */
  exits(
    code: number | readonly number[],
    args: Words,
    options?: StartOptions & { ms?: number },
  ): Promise<Finished>;
  /** `singlepoll start …`; without a command in `args` the worker is polite.mjs. */
  start(args?: Words, options?: StartOptions): Running;
  /** The same, and waits until the worker has polled. */
  polling(args?: Words, options?: StartOptions & { ms?: number }): Promise<Running>;
  /** A worker handles an update that comes now; gives its id. */
  serves(seen?: { seen: () => string }, ms?: number): Promise<number>;
  /** Starts any other process: cookie and PATH in its environment, nothing of singlepoll. */
  spawn(file: string, args: readonly string[], options?: StartOptions): Running;
  status(options?: StartOptions): Promise<StatusDocument>;
  /** What the fixture workers wrote down. */
  journal(): JournalEntry[];
  /** Writes a file under the project folder and returns its path. */
  file(name: string, text: string | Buffer, mode?: number): string;
  /** Makes sure that a process without the cookie ends with the test. */
  own(pid: number): void;
}

export const worker = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/workers/${name}`, import.meta.url));
export const botFixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/bots/${name}`, import.meta.url));

/** A command for `start`: the node fixture with its arguments. */
export const node = (name: string, ...args: string[]): string[] => [process.execPath, worker(name), ...args];

export const POLITE = ['--', ...node('polite.mjs')];

export const randomToken = (botId = randomInt(100_000_000, 2_000_000_000)): string =>
  `${botId}:AA${randomBytes(24).toString('base64url').slice(0, 33)}`;

/** Builds the world and registers its end with the test. */
export async function bed(t: TestContext): Promise<Bed> {
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

  const cli: Bed['cli'] = (args, options = {}) =>
    remember(launch(process.execPath, ['--', PROGRAM, ...wordsOf(args)], { cwd: project, env, ...options }));

  const self: Bed = {
    t,
    dir,
    project,
    stateDir,
    cookie,
    token,
    botId: Number(token.split(':')[0]),
    sandbox,
    env,
    cli,
    async run(args, options = {}) {
      const begin = performance.now();
      const running = cli(args, options);
      const exit = await running.exit(options.ms ?? 30_000);
      const [stdout, stderr] = [running.stdout(), running.stderr()];
      return { ...exit, stdout, stderr, text: stdout + stderr, ms: performance.now() - begin };
    },
    async exits(code, args, options) {
      const finished = await self.run(args, options);
      const told = `singlepoll ${wordsOf(args).join(' ')} ended with ${finished.code}, not ${code}`;
      assert.ok([code].flat().includes(finished.code ?? -1), `${told}\n${finished.text}`);
      return finished;
    },
    start(args = [], options) {
      const words = args === '' ? [] : wordsOf(args);
      return cli(['start', ...words, ...(words.includes('--') ? [] : POLITE)], options);
    },
    async polling(args, options = {}) {
      // Who `start` asks for is not polling yet.
      const polls = () => sandbox.polls().filter(({ userAgent }) => userAgent !== 'singlepoll').length;
      const before = polls();
      const running = self.start(args, options);
      await until(
        'the first poll of the worker',
        () => {
          if (running.ended()) throw new Error(`ended before it polled\n${running.seen()}`);
          return polls() > before;
        },
        { ms: options.ms ?? 20_000, seen: running.seen },
      );
      return running;
    },
    spawn: (file, args, options = {}) => {
      const { env: own, ...rest } = options;
      return remember(launch(file, args, { cwd: project, ...rest, env: { ...base, ...own } }));
    },
    async status(options = {}) {
      const result = await self.run(['status', '--json'], options);
      try {
        return JSON.parse(result.stdout) as StatusDocument;
      } catch (error) {
        throw new Error(
          `status --json printed no JSON (exit ${result.code}): ${result.stdout}${result.stderr}`,
          {
            cause: error,
          },
        );
      }
    },
    async serves(seen = { seen: () => '' }, ms = 30_000) {
      const id = sandbox.text('served?');
      const isHandled = () => self.journal().some((entry) => entry.ev === 'update' && entry.id === id);
      await until('a worker to handle an update that has just come', isHandled, { ...seen, ms });
      return id;
    },
    journal: () =>
      existsSync(journalFile)
        ? readFileSync(journalFile, 'utf8')
            .split('\n')
            // The last line may be half written.
            .slice(0, -1)
            .map((line) => JSON.parse(line) as JournalEntry)
        : [],
    file(name, text, mode) {
      const path = join(project, name);
      writeFileSync(path, text);
      if (mode !== undefined) chmodSync(path, mode);
      return path;
    },
    own(pid) {
      const proc = readProc(pid);
      if (proc) owned.set(pid, proc.startTicks);
    },
  };
  return self;
}

/** Waits until none of the pids is alive. */
export const allGone = (pids: readonly number[], ms = 15_000): Promise<unknown> =>
  until(`processes ${pids.join(', ')} to be gone`, () => pids.every((pid) => !alive(pid)), { ms });
