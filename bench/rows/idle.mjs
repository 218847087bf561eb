// An idle supervisor's memory and CPU time, beside PM2 and a Node that only waits. The shells beside the supervisor count as its own.
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { statusKb } from '../../test/support/proc.ts';
import { contestant } from '../contestants.mjs';
import { endAndWait, environment, gather, newFolder, openSandbox } from '../scene.mjs';
import { atMostTimes, line } from '../statistics.mjs';

const CROWD = 100;
const WATCHED_MS = 30_000;
/** The start is over: its last extra look for strays, and the collection of its garbage, which V8 puts off on a busy machine. */
const SETTLED_AFTER_MS = 120_000;

export async function idle(rounds) {
  const disperse = await gather(CROWD);
  const sandbox = await openSandbox(rounds * 2);
  const [ours, pm2] = ['singlepoll', 'pm2'].map((kind, index) =>
    Array.from({ length: rounds }, (_, round) => contestant(kind, sandbox.bots[round * 2 + index])),
  );
  const nodes = ours.map(() =>
    spawn('node', ['-e', 'setInterval(()=>{},1e9)'], {
      env: environment(newFolder('node')),
      stdio: 'ignore',
    }),
  );
  // All at once: memory does not mind company, and this way all idle equally long.
  for (const one of [...ours, ...pm2]) await one.coldStartMs();
  await pause(SETTLED_AFTER_MS);
  const before = ours.map((one) => cpuMsOf(one.pids()));
  await pause(WATCHED_MS);
  const shares = ours.map((one, index) => ((cpuMsOf(one.pids()) - before[index]) / WATCHED_MS) * 100);
  const rss = (pids) => pids.reduce((sum, pid) => sum + statusKb(pid, 'VmRSS') / 1024, 0);
  const memory = {
    ours: ours.map((one) => rss(one.pids())),
    pm2: pm2.map((one) => rss(one.pids())),
    node: nodes.map(({ pid }) => rss([pid])),
  };
  for (const one of [...ours, ...pm2]) await one.close();
  for (const { pid } of nodes) await endAndWait(pid, 'SIGKILL');
  await sandbox.close();
  await disperse();
  const against = (name, theirs, max) =>
    line({
      row: 'idle',
      what: 'idle supervisor and its shells: RSS',
      unit: 'MiB',
      ours: memory.ours,
      against: name,
      theirs,
      promise: atMostTimes(max),
    });
  return [
    against('an idle Node', memory.node, 1.5),
    against('PM2', memory.pm2, 1),
    line({
      row: 'idle',
      what: `idle supervisor: CPU time over ${WATCHED_MS / 1000} s`,
      unit: '%',
      ours: shares,
      promise: { text: '≤ 0.05 %', of: 'ours', max: 0.05 },
    }),
  ];
}

/** By the scheduler's own count, to the nanosecond, of all threads; that of children that have ended is known by the tick only. */
function cpuMsOf(pids) {
  let ms = 0;
  for (const pid of pids) {
    for (const thread of readdirSync(`/proc/${pid}/task`))
      ms += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
    const [, fields] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ');
    const [user, system] = fields.split(' ').slice(13, 15);
    ms += (Number(user) + Number(system)) * 10;
  }
  return ms;
}
