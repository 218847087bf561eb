// 200 MB of a worker's output, with a token now and then, into a file: beside PM2, which masks nothing.
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../../test/support/wait.ts';
import { contestant } from '../contestants.mjs';
import { msBetween, newFolder, nsNow, openSandbox, TOKEN } from '../scene.mjs';
import { atMostTimes, inTurns } from '../statistics.mjs';

const BLOCKS = 200;
const lineOf = (text) => `${text.padEnd(99, ' and so on').slice(0, 99)}\n`;
const PLAIN = lineOf('2024-05-05 12:34:56,789 INFO worker: update 1234567 handled in 0.0034 s');
const WITH_TOKEN = lineOf(`2024-05-05 12:34:56 POST https://api.telegram.org/bot${TOKEN}/getMe`);
/** What a mask leaves of the secret part of a token. */
const MASKED_BYTES = TOKEN.split(':')[1].length - Buffer.byteLength('…');

export async function output(rounds) {
  const bots = await openSandbox(2);
  const input = join(newFolder('input'), 'lines');
  writeFileSync(input, (PLAIN.repeat(9_999) + WITH_TOKEN).repeat(BLOCKS));
  const all = statSync(input).size;
  const through = (kind, bot, size) => async () => {
    const one = contestant(kind, bot, { words: ['print', input] });
    await one.coldStartMs();
    const isThere = () => statSync(one.output, { throwIfNoEntry: false })?.size >= size;
    await until('all of the output', isThere, { ms: 60_000, everyMs: 5 });
    const ms = msBetween(one.workerStartNs(), nsNow());
    await one.close();
    return ms;
  };
  const values = await inTurns(rounds, {
    ours: through('singlepoll', bots[0], all - BLOCKS * MASKED_BYTES),
    theirs: through('pm2', bots[1], all),
  });
  const what = '200 MB of output into a file';
  return [{ what, unit: 'ms', against: 'PM2', ...values, promise: atMostTimes(1) }];
}
