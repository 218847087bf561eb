// A look for strays on a machine with 3,000 processes: the first, which reads everything, and a quick one, as before a respawn.
import { fork } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { gather, newFolder, populace, root, TOKEN } from '../scene.mjs';
import { atMost, line } from '../statistics.mjs';

const CROWD = 3_000;
/** Built as the program is: otherwise the transpiler of the child that looks would be measured, too. */
async function buildLooker() {
  const outdir = newFolder('looker');
  const entryPoints = ['bench/probes/looker.ts', 'src/strays/inspector-child.ts'].map((it) => join(root, it));
  await build({
    entryPoints,
    outdir,
    bundle: true,
    entryNames: '[name]',
    platform: 'node',
    format: 'esm',
    target: 'node20.20',
    logLevel: 'error',
  });
  writeFileSync(join(outdir, 'package.json'), '{"type":"module"}');
  return join(outdir, 'looker.js');
}

export async function scan(rounds) {
  const disperse = await gather(CROWD);
  const note = `${populace()} processes on the machine`;
  const program = await buildLooker();
  const looks = [];
  // Each in a process of its own: the first look of all is with cold code.
  for (let round = 0; round < rounds; round++) {
    const looker = fork(program, [TOKEN], { cwd: newFolder('scan') });
    looks.push(await new Promise((resolve) => looker.once('message', resolve)));
    looker.kill();
  }
  await disperse();
  return [
    line({
      row: 'scan',
      what: 'first full look for strays',
      unit: 'ms',
      ours: looks.map(({ first }) => first),
      promise: atMost(250, 'ms'),
      note,
    }),
    line({
      row: 'scan',
      what: 'quick look before a respawn',
      unit: 'ms',
      ours: looks.map(({ quick }) => quick),
    }),
  ];
}
