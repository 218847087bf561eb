// A look for strays on a machine with 3,000 processes: the first, which reads everything, and a quick one, as before a respawn.
import { fork } from 'node:child_process';
import { join } from 'node:path';
import { gather, newFolder, populace, root, TOKEN } from '../scene.mjs';
import { atMost, line } from '../statistics.mjs';

const CROWD = 3_000;
const LOOKER = join(root, 'bench/probes/looker.ts');

export async function scan(rounds) {
  const disperse = await gather(CROWD);
  const note = `${populace()} processes on the machine`;
  const looks = [];
  // Each in a process of its own: the first look of all is with cold code.
  for (let round = 0; round < rounds; round++) {
    const looker = fork(LOOKER, [TOKEN], {
      cwd: newFolder('scan'),
      execArgv: ['--import', import.meta.resolve('tsx')],
    });
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
