// The gateway: what it adds to a small call, how many it carries beside nginx, a big upload, and an update's way through a long poll.
// Latency and rate are measured before an nginx that answers from its configuration: it takes least from the shared processors.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openConstantApi, openGateway, openLeanApi, openProxy } from '../gateway.mjs';
import { newFolder, TOKEN } from '../scene.mjs';
import { atLeastTimes, atMost, atMostMore, inTurns, line, percentile } from '../statistics.mjs';

/** A round: the 99th percentile of it has ten values above. */
const CALLS = 1_000;
const CONNECTIONS = 32;
const BUSY_MS = 1_000;
/** V8 takes its time to compile what is hot. */
const WARM_UP_MS = 2_000;
const MEGABYTES = 50;
const UPDATES = 50;

export async function gateway(rounds) {
  return [...(await calls(rounds)), ...(await transfers(rounds))];
}

async function calls(rounds) {
  const api = await openConstantApi(TOKEN);
  const proxy = await openProxy(api.root);
  const ours = await openGateway(api.root);
  const rate = (root, ms) => async () =>
    (await ours.order('throughput', { root, connections: CONNECTIONS, ms })).perSecond;
  await rate(ours.gateway, WARM_UP_MS)();
  const roots = { ours: ours.gateway, theirs: api.root };
  const turns = [];
  for (let round = 0; round < rounds; round++)
    turns.push(await ours.order('latency', { roots, calls: CALLS }));
  const rates = await inTurns(rounds, {
    ours: rate(ours.gateway, BUSY_MS),
    theirs: rate(proxy.root, BUSY_MS),
  });
  for (const it of [ours, proxy, api]) await it.close();
  const latency = (what, share, moreMs) =>
    line({
      row: 'gateway',
      what: `getMe, one connection: ${what}`,
      unit: 'ms',
      ours: turns.map((ms) => percentile(ms.ours, share)),
      against: 'direct',
      theirs: turns.map((ms) => percentile(ms.theirs, share)),
      promise: atMostMore(moreMs, 'ms'),
    });
  return [
    latency('p50', 0.5, 0.6),
    latency('p99', 0.99, 4),
    line({
      row: 'gateway',
      what: `getMe, ${CONNECTIONS} connections`,
      unit: 'calls/s',
      against: 'nginx',
      ...rates,
      promise: atLeastTimes(0.15),
    }),
  ];
}

async function transfers(rounds) {
  const file = join(newFolder('upload'), 'big.bin');
  writeFileSync(file, Buffer.alloc(MEGABYTES * 1e6, 'a photo? '));
  const api = await openLeanApi();
  const ours = await openGateway(api.root);
  const peakMiB = watchPeak(ours.pid);
  const speed = (root) => async () => (MEGABYTES * 1000) / (await ours.order('upload', { root, file })).ms;
  const speeds = await inTurns(rounds, { ours: speed(ours.gateway), theirs: speed(api.root) });
  const grown = peakMiB();
  const updates = (root) => async () =>
    percentile((await ours.order('poll', { root, updates: UPDATES })).ms, 0.5);
  const polls = await inTurns(rounds, { ours: updates(ours.gateway), theirs: updates(api.root) });
  for (const it of [ours, api]) await it.close();
  const upload = `${MEGABYTES} MB multipart upload`;
  return [
    line({
      row: 'gateway',
      what: upload,
      unit: 'MB/s',
      against: 'direct',
      ...speeds,
      promise: atLeastTimes(0.6),
    }),
    line({
      row: 'gateway',
      what: 'RSS at its peak, beyond that before',
      unit: 'MiB',
      ours: [grown],
      promise: atMost(20, 'MiB'),
    }),
    line({
      row: 'gateway',
      what: 'update → worker, open long poll: p50',
      unit: 'ms',
      against: 'direct',
      ...polls,
      promise: atMost(2, 'ms'),
    }),
  ];
}

/** Returns a function that tells how many MiB a process has grown at its peak since. */
function watchPeak(pid) {
  const mib = (key) =>
    Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024;
  // proc(5): sets the high water mark back to what is in memory now.
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
  const before = mib('VmRSS');
  return () => mib('VmHWM') - before;
}
