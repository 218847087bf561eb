// What a user waits for: `--help`, and `status` beside a running supervisor; `start` until the worker's first instruction; the next
// worker after the death of one by SIGKILL.
import { contestant } from '../contestants.mjs';
import { bareNodeMs, gather, openSandbox, program, wallMs } from '../scene.mjs';
import { atMost, atMostMore, atMostTimes, inTurns } from '../statistics.mjs';

const CROWD = 100;

export async function commands(rounds) {
  const [bot] = await openSandbox(1);
  const one = contestant('singlepoll', bot);
  await one.coldStartMs();
  await one.settled();
  const values = await inTurns(rounds * 4, {
    status: () => wallMs(program, ['status'], one.env),
    '--help': () => wallMs(program, ['--help'], one.env),
    node: bareNodeMs,
  });
  const promise = atMostTimes(process.version.startsWith('v20.') ? 2.2 : 1.8);
  const theirs = { against: 'node -e 0', theirs: values.node, promise };
  return ['status', '--help'].map((what) => ({
    ...{ what: `singlepoll ${what}`, unit: 'ms', ours: values[what], ...theirs },
  }));
}

export async function start(rounds) {
  await gather(CROWD);
  const bots = await openSandbox(2);
  const coldMs = (kind, bot) => async () => {
    const one = contestant(kind, bot);
    const ms = await one.coldStartMs();
    await one.close();
    return ms;
  };
  const all = { ours: coldMs('singlepoll', bots[0]), pm2: coldMs('pm2', bots[1]), node: bareNodeMs };
  const { ours, pm2, node } = await inTurns(rounds, all);
  const row = { what: `start → worker’s first instruction, ${CROWD} more processes`, unit: 'ms', ours };
  return [
    { ...row, against: 'node -e 0', theirs: node, promise: atMostMore(300, 'ms') },
    { ...row, against: 'PM2', theirs: pm2, promise: atMostTimes(0.5) },
  ];
}

export async function restart(rounds) {
  await gather(CROWD);
  const bots = await openSandbox(2);
  const [one, pm2] = ['singlepoll', 'pm2'].map((kind, index) => contestant(kind, bots[index]));
  for (const it of [one, pm2]) await it.coldStartMs();
  // The first death meets cold code: it is thrown away.
  const { ours, theirs } = await inTurns(rounds * 2, { ours: one.restartMs, theirs: pm2.restartMs });
  const what = `worker killed → next one’s first instruction, ${CROWD} more processes`;
  return [
    { what, unit: 'ms', ours, promise: atMost(12, 'ms') },
    { what, unit: 'ms', ours, against: 'PM2', theirs, promise: atMostTimes(1) },
  ];
}
