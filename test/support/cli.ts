// The built program as a child: what it printed, how it ended, and waiting for either. Black box: only
// `bin/singlepoll.js`, its arguments, environment, streams, signals and exit code.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { LONG_MS, until } from './wait.ts';

export const PROGRAM = fileURLToPath(new URL('../../bin/singlepoll.js', import.meta.url));
/** What `singlepoll` is in a shell. */
export const COMMAND = fileURLToPath(new URL('../../bin/entry.sh', import.meta.url));

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export type Running = ReturnType<typeof launch>;

export interface LaunchOptions {
  cwd: string;
  env: Record<string, string>;
  /** File descriptors instead of pipes, for stdout and stderr. */
  stdout?: number;
  stderr?: number;
  /** Own session, as a daemon's or a terminal's child would be. */
  detached?: boolean;
  uid?: number;
  gid?: number;
}

/** Starts a program and collects what it prints. The end is `close`: exit, and both pipes drained. */
export function launch(file: string, args: readonly string[], options: LaunchOptions) {
  const child = spawn(file, args, {
    cwd: options.cwd,
    env: options.env,
    stdio: ['ignore', options.stdout ?? 'pipe', options.stderr ?? 'pipe'],
    detached: options.detached ?? false,
    ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.gid ?? options.uid }),
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout?.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr?.on('data', (chunk: Buffer) => err.push(chunk));
  let ended: Exit | null = null;
  let failure: Error | null = null;
  child.once('error', (error) => {
    failure = error;
  });
  // 'close' comes when the pipes are drained. A grandchild that keeps one must not hide for ever that the program has ended.
  child.once('exit', (code, signal) => {
    const done = () => {
      ended ??= { code, signal };
    };
    child.once('close', done);
    setTimeout(done, 10_000).unref();
  });
  const stdout = () => Buffer.concat(out).toString('utf8');
  const stderr = () => Buffer.concat(err).toString('utf8');
  /** Both streams, for messages of failed waits. */
  const seen = () =>
    `${file} ${args.join(' ')}\n--- stdout\n${stdout().slice(-3000)}\n--- stderr\n${stderr().slice(-3000)}\n--- end ${JSON.stringify(ended)}`;
  /** Waits for the end. */
  const exit = (ms = LONG_MS): Promise<Exit> => {
    const isOver = () => {
      if (failure) throw failure;
      return ended;
    };
    return until('the program to end', isOver, { ms, seen });
  };
  /** Waits for the end, which must have this code, or one of these. */
  const ends = async (code: number | readonly number[], ms?: number): Promise<void> => {
    const { code: found } = await exit(ms);
    assert.ok([code].flat().includes(found ?? -1), `ended with ${found}, not ${code}\n${seen()}`);
  };
  const signal = (name: NodeJS.Signals): void => void child.kill(name);
  return {
    pid: child.pid ?? -1,
    child,
    /** Everything so far, as bytes. */
    stdoutBytes: () => Buffer.concat(out),
    ...{ stdout, stderr, seen, exit, ends, signal },
    /** Set once the process has ended and its pipes are drained. */
    ended: () => ended,
    /** Waits until stdout or stderr matches. */
    async waitFor(pattern: RegExp | string, ms?: number): Promise<void> {
      const matches = () => {
        const text = `${stdout()}\n${stderr()}`;
        if (typeof pattern === 'string' ? text.includes(pattern) : pattern.test(text)) return true;
        if (ended) throw new Error(`ended before its output matched ${pattern}\n${seen()}`);
        return false;
      };
      await until(`the output to match ${pattern}`, matches, { ms, seen });
    },
    /** SIGTERM, which has to end it with 0. */
    async stop(ms?: number): Promise<void> {
      signal('SIGTERM');
      await ends(0, ms);
    },
  };
}
