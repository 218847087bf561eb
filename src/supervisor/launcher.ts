/**
 * A shell that waits to become the next worker: with the kernel's parent-death signal set already, in a session of its own, holding
 * the pipes. Told what to run it only has to exec, and the crash of a worker does not wait for a fork of our 50 MB, an exec of setpriv,
 * and its loading: without it a restart takes as long as PM2's, or a tenth longer (`npm run bench -- restart`). It knows nothing
 * before: neither the token nor the command, so nobody takes it for a worker. When we die it does; when it does, or what it is to
 * become can't be said in its language, the worker is spawned as usual.
 *
 * That shell is dash, the smallest there is (1.7 MB, nearly all of it shared); others add to the environment, or read bytewise.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, writeSync } from 'node:fs';
import { isUsableFolder } from '../files.ts';
import type { WorkerPipes } from '../output/pipes.ts';
import { singleQuote } from '../shell.ts';

export type Launcher = NonNullable<ReturnType<typeof openLauncher>>;

export interface Command {
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export function findLauncherShell(): string | null {
  return ['/bin/dash', '/usr/bin/dash'].find((path) => existsSync(path)) ?? null;
}

/** Null where it can't be started. `setpriv`: from findSetpriv. */
export function openLauncher(shell: string, setpriv: string, pipes: WorkerPipes) {
  const { gate, writeFds } = pipes;
  const script = '[ "$PPID" = "$1" ]&&. /dev/fd/0';
  const words = ['-c', script, 'singlepoll-next-worker', String(process.pid)];
  let child: ChildProcess;
  try {
    child = spawn(setpriv, ['--pdeathsig', 'KILL', '--', shell, ...words], {
      // Opened by name it is a description of its own, which blocks as a shell expects; that would wait for a writer, so it has one.
      stdio: [gate.readFd, ...writeFds, gate.writeFd],
      detached: true,
      cwd: '/',
      env: {},
    });
  } catch {
    return null;
  }
  child.on('error', () => {});
  if (child.pid === undefined) return null;
  child.unref();
  const isThere = () => child.exitCode === null && child.signalCode === null;
  return {
    /** Null, and nothing has happened: it can't. */
    become(what: Command): ChildProcess | null {
      const script = isThere() ? launchScript(what) : null;
      if (script === null || !tell(gate.writeFd, script)) return null;
      child.ref();
      return child;
    },
    /** Ends it; for what follows the pipes are as they were. */
    drop(): void {
      if (isThere()) child.kill('SIGKILL');
    },
  };
}

const SCRIPT_BYTES_MAX = 60 * 1024;

function tell(fd: number, script: string): boolean {
  try {
    const bytes = Buffer.from(script);
    return writeSync(fd, bytes) === bytes.length;
  } catch {
    return false;
  }
}

/** Names that a shell can carry, but for two to which dash gives a value of its own. */
const NAME = /^(?!(?:OPTIND|LINENO)$)[A-Za-z_][A-Za-z0-9_]*$/;

/** Null: not to be said in dash's language without a change. */
export function launchScript({ argv, cwd, env }: Command): string | null {
  const names = Object.keys(env).filter((name) => env[name] !== undefined);
  const [program = ''] = argv;
  const isPlain =
    Boolean(env.PATH) &&
    program !== '' &&
    !program.startsWith('-') &&
    names.every((name) => NAME.test(name)) &&
    [...argv, cwd, ...names.map((name) => env[name])].every((it) => !it?.includes('\0'));
  if (!isPlain || !isUsableFolder(cwd)) return null;
  // In braces: half of it is nothing that dash would begin to do.
  const script = [
    '{',
    'exec </dev/null 3>&-',
    `cd ${singleQuote(cwd)}||exit 126`,
    'unset PWD OLDPWD',
    ...names.map((name) => `export ${name}=${singleQuote(env[name] ?? '')}`),
    `exec ${argv.map(singleQuote).join(' ')}`,
    '}\n',
  ].join('\n');
  return Buffer.byteLength(script) <= SCRIPT_BYTES_MAX ? script : null;
}
