// `status` beside a running supervisor, and `--help`, against a Node that does nothing.
import { bareNodeMs, environment, newFolder, openSandbox, openStamps, program, wallMs } from '../scene.mjs';
import { atMostTimes, inTurns, line } from '../statistics.mjs';
import * as singlepoll from '../supervisors/singlepoll.mjs';

const PROMISE = atMostTimes(1.6);

/** These are short: more rounds cost little. */
const roundsOf = (rounds) => rounds * 4;

export const help = {
  name: 'help',
  about: '`singlepoll --help` against `node -e 0`',
  async run({ rounds }) {
    const env = environment(newFolder('help'));
    const { ours, theirs } = await inTurns(roundsOf(rounds), {
      ours: () => wallMs(program, ['--help'], env),
      theirs: bareNodeMs,
    });
    return [
      line({
        row: 'help',
        what: 'singlepoll --help',
        unit: 'ms',
        ours,
        against: 'node -e 0',
        theirs,
        promise: PROMISE,
      }),
    ];
  },
};

export const status = {
  name: 'status',
  about: '`singlepoll status` beside a running supervisor, against `node -e 0`',
  async run({ rounds }) {
    const home = newFolder('status');
    const sandbox = await openSandbox(1);
    const stamps = openStamps(`${home}/stamps`);
    const env = environment(home, {
      TELEGRAM_API_ROOT: sandbox.apiRoot,
      TELEGRAM_BOT_TOKEN: sandbox.tokens[0],
      BENCH_STAMPS: stamps.path,
    });
    const supervisor = singlepoll.create({ home, env, words: ['poll'], output: `${home}/output` });
    await supervisor.launch();
    await stamps.next('the worker');
    await supervisor.settled();
    const { ours, theirs } = await inTurns(roundsOf(rounds), {
      ours: () => wallMs(program, ['status'], env),
      theirs: bareNodeMs,
    });
    await supervisor.close();
    await sandbox.close();
    return [
      line({
        row: 'status',
        what: 'singlepoll status',
        unit: 'ms',
        ours,
        against: 'node -e 0',
        theirs,
        promise: PROMISE,
      }),
    ];
  },
};
