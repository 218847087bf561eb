/**
 * Real pipes for a worker's output. Node gives its children sockets, which are slower by a third, take twice the memory here, and can't
 * be opened by a worker (`echo > /dev/stderr` fails with ENXIO). So a FIFO is made, opened at both ends and unlinked at once.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { namesIn, removeQuietly } from '../files.ts';
import { isThere } from '../machine/procfs.ts';

export type WorkerPipes = NonNullable<Awaited<ReturnType<typeof openWorkerPipes>>>;

/**
 * Makes the pipes by mkfifo, in `folder`, which must be private to us. Null where that is not possible: no mkfifo, a read-only folder,
 * a file system without FIFOs.
 */
export async function openWorkerPipes(folder: string) {
  const name = `${process.pid}-${randomBytes(4).toString('hex')}`;
  const paths = ['out', 'err'].map((it) => join(folder, `.${it}-${name}`));
  const fds: number[] = [];
  try {
    const options = { timeout: 2_000, env: { PATH: process.env.PATH } };
    await promisify(execFile)('mkfifo', ['-m', '600', '--', ...paths], options);
    const { O_RDONLY, O_NONBLOCK, O_WRONLY } = fs.constants;
    // The reader first: a writer would wait for it.
    for (const path of paths) {
      fds.push(fs.openSync(path, O_RDONLY | O_NONBLOCK));
      fds.push(fs.openSync(path, O_WRONLY));
    }
  } catch {
    closeAll(fds);
    return null;
  } finally {
    paths.forEach(removeQuietly);
    removeLeft(folder);
  }
  const [outRead = -1, outWrite = -1, errRead = -1, errWrite = -1] = fds;
  return {
    /** To be given to the pumps, which close them: of stdout and stderr. */
    readFds: [outRead, errRead] as const,
    writeFds: [outWrite, errWrite] as const,
    /** Closes our copies of the worker's ends: once it is spawned, so that its death is seen as the end. */
    closeWriteEnds: () => closeAll([outWrite, errWrite]),
    /** Closes all: no worker will be spawned with them. */
    discard: () => closeAll(fds),
  };
}

/** Removes the FIFOs of supervisors that were killed before they could unlink them. */
function removeLeft(folder: string): void {
  for (const name of namesIn(folder)) {
    const [, pid] = /^\.(?:out|err)-(\d+)-[\da-f]{8}$/.exec(name) ?? [];
    if (pid !== undefined && !isThere(Number(pid))) removeQuietly(join(folder, name));
  }
}

function closeAll(fds: readonly number[]): void {
  for (const fd of fds) fs.closeSync(fd);
}
