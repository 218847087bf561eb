// What the hooks that lead a bot's calls to the gateway cost a program at its start: the same empty program with and without.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { environment, newFolder, root, wallMs } from '../scene.mjs';
import { atMostMore, inTurns, line } from '../statistics.mjs';

const HOOKS = join(root, 'dist/hooks');

export async function hooks(rounds) {
  const env = environment(newFolder('hooks'));
  const stat = readFileSync('/proc/self/stat', 'latin1');
  const startTime = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  // As long as the real one, and never dialled.
  const SINGLEPOLL_HOOK = ['1', process.pid, startTime, Buffer.alloc(510).toString('base64')].join(':');
  const led = {
    ...env,
    SINGLEPOLL_HOOK,
    NODE_OPTIONS: `--require=${HOOKS}/node.cjs`,
    PYTHONPATH: `${HOOKS}/python`,
  };
  const rows = [
    { what: 'node -e 0', program: process.execPath, words: ['-e', '0'], maxMs: 12 },
    { what: 'python3 -c 0', program: 'python3', words: ['-c', '0'], maxMs: 4 },
  ];
  const lines = [];
  for (const { what, program, words, maxMs } of rows) {
    const { ours, theirs } = await inTurns(rounds * 4, {
      ours: () => wallMs(program, words, led),
      theirs: () => wallMs(program, words, env),
    });
    const promise = atMostMore(maxMs, 'ms');
    lines.push(
      line({ row: 'hooks', what: `${what}, led`, unit: 'ms', ours, against: 'without', theirs, promise }),
    );
  }
  return lines;
}
