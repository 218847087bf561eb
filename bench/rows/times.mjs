// What a user waits for: `--help`, and `status` beside a running supervisor; `start` until the worker's first instruction; the next
// worker after the death of one by SIGKILL.
import { contestant } from '../contestants.mjs';
import { bareNodeMs, gather, openSandbox, program, wallMs } from '../scene.mjs';
import { atMost, atMostMore, atMostTimes, inTurns, line } from '../statistics.mjs';

const CROWD = 100;

export async function commands(rounds) {
  const sandbox = await openSandbox(1);
  const one = contestant('singlepoll', sandbox.bots[0]);
  await one.coldStartMs();
  await one.settled();
  const values = await inTurns(rounds * 4, {
    status: () => wallMs(program, ['status'], one.env),
    '--help': () => wallMs(program, ['--help'], one.env),
    node: bareNodeMs,
  });
  await one.close();
  await sandbox.close();
  const promise = atMostTimes(process.version.startsWith('v20.') ? 2.2 : 1.8);
  const theirs = { against: 'node -e 0', theirs: values.node, promise };
  return ['status', '--help'].map((what) =>
    line({ row: 'commands', what: `singlepoll ${what}`, unit: 'ms', ours: values[what], ...theirs }),
  );
}

/** `measure` gets a sandbox with two bots, on a machine with some more processes. */
async function inCompany(measure) {
  const disperse = await gather(CROWD);
  const sandbox = await openSandbox(2);
  const values = await measure(sandbox.bots);
  await sandbox.close();
  await disperse();
  return values;
}

export async function start(rounds) {
  const coldMs = (kind, bot) => async () => {
    const one = contestant(kind, bot);
    const ms = await one.coldStartMs();
    await one.close();
    return ms;
  };
  const { ours, pm2, node } = await inCompany((bots) =>
    inTurns(rounds, { ours: coldMs('singlepoll', bots[0]), pm2: coldMs('pm2', bots[1]), node: bareNodeMs }),
  );
  const row = {
    row: 'start',
    what: `start → worker’s first instruction, ${CROWD} more processes`,
    unit: 'ms',
    ours,
  };
  return [
    line({ ...row, against: 'node -e 0', theirs: node, promise: atMostMore(300, 'ms') }),
    line({ ...row, against: 'PM2', theirs: pm2, promise: atMostTimes(0.5) }),
  ];
}

export async function restart(rounds) {
  const { ours, theirs } = await inCompany(async (bots) => {
    const [one, pm2] = ['singlepoll', 'pm2'].map((kind, index) => contestant(kind, bots[index]));
    for (const it of [one, pm2]) await it.coldStartMs();
    // The first death meets cold code: it is thrown away.
    const values = await inTurns(rounds * 2, { ours: one.restartMs, theirs: pm2.restartMs });
    for (const it of [one, pm2]) await it.close();
    return values;
  });
  const what = `worker killed → next one’s first instruction, ${CROWD} more processes`;
  return [
    line({ row: 'restart', what, unit: 'ms', ours, promise: atMost(12, 'ms') }),
    line({ row: 'restart', what, unit: 'ms', ours, against: 'PM2', theirs, promise: atMostTimes(1) }),
  ];
}
