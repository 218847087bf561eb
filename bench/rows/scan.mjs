// A look for strays on a machine with 3,000 processes: the first, which reads everything, and a quick one, as before a respawn.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { gather, newFolder, root, TOKEN } from '../scene.mjs';
import { atMost } from '../statistics.mjs';

const CROWD = 3_000;

export async function scan(rounds) {
  const looker = await buildLooker();
  await gather(CROWD);
  const looks = [];
  // Each in a process of its own: the first look of all is with cold code.
  for (let round = 0; round < rounds; round++) {
    const child = fork(looker, [TOKEN], { cwd: newFolder('scan'), execArgv: [] });
    looks.push((await once(child, 'message'))[0]);
    child.kill();
  }
  const lineOf = (what, key, promise) => ({ what, unit: 'ms', ours: looks.map((it) => it[key]), promise });
  return [
    lineOf(`first full look for strays, ${CROWD} more processes`, 'first', atMost(250, 'ms')),
    lineOf('quick look before a respawn', 'quick'),
  ];
}

/** Built as the program is: otherwise the transpiler of the child that looks would be measured, too. */
async function buildLooker() {
  const outdir = newFolder('looker');
  const entryPoints = ['bench/probes/looker.ts', 'src/strays/inspector-child.ts'].map((it) => join(root, it));
  const options = { bundle: true, platform: 'node', target: 'node20.20', logLevel: 'error' };
  await build({ entryPoints, outdir, entryNames: '[name]', format: 'esm', ...options });
  writeFileSync(join(outdir, 'package.json'), '{"type":"module"}');
  return join(outdir, 'looker.js');
}
