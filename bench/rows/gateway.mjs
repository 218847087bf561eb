// The gateway: what it adds to a small call, how many it carries beside nginx, a big upload, and an update's way through a long poll.
// Latency and rate are measured before an nginx that answers from its configuration: it takes least from the shared processors.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openConstantApi, openGateway, openLeanApi, openProxy } from '../gateway.mjs';
import { newFolder, TOKEN } from '../scene.mjs';
import { atLeastTimes, atMost, atMostMore, inTurns, line, percentile } from '../statistics.mjs';

const CONNECTIONS = 32;
const SECONDS = 1;
/** V8 takes its time to compile what is hot. */
const WARM_UP_S = 2;
const MEGABYTES = 50;
const UPDATES = 50;

export async function gateway(rounds) {
  return [...(await calls(rounds)), ...(await transfers(rounds))];
}

async function calls(rounds) {
  const api = await openConstantApi(TOKEN);
  const proxy = await openProxy(api.root);
  const ours = await openGateway(api.root);
  const getMe =
    (root, connections, seconds = SECONDS) =>
    () =>
      ours.order('getMe', { root, connections, seconds });
  await getMe(ours.gateway, CONNECTIONS, WARM_UP_S)();
  const single = await inTurns(rounds, { ours: getMe(ours.gateway, 1), theirs: getMe(api.root, 1) });
  const busy = await inTurns(rounds, {
    ours: getMe(ours.gateway, CONNECTIONS),
    theirs: getMe(proxy.root, CONNECTIONS),
  });
  for (const it of [ours, proxy, api]) await it.close();
  const row = (what, unit, against, { ours, theirs }, key, promise) =>
    line({
      row: 'gateway',
      what: `getMe, ${what}`,
      unit,
      ours: ours.map((it) => it[key]),
      against,
      theirs: theirs.map((it) => it[key]),
      promise,
    });
  return [
    row('one connection: p50', 'ms', 'direct', single, 'p50', atMostMore(0.6, 'ms')),
    row('one connection: p99', 'ms', 'direct', single, 'p99', atMostMore(4, 'ms')),
    row(`${CONNECTIONS} connections`, 'calls/s', 'nginx', busy, 'perSecond', atLeastTimes(0.15)),
  ];
}

async function transfers(rounds) {
  const file = join(newFolder('upload'), 'big.bin');
  writeFileSync(file, Buffer.alloc(MEGABYTES * 1e6, 'a photo? '));
  const api = await openLeanApi();
  const ours = await openGateway(api.root);
  const speed = (root) => async () => (MEGABYTES * 1000) / (await ours.order('upload', { root, file })).ms;
  const speeds = await inTurns(rounds, { ours: speed(ours.gateway), theirs: speed(api.root) });
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
      what: 'update → worker, open long poll: p50',
      unit: 'ms',
      against: 'direct',
      ...polls,
      promise: atMost(2, 'ms'),
    }),
  ];
}
