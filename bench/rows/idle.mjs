// An idle supervisor's memory and CPU time, beside PM2 and a Node that only waits. The shells beside the supervisor count as its own.
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { statusKb } from '../../test/support/proc.ts';
import { contestant } from '../contestants.mjs';
import { gather, launch, openSandbox } from '../scene.mjs';
import { atMost, atMostTimes } from '../statistics.mjs';

const CROWD = 100;
/** Children that have ended are counted in ticks of 10 ms: in 30 s one of them would be 0.03 %. */
const WATCHED_MS = 90_000;
/** The start is over: its last extra look for strays, and the collection of its garbage, which V8 puts off on a busy machine. */
const SETTLED_AFTER_MS = 120_000;

export async function idle(rounds) {
  await gather(CROWD);
  // Each of ours has a Bot API of its own, as one bot on a machine has: beside pollers of others a start asks who polls this one.
  const sandboxes = await Promise.all(Array.from({ length: rounds }, () => openSandbox(1)));
  const own = sandboxes.map(([bot]) => contestant('singlepoll', bot));
  const pm2 = (await openSandbox(rounds)).map((bot) => contestant('pm2', bot));
  const nodes = own.map(() => launch('node', ['-e', 'setInterval(()=>{},1e9)']));
  // All at once: memory does not mind company, and this way all idle equally long.
  for (const one of [...own, ...pm2]) await one.coldStartMs();
  await pause(SETTLED_AFTER_MS);
  const before = own.map((one) => cpuMsOf(one.pids()));
  await pause(WATCHED_MS);
  const shares = own.map((one, index) => ((cpuMsOf(one.pids()) - before[index]) / WATCHED_MS) * 100);
  const rss = (pids) => pids.reduce((sum, pid) => sum + statusKb(pid, 'VmRSS') / 1024, 0);
  const [ours, ofPm2] = [own, pm2].map((all) => all.map((one) => rss(one.pids())));
  const ofNode = nodes.map(({ pid }) => rss([pid]));
  const memory = { what: 'idle supervisor and its shells: RSS', unit: 'MiB', ours };
  const what = `idle supervisor: CPU time over ${WATCHED_MS / 1000} s`;
  return [
    { ...memory, against: 'an idle Node', theirs: ofNode, promise: atMostTimes(1.5) },
    { ...memory, against: 'PM2', theirs: ofPm2, promise: atMostTimes(1) },
    { what, unit: '%', ours: shares, promise: atMost(0.05, '%') },
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
