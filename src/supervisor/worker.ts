/**
 * The worker as a process, and the pipes for the output of the next one, made ahead so that a crash does not wait for them. A worker has a
 * session and group of its own, its stdin is empty, and its death is reported once. Plain child_process and not execa: that costs 1 ms
 * at each spawn and an idle supervisor 12 MB.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import type { Config } from '../config/load.ts';
import { secretOf } from '../config/token.ts';
import { openWorkerPipes, type WorkerPipes } from '../output/pipes.ts';
import { findExecutable } from './executable.ts';

export interface WorkerProcess {
  readonly pid: number;
  /** Read ends: descriptors where pipes could be made, else streams. */
  readonly stdout: Readable | number;
  readonly stderr: Readable | number;
  /** Signals its first process only; false when it is gone. */
  signal(name: NodeJS.Signals): boolean;
}

export interface WorkerExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export type NextWorker = ReturnType<typeof createNextWorker>;

/** `stdin`: it gets ours. `folder`: a private one, for the moment in which pipes are made. */
export function createNextWorker(argv: readonly string[], cwd: string, stdin: boolean, folder: string) {
  let pipes: WorkerPipes | null = null;
  let making: Promise<void> | null = null;
  let isOver = false;

  async function makePipes(): Promise<void> {
    pipes = await openWorkerPipes(folder).catch(() => null);
    making = null;
  }

  function discard(): void {
    pipes?.discard();
    pipes = null;
  }

  return {
    /** Makes what is missing. Never rejects. */
    async prepare(): Promise<void> {
      if (!pipes) making ??= makePipes();
      await making;
      if (isOver) discard();
    },
    /** `onExit` is called once, also (with `problem`) when the program could not be started at all: null then. */
    spawn(
      env: Readonly<Environment>,
      onExit: (exit: WorkerExit, problem: string | null) => void,
    ): WorkerProcess | null {
      const fail = (code: number, problem: string): null => {
        setImmediate(onExit, { code, signal: null }, problem);
        return null;
      };
      const [program = '', ...args] = argv;
      const found = findExecutable(program, cwd, env.PATH);
      if (!found.ok) return fail(found.code, found.problem);
      const [out, err] = pipes?.writeFds ?? (['pipe', 'pipe'] as const);
      let child: ChildProcess;
      try {
        child = spawn(program, args, { cwd, env, stdio: [stdin ? 0 : 'ignore', out, err], detached: true });
      } catch (error) {
        discard();
        // E2BIG, EMFILE and the like: thrown rather than emitted.
        return fail(126, (error as Error).message);
      }
      const [stdout, stderr] = pipes?.readFds ?? [child.stdout, child.stderr];
      if (child.pid === undefined || stdout === null || stderr === null) {
        discard();
        child.once('error', ({ code, message }: NodeJS.ErrnoException) =>
          onExit({ code: code === 'ENOENT' ? 127 : 126, signal: null }, message),
        );
        return null;
      }
      pipes?.closeWriteEnds();
      pipes = null;
      child.on('error', () => {});
      child.once('exit', (code, signal) => onExit({ code, signal }, null));
      return {
        ...{ pid: child.pid, stdout, stderr },
        signal: (name) => child.exitCode === null && child.signalCode === null && child.kill(name),
      };
    },
    /** No worker will be spawned any more. Resolves when no file is left that was made for pipes. */
    async discard(): Promise<void> {
      isOver = true;
      await making;
      discard();
    },
  };
}

export type Environment = Record<string, string | undefined>;

/**
 * `spawn` counts 1, 2, 3 …; `run` is one random id per supervisor run. `given` is used in place of the user's own: the gateway, a token
 * that where it is sealed is of no other use, and the fencing number of the lease, null without one.
 */
export function workerEnv(
  config: Pick<Config, 'envFileVars' | 'polling' | 'token' | 'botId' | 'sandbox' | 'tokenVariables'>,
  env: Readonly<Environment>,
  run: string,
  spawn: number,
  given: { readonly apiRoot: string; readonly token: string | null; readonly epoch: number | null },
): Environment {
  const own: Environment = {
    POLLING_ENABLED: config.polling ? '1' : '0',
    PYTHONUNBUFFERED: '1',
    // A Python program that sets its title (setproctitle) would wipe its environment block, and with it the mark that finds
    // it again after it has moved to another session; this tells it not to.
    SPT_NOENV: '1',
    TELEGRAM_API_ROOT: given.apiRoot,
    SINGLEPOLL_RUN: run,
    SINGLEPOLL_SPAWN: String(spawn),
  };
  if (given.epoch !== null) own.SINGLEPOLL_EPOCH = String(given.epoch);
  if (given.token !== null) own.TELEGRAM_BOT_TOKEN = given.token;
  // In the sandbox no name may lead the worker to the real bot.
  if (config.sandbox) for (const name of config.tokenVariables) own[name] = given.token ?? '';
  if (config.botId !== null) own.SINGLEPOLL_BOT = String(config.botId);
  const whole: Environment = { ...config.envFileVars, ...env, ...own };
  passProxiesBy(whole, given.apiRoot);
  if (config.token === null || given.token === config.token) return whole;
  // Sealed: the real token is nowhere, whatever variable held it, and be it in the midst of a URL.
  const [secret, sealed] = [secretOf(config.token), secretOf(given.token ?? '')];
  for (const [name, value] of Object.entries(whole)) {
    // The secret alone, so that it does not matter how the colon is written.
    if (value?.includes(secret)) whole[name] = value.replaceAll(secret, sealed);
  }
  return whole;
}

/** A proxy of the user's can't reach the gateway: its loopback is another one. */
function passProxiesBy(env: Environment, apiRoot: string): void {
  if (!apiRoot.startsWith('http://127.0.0.1:')) return;
  const proxied = ['http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'].some((name) => env[name]);
  if (!proxied) return;
  for (const name of ['no_proxy', 'NO_PROXY']) {
    const hosts = env[name] ?? env.no_proxy ?? env.NO_PROXY ?? '';
    if (hosts.split(',').some((it) => it.trim() === '127.0.0.1' || it.trim() === '*')) env[name] = hosts;
    else env[name] = hosts === '' ? '127.0.0.1' : `${hosts},127.0.0.1`;
  }
}
