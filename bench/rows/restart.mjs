// From the worker's death by SIGKILL to the first instruction of the next one, strays looked for in between.
import { contestant } from '../contestant.mjs';
import { gather, openSandbox } from '../scene.mjs';
import { atMost, line } from '../statistics.mjs';
import * as singlepoll from '../supervisors/singlepoll.mjs';

const CROWD = 100;

export const restart = {
  name: 'restart',
  about: `worker killed → the next one's first instruction, ${CROWD} more processes on the machine`,
  async run({ rounds }) {
    const disperse = await gather(CROWD);
    const sandbox = await openSandbox(1);
    const one = contestant(singlepoll, { apiRoot: sandbox.apiRoot, token: sandbox.tokens[0] });
    await one.coldStartMs();
    const ours = [];
    // The first death meets cold code.
    const firstMs = await one.restartMs();
    while (ours.length < rounds * 2) ours.push(await one.restartMs());
    await one.settled();
    await one.close();
    await sandbox.close();
    await disperse();
    return [
      line({
        row: 'restart',
        what: 'worker killed → next one’s first instruction',
        unit: 'ms',
        ours,
        promise: atMost(25, 'ms'),
        note: `the first death after the start took ${firstMs.toFixed(1)} ms; best ${Math.min(...ours).toFixed(1)}, worst ${Math.max(...ours).toFixed(1)}`,
      }),
    ];
  },
};
