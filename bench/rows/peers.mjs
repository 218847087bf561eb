// singlepoll beside PM2 and supervisord, each with the same worker.
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { contestant } from '../contestant.mjs';
import { memoryOf } from '../memory.mjs';
import { msBetween, newFolder, nsNow, openSandbox, until } from '../scene.mjs';
import { AHEAD, inTurns, line } from '../statistics.mjs';
import * as pm2 from '../supervisors/pm2.mjs';
import * as singlepoll from '../supervisors/singlepoll.mjs';
import * as supervisord from '../supervisors/supervisord.mjs';
import { logLine, writeLines } from '../text.mjs';

const OUTPUT_LINES = 2_000_000;

export const peers = {
  name: 'peers',
  about: 'PM2 and supervisord side by side: cold start, restart, status, memory, 200 MB of output',
  async run({ rounds }) {
    const present = [singlepoll];
    for (const peer of [pm2, supervisord]) {
      const missing = peer.prepare();
      if (missing === null) present.push(peer);
      else console.error(`peers: left out: ${missing}`);
    }
    const sandbox = await openSandbox(present.length);
    const botOf = (supervisor) => ({
      apiRoot: sandbox.apiRoot,
      token: sandbox.tokens[present.indexOf(supervisor)],
    });
    const lives = await inTurns(
      rounds,
      byName(present, (it) => () => life(it, botOf(it))),
      { warmUp: false },
    );
    const input = join(newFolder('input'), 'lines');
    writeLines(input, logLine, OUTPUT_LINES);
    const outputMs = await inTurns(
      rounds,
      byName(present, (it) => () => output(it, botOf(it), input)),
      { warmUp: false },
    );
    await sandbox.close();

    const lines = [];
    const compare = (what, unit, valuesOf, promiseOf) => {
      for (const peer of present.slice(1)) {
        lines.push(
          line({
            row: 'peers',
            what,
            unit,
            ours: valuesOf(singlepoll.name),
            against: peer.name,
            theirs: valuesOf(peer.name),
            promise: promiseOf(peer),
          }),
        );
      }
    };
    const each = (key) => (name) => lives[name].map((it) => it[key]);
    compare('cold start → worker’s first instruction', 'ms', each('coldMs'), () => AHEAD);
    compare('worker killed → next one’s first instruction', 'ms', each('restartMs'), () => AHEAD);
    compare('status command', 'ms', each('statusMs'), () => AHEAD);
    compare('memory of the daemon: RSS', 'MiB', each('rss'), (peer) => (peer === supervisord ? null : AHEAD));
    compare('memory of the daemon: private', 'MiB', each('private'), () => null);
    compare(
      '200 MB of output into a file',
      'ms',
      (name) => outputMs[name],
      () => AHEAD,
    );
    return lines;
  },
};

const byName = (supervisors, make) => Object.fromEntries(supervisors.map((it) => [it.name, make(it)]));

/** One supervisor from its cold start to its end, with a death of its worker in between. */
async function life(supervisor, bot) {
  const one = contestant(supervisor, bot);
  const coldMs = await one.coldStartMs();
  const restartMs = await one.restartMs();
  await one.settled();
  const statusMs = one.statusMs();
  const { rss, private: own } = memoryOf(one.pids());
  await one.close();
  return { coldMs, restartMs, statusMs, rss, private: own };
}

/** From the worker's first instruction until all of its output is in the file. */
async function output(supervisor, bot, input) {
  const one = contestant(supervisor, bot, { words: ['print', input] });
  await one.coldStartMs();
  const { size } = statSync(input);
  const file = join(one.home, 'output');
  await until('all of the output', () => statSync(file, { throwIfNoEntry: false })?.size >= size, {
    withinMs: 120_000,
    everyMs: 1,
  });
  const tookMs = msBetween(one.workerStartNs(), nsNow());
  await one.close();
  return tookMs;
}
