/**
 * What ends the worker's process group when the supervisor dies without a chance to: a shell of its own session that
 * reads a pipe only the supervisor holds. Each line names the group to end; at the pipe's end (the kernel closes it with
 * the supervisor, however that died) the last named group gets SIGKILL.
 *
 * The kernel's parent-death signal (setpriv) ends the worker's first process alone, and for a worker that is one process that is
 * all: the shell is there only when the worker has children, or where there is no such signal. Children in groups of their own are
 * found by the next start through their SINGLEPOLL_RUN.
 */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { isThere } from './is-there.ts';

export interface Guard {
  readonly pid: number | undefined;
  /** Names the group that has to go if the supervisor dies; null: none. `mortal`: the kernel ends its leader with us. */
  watch(pgid: number | null, mortal?: boolean): void;
  /** Ends the guard itself; what it watched stays. */
  release(): void;
}

// dash takes no `kill -9 -- -PGID`; `-s KILL` works in dash, bash and busybox.
const SCRIPT = 'p=;while read -r g;do p=$g;done;[ -n "$p" ]&&kill -s KILL -- "-$p"';

/** A worker that forks does so at its start, or it may at any time. */
const LOOKS_MS = [50, 150, 400, 1_000];
/** Half a millisecond each, which is most of what an idle supervisor does. */
const LOOK_EVERY_MS = 2_000;
/** Looking at more threads than these would cost more than a shell. */
const THREADS_MAX = 64;

/** Where there is no shell (a distroless image) there is no guard, and that is no error. */
export function createGuard(): Guard {
  let shell: Guard | null = null;
  let timer: NodeJS.Timeout | undefined;
  let present: number | null = null;

  function tell(): void {
    shell ??= startShell();
    shell.watch(present);
  }

  function look(pgid: number, turn: number): void {
    if (present !== pgid || shell) return;
    if (hasChildren(pgid)) tell();
    else timer = setTimeout(look, LOOKS_MS[turn] ?? LOOK_EVERY_MS, pgid, turn + 1).unref();
  }

  return {
    get pid() {
      return shell?.pid;
    },
    watch(pgid, mortal = false) {
      clearTimeout(timer);
      present = pgid;
      if (shell || (pgid !== null && !mortal)) tell();
      else if (pgid !== null) timer = setTimeout(look, LOOKS_MS[0], pgid, 1).unref();
    },
    release() {
      clearTimeout(timer);
      present = null;
      shell?.release();
    },
  };
}

/** True also where the kernel does not tell. */
function hasChildren(pid: number): boolean {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    if (threads.length > THREADS_MAX) return true;
    return threads.some((tid) => readFileSync(`/proc/${pid}/task/${tid}/children`, 'latin1') !== '');
  } catch {
    return isThere(pid);
  }
}

function startShell(): Guard {
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
