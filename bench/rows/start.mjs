// `start`, from the command to the worker's first instruction: a local Bot API, and one stray that leaves at once when asked.
import { contestant } from '../contestant.mjs';
import {
  bareNodeMs,
  begin,
  environment,
  gather,
  newFolder,
  openSandbox,
  openStamps,
  workerProgram,
} from '../scene.mjs';
import { atMostMore, inTurns, line } from '../statistics.mjs';
import * as singlepoll from '../supervisors/singlepoll.mjs';

const CROWD = 100;

export const start = {
  name: 'start',
  about: `the command → the worker's first instruction, one stray stopped, ${CROWD} more processes on the machine`,
  async run({ rounds }) {
    const disperse = await gather(CROWD);
    const sandbox = await openSandbox(1);
    const bot = { apiRoot: sandbox.apiRoot, token: sandbox.tokens[0] };

    async function startMs({ withStray }) {
      const stray = withStray ? await beginStray(bot) : null;
      const one = contestant(singlepoll, bot);
      const tookMs = await one.coldStartMs();
      if (stray && stray.exitCode === null && stray.signalCode === null)
        throw new Error('the stray still lives');
      await one.close();
      return tookMs;
    }

    const values = await inTurns(rounds * 2, {
      stray: () => startMs({ withStray: true }),
      alone: () => startMs({ withStray: false }),
      node: bareNodeMs,
    });
    await sandbox.close();
    await disperse();
    const against = 'node -e 0';
    return [
      line({
        row: 'start',
        what: 'start, one stray stopped → worker’s first instruction',
        unit: 'ms',
        ours: values.stray,
        against,
        theirs: values.node,
        promise: atMostMore(300, 'ms'),
      }),
      line({
        row: 'start',
        what: 'start, no stray → worker’s first instruction',
        unit: 'ms',
        ours: values.alone,
        against,
        theirs: values.node,
      }),
    ];
  },
};

/** A poller of the bot that nobody supervises, once it has its connection. */
async function beginStray({ apiRoot, token }) {
  const home = newFolder('stray');
  const stamps = openStamps(`${home}/stamps`);
  const stray = begin(workerProgram(), ['poll'], {
    env: environment(home, {
      TELEGRAM_API_ROOT: apiRoot,
      TELEGRAM_BOT_TOKEN: token,
      BENCH_STAMPS: stamps.path,
    }),
    cwd: home,
    stdio: 'ignore',
    detached: true,
  });
  await stamps.next('the stray');
  // It has polled for a while: the server holds a 409 back where another one was answered within 3 s, the last contestant's too.
  await new Promise((done) => setTimeout(done, 3_300));
  return stray;
}
