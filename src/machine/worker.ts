/**
 * The worker as a process: spawned in a session and group of its own, stdin closed to it, its death reported once.
 * Plain child_process rather than execa: this is the path from a crash to the next first instruction, and execa costs
 * 1 ms and an idle supervisor 10 MB (`npm run bench -- spawn`).
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';

export interface WorkerProcess {
  readonly pid: number;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Signals its first process only; false when it is gone. */
  signal(name: NodeJS.Signals): boolean;
}

export interface WorkerExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface SpawnRequest {
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** From `findSetpriv`: makes the kernel kill the worker when the supervisor's thread dies. */
  readonly setpriv: string | null;
}

/** Spawns; `onExit` is called once, also (with `problem`) when the program could not be started at all. */
export function spawnWorker(
  request: SpawnRequest,
  onExit: (exit: WorkerExit, problem: string | null) => void,
): WorkerProcess | null {
  const { argv, cwd, env, setpriv } = request;
  const [program, ...args] = setpriv
    ? [setpriv, '--pdeathsig', 'KILL', '--', ...argv]
    : ([...argv] as [string, ...string[]]);
  let child: ChildProcess;
  try {
    child = spawn(program as string, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  } catch (error) {
    // E2BIG, EMFILE and the like: thrown rather than emitted.
    setImmediate(onExit, { code: 126, signal: null }, (error as Error).message);
    return null;
  }
  if (child.pid === undefined || !child.stdout || !child.stderr) {
    child.once('error', (error: NodeJS.ErrnoException) => {
      onExit({ code: error.code === 'ENOENT' ? 127 : 126, signal: null }, error.message);
    });
    return null;
  }
  child.on('error', () => {});
  child.once('exit', (code, signal) => onExit({ code, signal }, null));
  return {
    pid: child.pid,
    stdout: child.stdout,
    stderr: child.stderr,
    signal: (name) => child.exitCode === null && child.signalCode === null && child.kill(name),
  };
}

/** Resolves to `setpriv` where it knows --pdeathsig (util-linux; busybox's does not), else null. */
export function findSetpriv(): Promise<string | null> {
  if (process.platform !== 'linux') return Promise.resolve(null);
  return new Promise((resolve) => {
    execFile('setpriv', ['--pdeathsig', 'KILL', '--', 'true'], { timeout: 2_000 }, (error) => {
      resolve(error ? null : 'setpriv');
    });
  });
}
