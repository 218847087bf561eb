/**
 * The worker as a process: spawned in a session and group of its own, stdin closed to it, its death reported once.
 * Plain child_process rather than execa: this is the path from a crash to the next first instruction, and execa costs
 * 1 ms and an idle supervisor 12 MB (`npm run bench -- spawn`).
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import type { WorkerPipes } from '../output/pipes.ts';
import { findExecutable } from './executable.ts';
import type { Launcher } from './launcher.ts';

export interface WorkerProcess {
  readonly pid: number;
  /** Read ends: descriptors where pipes were given, else streams. */
  readonly stdout: Readable | number;
  readonly stderr: Readable | number;
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
  /** Real pipes for its output, used up by the spawn; null: sockets, as Node makes them. */
  readonly pipes: WorkerPipes | null;
  /** Waits with these pipes to become the worker; used up as well. */
  readonly launcher: Launcher | null;
}

/** Spawns; `onExit` is called once, also (with `problem`) when the program could not be started at all. */
export function spawnWorker(
  request: SpawnRequest,
  onExit: (exit: WorkerExit, problem: string | null) => void,
): WorkerProcess | null {
  const { pipes, launcher } = request;
  let child: ChildProcess | null = launcher?.become(request) ?? null;
  if (!child) launcher?.drop();
  try {
    child ??= spawnAnew(request);
  } catch (error) {
    pipes?.discard();
    // E2BIG, EMFILE and the like: thrown rather than emitted.
    setImmediate(onExit, { code: 126, signal: null }, (error as Error).message);
    return null;
  }
  const started = child;
  const [stdout, stderr] = pipes?.readFds ?? [child.stdout, child.stderr];
  if (child.pid === undefined || stdout === null || stderr === null) {
    pipes?.discard();
    child.once('error', (error: NodeJS.ErrnoException) => {
      onExit({ code: error.code === 'ENOENT' ? 127 : 126, signal: null }, error.message);
    });
    return null;
  }
  pipes?.closeWriteEnds();
  child.on('error', () => {});
  child.once('exit', (code, signal) => onExit({ code, signal }, null));
  return {
    pid: child.pid,
    stdout,
    stderr,
    signal: (name) => started.exitCode === null && started.signalCode === null && started.kill(name),
  };
}

function spawnAnew({ argv, cwd, env, setpriv, pipes }: SpawnRequest): ChildProcess {
  const [program = '', ...args] = setpriv ? [setpriv, '--pdeathsig', 'KILL', '--', ...argv] : argv;
  const [out, err] = pipes?.writeFds ?? (['pipe', 'pipe'] as const);
  return spawn(program, args, { cwd, env, stdio: ['ignore', out, err], detached: true });
}

/** Resolves to the path of `setpriv` where it knows --pdeathsig (util-linux; busybox's does not), else null. */
export function findSetpriv(): Promise<string | null> {
  if (process.platform !== 'linux') return Promise.resolve(null);
  const found = findExecutable('setpriv', '/', process.env.PATH);
  if (!found.ok) return Promise.resolve(null);
  return new Promise((resolve) => {
    // Without the token: a look for strays may meet it.
    const env = { PATH: process.env.PATH };
    execFile(found.path, ['--pdeathsig', 'KILL', '--', 'true'], { timeout: 2_000, env }, (error) => {
      resolve(error ? null : found.path);
    });
  });
}
