// What it costs to start a worker: node:child_process against execa. Backs the choice in src/machine/worker.ts.
import { fork } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { memoryOf } from '../memory.mjs';
import { environment, newFolder, root, workerProgram } from '../scene.mjs';
import { inTurns, line } from '../statistics.mjs';

export const spawn = {
  name: 'spawn',
  about: 'time to the first byte and memory: node:child_process and execa',
  async run({ rounds }) {
    const home = newFolder('spawn');
    const word = join(home, 'word');
    writeFileSync(word, 'hello\n');
    const measure = (name) => () => spawnWith(name, [workerProgram(), 'copy', word], home);
    const found = await inTurns(rounds, { spawn: measure('spawn'), execa: measure('execa') });
    const compare = (what, unit, key) =>
      line({
        row: 'spawn',
        what: `spawn by node:child_process: ${what}`,
        unit,
        ours: found.spawn.map((it) => it[key]),
        against: 'execa',
        theirs: found.execa.map((it) => it[key]),
      });
    return [
      compare('to the first byte', 'ms', 'ms'),
      compare('RSS after 12', 'MiB', 'rss'),
      compare('private', 'MiB', 'private'),
    ];
  },
};

async function spawnWith(name, words, home) {
  const child = fork(join(root, 'bench/probes/spawner.mjs'), [name, ...words], {
    env: environment(home),
    stdio: 'inherit',
  });
  const ms = await new Promise((resolve, reject) => {
    child.once('message', resolve);
    child.once('exit', (code) => reject(new Error(`the spawner ended with ${code}`)));
  });
  const memory = memoryOf([child.pid]);
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('exit', resolve));
  return { ms, ...memory };
}
