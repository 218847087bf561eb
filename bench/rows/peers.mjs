// singlepoll beside PM2 and supervisord, each with the same worker.
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { contestant } from '../contestant.mjs';
import { memoryOf } from '../memory.mjs';
import { lastWrittenNs, msBetween, newFolder, openSandbox, until } from '../scene.mjs';
import { AHEAD, inTurns, line } from '../statistics.mjs';
import * as pm2 from '../supervisors/pm2.mjs';
import * as singlepoll from '../supervisors/singlepoll.mjs';
import * as supervisord from '../supervisors/supervisord.mjs';
import { logLine, writeLines } from '../text.mjs';

const OUTPUT_LINES = 2_000_000;
/** V8 gives back what a busy moment took some 8 s after it. */
const UNTIL_IDLE_MS = 12_000;

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
    const memory = await memoryOfIdle(rounds, present);
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
    const taken = (key) => (name) => memory[name].map((it) => it[key]);
    compare('memory of the idle daemon: RSS', 'MiB', taken('rss'), (peer) =>
      peer === supervisord ? null : AHEAD,
    );
    compare('memory of the idle daemon: private', 'MiB', taken('private'), () => null);
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
  await one.close();
  return { coldMs, restartMs, statusMs };
}

/** `count` daemons of each kind, all there at once; each has restarted its worker once and been asked for its status. */
async function memoryOfIdle(count, supervisors) {
  const sandbox = await openSandbox(count * supervisors.length);
  const tokens = [...sandbox.tokens];
  const begun = [];
  for (let i = 0; i < count; i++) {
    for (const supervisor of supervisors) {
      const one = contestant(supervisor, { apiRoot: sandbox.apiRoot, token: tokens.pop() });
      await one.coldStartMs();
      begun.push(one);
    }
  }
  for (const one of begun) {
    await one.restartMs();
    one.statusMs();
  }
  await sleep(UNTIL_IDLE_MS);
  const found = Object.fromEntries(supervisors.map(({ name }) => [name, []]));
  for (const one of begun) found[one.name].push(memoryOf(one.pids()));
  for (const one of begun) await one.close();
  await sandbox.close();
  return found;
}

/** From the worker's first instruction to the last write of its output into the file. */
async function output(supervisor, bot, input) {
  const one = contestant(supervisor, bot, { words: ['print', input] });
  await one.coldStartMs();
  const { size } = statSync(input);
  const file = join(one.home, 'output');
  await until('all of the output', () => statSync(file, { throwIfNoEntry: false })?.size >= size, {
    withinMs: 120_000,
    everyMs: 10,
  });
  const tookMs = msBetween(one.workerStartNs(), lastWrittenNs(file));
  await one.close();
  return tookMs;
}
