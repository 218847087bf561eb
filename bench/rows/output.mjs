// The worker's output through the whole program into a file, against `worker | cat > file`.
import { closeSync, openSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { contestant } from '../contestant.mjs';
import {
  begin,
  environment,
  lastWrittenNs,
  msBetween,
  newFolder,
  openSandbox,
  openStamps,
  workerProgram,
} from '../scene.mjs';
import { atMostTimes, inTurns, line } from '../statistics.mjs';
import * as singlepoll from '../supervisors/singlepoll.mjs';
import { kinds, TOKEN, writeLines } from '../text.mjs';

const LINES = 2_000_000;
/** What a mask leaves of the secret part of a token. */
const MASKED_BYTES = TOKEN.split(':')[1].length - Buffer.byteLength('…');

export const output = {
  name: 'output',
  about: '2 million lines of 100 bytes through the whole program, against `worker | cat > file`',
  async run({ rounds }) {
    const sandbox = await openSandbox(1);
    const bot = { apiRoot: sandbox.apiRoot, token: sandbox.tokens[0] };
    const input = join(newFolder('input'), 'lines');
    const lines = [];
    for (const [kind, text] of Object.entries(kinds)) {
      writeLines(input, text, LINES);
      const bytes = LINES * (100 - (text.includes(TOKEN) ? MASKED_BYTES : 0));
      const { ours, theirs } = await inTurns(rounds, {
        ours: () => throughSinglepollMs(bot, input, bytes),
        theirs: () => throughCatMs(input),
      });
      lines.push(
        line({
          row: 'output',
          what: `2 M lines: ${kind}`,
          unit: 'ms',
          ours,
          against: 'worker | cat > file',
          theirs,
          // Two million tokens are no log, but the worst case.
          promise: text.includes(TOKEN) ? null : atMostTimes(2),
        }),
      );
    }
    await sandbox.close();
    return lines;
  },
};

/** From the worker's first instruction to the last write into the file. */
async function throughSinglepollMs(bot, input, bytes) {
  const one = contestant(singlepoll, bot, { words: ['copy', input], options: ['--restart', 'never'] });
  await one.coldStartMs();
  await one.ended();
  const file = join(one.home, 'output');
  const tookMs = msBetween(one.workerStartNs(), lastWrittenNs(file));
  const { size } = statSync(file);
  await one.close();
  if (size !== bytes) throw new Error(`${size} bytes came out instead of ${bytes}`);
  return tookMs;
}

async function throughCatMs(input) {
  const home = newFolder('cat');
  const stamps = openStamps(join(home, 'stamps'));
  const file = join(home, 'output');
  const fd = openSync(file, 'w');
  const env = environment(home, { BENCH_STAMPS: stamps.path });
  const child = begin('sh', ['-c', '"$0" copy "$1" | cat', workerProgram(), input], {
    env,
    stdio: ['ignore', fd, 'inherit'],
  });
  closeSync(fd);
  await new Promise((resolve) => child.once('exit', resolve));
  const { ns } = await stamps.next('the worker');
  const { size } = statSync(file);
  const tookMs = msBetween(ns, lastWrittenNs(file));
  rmSync(home, { recursive: true });
  if (size !== statSync(input).size) throw new Error('cat lost bytes');
  return tookMs;
}
