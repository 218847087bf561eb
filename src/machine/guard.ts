/**
 * What ends the worker's process group when the supervisor dies without a chance to: a shell of its own session that
 * reads a pipe only the supervisor holds. Each line names the group to end; at the pipe's end (the kernel closes it with
 * the supervisor, however that died) the last named group gets SIGKILL. The kernel's parent-death signal covers the
 * worker's first process alone, and only where setpriv has it; children in groups of their own are found by the next
 * start through their SINGLEPOLL_RUN.
 */
import { spawn } from 'node:child_process';

export interface Guard {
  readonly pid: number | undefined;
  /** Names the group that has to go if the supervisor dies; null: none. */
  watch(pgid: number | null): void;
  /** Ends the guard itself; what it watched stays. */
  release(): void;
}

// dash takes no `kill -9 -- -PGID`; `-s KILL` works in dash, bash and busybox.
const SCRIPT = 'p=;while read -r g;do p=$g;done;[ -n "$p" ]&&kill -s KILL -- "-$p"';

/** Starts the guard; where there is no shell (a distroless image) there is none, and that is no error. */
export function startGuard(): Guard {
  const child = spawn('/bin/sh', ['-c', SCRIPT, 'singlepoll-guard'], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
    env: {},
    cwd: '/',
  });
  child.on('error', () => {});
  // With no descriptor left (EMFILE) Node makes a child without streams, against its typing.
  const stdin = child.stdin as typeof child.stdin | undefined;
  stdin?.on('error', () => {});
  child.unref();
  // @ts-expect-error the type leaves out that a child's stdin is a socket, which can be unref'd
  stdin?.unref();
  return {
    get pid() {
      return child.pid;
    },
    watch(pgid) {
      stdin?.write(`${pgid ?? ''}\n`);
    },
    release() {
      stdin?.end('\n');
    },
  };
}
