// What it costs to start a worker: node:child_process against execa. Backs the choice in src/supervise/worker.ts.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { memoryOf } from '../memory.mjs';
import { newFolder, probe, workerProgram } from '../scene.mjs';
import { inTurns, line } from '../statistics.mjs';

export const spawn = {
  name: 'spawn',
  about:
    'time to the first byte and memory: node:child_process and execa; what the parent-death signal takes',
  async run({ rounds }) {
    const home = newFolder('spawn');
    const word = join(home, 'word');
    writeFileSync(word, 'hello\n');
    const measure = (name) => () =>
      probe('spawner.mjs', [name, workerProgram(), 'copy', word], (pid, said) => ({
        ms: Number(said),
        ...memoryOf([pid]),
      }));
    const found = await inTurns(rounds, {
      spawn: measure('spawn'),
      ...(existsSync('/usr/bin/setpriv') ? { setpriv: measure('setpriv') } : {}),
      execa: measure('execa'),
    });
    const deathSignal = found.setpriv
      ? [
          line({
            row: 'spawn',
            what: 'with the parent-death signal, by setpriv: to the first byte',
            unit: 'ms',
            ours: found.setpriv.map((it) => it.ms),
            against: 'without it',
            theirs: found.spawn.map((it) => it.ms),
          }),
        ]
      : [];
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
      ...deathSignal,
    ];
  },
};
