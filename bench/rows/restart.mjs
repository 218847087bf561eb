// From the worker's death by SIGKILL to the first instruction of the next one, beside PM2.
import { contestant } from '../contestants.mjs';
import { gather, openSandbox } from '../scene.mjs';
import { atMost, atMostTimes, inTurns, line } from '../statistics.mjs';

const CROWD = 100;

export async function restart(rounds) {
  const disperse = await gather(CROWD);
  const sandbox = await openSandbox(2);
  const [ours, pm2] = ['singlepoll', 'pm2'].map((kind, index) => contestant(kind, sandbox.bots[index]));
  for (const one of [ours, pm2]) await one.coldStartMs();
  // The first death meets cold code: it is thrown away.
  const values = await inTurns(rounds * 2, { ours: ours.restartMs, theirs: pm2.restartMs });
  for (const one of [ours, pm2]) await one.close();
  await sandbox.close();
  await disperse();
  const what = `worker killed → next one’s first instruction, ${CROWD} more processes`;
  return [
    line({ row: 'restart', what, unit: 'ms', ours: values.ours, promise: atMost(12, 'ms') }),
    line({ row: 'restart', what, unit: 'ms', against: 'PM2', ...values, promise: atMostTimes(1) }),
  ];
}
