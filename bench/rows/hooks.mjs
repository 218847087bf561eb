// What the hooks that lead a bot's calls to the gateway cost a program at its start: the same empty program with and without.
import { join } from 'node:path';
import { readProc } from '../../test/support/proc.ts';
import { environment, newFolder, root, wallMs } from '../scene.mjs';
import { atMostMore, inTurns } from '../statistics.mjs';

const HOOKS = join(root, 'dist/hooks');

export async function hooks(rounds) {
  const env = environment(newFolder('hooks'));
  const { pid, startTicks } = readProc(process.pid);
  // As long as the real one, and never dialled.
  const SINGLEPOLL_HOOK = ['1', pid, startTicks, Buffer.alloc(510).toString('base64')].join(':');
  const variables = { NODE_OPTIONS: `--require=${HOOKS}/node.cjs`, PYTHONPATH: `${HOOKS}/python` };
  const led = { ...env, SINGLEPOLL_HOOK, ...variables };
  const lines = [];
  for (const [program, option, maxMs] of [
    ['node', '-e', 12],
    ['python3', '-c', 4],
  ]) {
    const values = await inTurns(rounds * 4, {
      ours: () => wallMs(program, [option, '0'], led),
      theirs: () => wallMs(program, [option, '0'], env),
    });
    const what = `${program} ${option} 0, led`;
    lines.push({ what, unit: 'ms', ...values, against: 'without', promise: atMostMore(maxMs, 'ms') });
  }
  return lines;
}
