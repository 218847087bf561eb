// singlepoll as the other supervisors are measured: the same worker, the same verbs.
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { begin, endAndWait, program, until, workerProgram } from '../scene.mjs';

export const name = 'singlepoll';

export const prepare = () => null;

/** `env` holds the bot; `words` go to the worker, unless a whole `command` takes its place; its output goes to the file `output`. */
export function create({ home, env, words = [], command = null, output, options = [] }) {
  const said = join(home, 'said');
  let child = null;
  let settledSpawns = 0;
  return {
    async launch() {
      const [out, err] = [openSync(output, 'a'), openSync(said, 'w')];
      child = begin(
        program,
        [
          'start',
          '--max-restarts',
          '1000/1m',
          '--log-format',
          'json',
          ...options,
          '--',
          ...(command ?? [workerProgram(), ...words]),
        ],
        { env, cwd: home, stdio: ['ignore', out, err] },
      );
      closeSync(out);
      closeSync(err);
    },
    /** Resolves when the run counts as good: what follows a death now is an immediate restart. */
    async settled() {
      settledSpawns += 1;
      const polling = () => readFileSync(said, 'utf8').split('"what":"polling"').length - 1;
      await until('singlepoll to see its worker poll', () => polling() >= settledSpawns, { everyMs: 20 });
    },
    pid: () => child.pid,
    /** The supervisor, and the shells beside it: the guard, and the one that waits to become the next worker. */
    pids: () => [
      child.pid,
      ...childrenOf(child.pid).filter((pid) =>
        /^(?:sh|dash)\n$/.test(readFileSync(`/proc/${pid}/comm`, 'utf8')),
      ),
    ],
    status: [program, ['status']],
    said: () => readFileSync(said, 'utf8'),
    ended: () =>
      new Promise((resolve) => (child.exitCode === null ? child.once('exit', resolve) : resolve())),
    close: () => endAndWait(child.pid),
  };
}

function childrenOf(pid) {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
}
