// A look for strays on a machine with 3,000 processes: the first, which reads everything, and a quick one, as before a respawn.

import { fork } from 'node:child_process';
import { join } from 'node:path';
import { build } from 'esbuild';
import { environment, gather, newFolder, populace, root } from '../scene.mjs';
import { atMost, line } from '../statistics.mjs';
import { TOKEN } from '../text.mjs';

const CROWD = 3_000;
const QUICK_LOOKS = 5;

export const scan = {
  name: 'scan',
  about: `a look for strays among ${CROWD} processes`,
  async run({ rounds }) {
    const home = newFolder('scan');
    const looker = join(home, 'looker.mjs');
    await build({
      entryPoints: [join(root, 'bench/probes/looker.ts')],
      outfile: looker,
      bundle: true,
      platform: 'node',
      format: 'esm',
      logLevel: 'warning',
    });
    const disperse = await gather(CROWD);
    const people = populace();
    const looks = [];
    // Each in a process of its own: the first look of all is with cold code.
    for (let round = 0; round < rounds; round++) looks.push(await lookMs(looker, home));
    await disperse();
    return [
      line({
        row: 'scan',
        what: 'first full look for strays',
        unit: 'ms',
        ours: looks.map(([full]) => full),
        promise: atMost(250, 'ms'),
        note: `${people} processes on the machine`,
      }),
      line({
        row: 'scan',
        what: 'later full look',
        unit: 'ms',
        ours: looks.map(([, again]) => again),
        promise: atMost(250, 'ms'),
      }),
      line({
        row: 'scan',
        what: 'quick look before a respawn',
        unit: 'ms',
        ours: looks.flatMap(([, , ...quick]) => quick),
      }),
    ];
  },
};

function lookMs(looker, home) {
  return new Promise((resolve, reject) => {
    const child = fork(looker, [TOKEN, String(QUICK_LOOKS)], { env: environment(home), cwd: home });
    child.once('message', resolve);
    child.once('exit', (code) => reject(new Error(`the looker ended with ${code}`)));
  });
}
