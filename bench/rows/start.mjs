// `start`, from the command to the worker's first instruction: against a Node that does nothing, and PM2.
import { contestant } from '../contestants.mjs';
import { bareNodeMs, gather, openSandbox } from '../scene.mjs';
import { atMostMore, atMostTimes, inTurns, line } from '../statistics.mjs';

const CROWD = 100;

export async function start(rounds) {
  const disperse = await gather(CROWD);
  const sandbox = await openSandbox(2);
  const coldMs = (kind, bot) => async () => {
    const one = contestant(kind, bot);
    const ms = await one.coldStartMs();
    await one.close();
    return ms;
  };
  const values = await inTurns(rounds, {
    ours: coldMs('singlepoll', sandbox.bots[0]),
    pm2: coldMs('pm2', sandbox.bots[1]),
    node: bareNodeMs,
  });
  await sandbox.close();
  await disperse();
  const what = `start → worker’s first instruction, ${CROWD} more processes`;
  const against = (name, theirs, promise) =>
    line({ row: 'start', what, unit: 'ms', ours: values.ours, against: name, theirs, promise });
  return [
    against('node -e 0', values.node, atMostMore(300, 'ms')),
    against('PM2', values.pm2, atMostTimes(0.5)),
  ];
}
