// An idle supervisor's memory and CPU time, against a Node that only waits. The guard beside the supervisor counts as its own.
import { setTimeout as sleep } from 'node:timers/promises';
import { contestant } from '../contestant.mjs';
import { cpuMsOf, memoryOf } from '../memory.mjs';
import { begin, endAndWait, environment, gather, newFolder, openSandbox, populace } from '../scene.mjs';
import { atMostTimes, line } from '../statistics.mjs';
import * as singlepoll from '../supervisors/singlepoll.mjs';

const CROWD = 100;
const WATCHED_MS = 30_000;
/** The start is over: its last extra look for strays, and the collection of its garbage. */
const SETTLED_AFTER_MS = 10_000;

export const idle = {
  name: 'idle',
  about: `memory of an idle supervisor against an idle Node, and its CPU time over ${WATCHED_MS / 1000} s`,
  async run({ rounds }) {
    const disperse = await gather(CROWD);
    const sandbox = await openSandbox(rounds);
    // All at once: memory does not mind company, and this way they all idle equally long.
    const pairs = [];
    for (const token of sandbox.tokens) {
      const one = contestant(singlepoll, { apiRoot: sandbox.apiRoot, token });
      const node = begin('node', ['-e', 'setInterval(()=>{},1e9)'], {
        env: environment(newFolder('node')),
        stdio: 'ignore',
      });
      await one.coldStartMs();
      pairs.push({ one, node });
    }
    for (const { one } of pairs) await one.settled();
    await sleep(SETTLED_AFTER_MS);
    const before = pairs.map(({ one }) => cpuMsOf(one.pids()));
    await sleep(WATCHED_MS);
    const shares = pairs.map(({ one }, i) => ((cpuMsOf(one.pids()) - before[i]) / WATCHED_MS) * 100);
    const people = populace();
    const ours = pairs.map(({ one }) => memoryOf(one.pids()));
    const theirs = pairs.map(({ node }) => memoryOf([node.pid]));
    for (const { one, node } of pairs) {
      await one.close();
      await endAndWait(node.pid, 'SIGKILL');
    }
    await sandbox.close();
    await disperse();
    const against = 'node -e setInterval';
    const memory = (what, key, promise = null) =>
      line({
        row: 'idle',
        what,
        unit: 'MiB',
        ours: ours.map((it) => it[key]),
        against,
        theirs: theirs.map((it) => it[key]),
        promise,
      });
    return [
      memory('idle supervisor and guard: RSS', 'rss', atMostTimes(1.6)),
      memory('idle supervisor and guard: private memory', 'private'),
      line({
        row: 'idle',
        what: `idle supervisor: CPU time over ${WATCHED_MS / 1000} s`,
        unit: '%',
        ours: shares,
        promise: { text: '< 0.1 %', of: 'ours', max: 0.0999 },
        note: `${people} processes on the machine, ${rounds} supervisors at once`,
      }),
    ];
  },
};
