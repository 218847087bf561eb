// `--help`, and `status` beside a running supervisor, against a Node that does nothing.
import { contestant } from '../contestants.mjs';
import { bareNodeMs, openSandbox, program, wallMs } from '../scene.mjs';
import { atMostTimes, inTurns, line } from '../statistics.mjs';

const PROMISE = atMostTimes(process.version.startsWith('v20.') ? 2.2 : 1.8);

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
  return ['status', '--help'].map((what) =>
    line({
      row: 'commands',
      what: `singlepoll ${what}`,
      unit: 'ms',
      ours: values[what],
      against: 'node -e 0',
      theirs: values.node,
      promise: PROMISE,
    }),
  );
}
