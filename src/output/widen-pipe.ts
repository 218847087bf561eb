/**
 * Makes a pipe hold more than the 64 KiB of Linux, for a worker that floods: it then need not stop after each of its writes
 * until we have run, nor we after each read, which takes a quarter of the time. That is fcntl(2), F_SETPIPE_SZ, which Node does
 * not offer, and which an interpreter nearby is asked for: perl (part of every Debian), else python3. Where there is
 * neither, or the user's pipes take too much memory already (pipe(7), pipe-user-pages-soft), the pipe stays as it is.
 */
import { type StdioOptions, spawn } from 'node:child_process';

/** What anybody may ask for (pipe(7), /proc/sys/fs/pipe-max-size). */
export const WIDE_PIPE_BYTES = 1024 * 1024;

const F_SETPIPE_SZ = 1031;
const WAYS: readonly (readonly [string, ...string[]])[] = [
  ['perl', '-e', `open F, '<&=3'; fcntl F, ${F_SETPIPE_SZ}, ${WIDE_PIPE_BYTES}`],
  ['python3', '-ISc', `import fcntl; fcntl.fcntl(3, ${F_SETPIPE_SZ}, ${WIDE_PIPE_BYTES})`],
];
const PATIENCE_MS = 5_000;

/** `fd`: either end of the pipe. Returns at once; it happens some milliseconds later, or not at all. */
export function widenPipe(fd: number): void {
  if (process.platform !== 'linux') return;
  // Without the token: a look for strays may meet it.
  const env = { PATH: process.env.PATH };
  // Not as one of the first three: libuv takes O_NONBLOCK from those, for us as well, and our next read would block.
  const stdio: StdioOptions = ['ignore', 'ignore', 'ignore', fd];
  for (const [program, ...words] of WAYS) {
    try {
      const child = spawn(program, words, { stdio, env, timeout: PATIENCE_MS, killSignal: 'SIGKILL' });
      child.on('error', () => {});
      child.unref();
      // Without one there is no such program.
      if (child.pid !== undefined) return;
    } catch {
      // No memory or no descriptor for it: then not.
      return;
    }
  }
}
