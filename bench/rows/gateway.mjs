// The gateway: what it adds to a small call, how many it carries beside nginx, a big upload, and an update's way through a long poll.
// Latency and rate are measured before an nginx that answers from its configuration: it takes least from the shared processors.
import { measureBehindGateway, openLeanApi, openNginx } from '../gateway.mjs';
import { atLeastTimes, atMost, atMostMore } from '../statistics.mjs';

const lineOf = (what, unit, against, values, promise) => ({ what, unit, ...values, against, promise });
const pick = ({ ours, theirs }, key) => ({
  ours: ours.map((it) => it[key]),
  theirs: theirs.map((it) => it[key]),
});

export async function gateway(rounds) {
  const { api, proxy } = await openNginx();
  const { single, busy } = await measureBehindGateway(api, ['calls', rounds, api, proxy]);
  const tls = { ours: single.led, theirs: single.ours };
  const lean = await openLeanApi();
  const { uploads, updates } = await measureBehindGateway(lean, ['transfers', rounds, lean]);
  return [
    lineOf('getMe, one connection: p50', 'ms', 'direct', pick(single, 'p50'), atMostMore(0.6, 'ms')),
    lineOf('getMe, one connection: p99', 'ms', 'direct', pick(single, 'p99'), atMostMore(4, 'ms')),
    lineOf('getMe through TLS, one connection: p50', 'ms', 'plain', pick(tls, 'p50'), atMostMore(1, 'ms')),
    lineOf('getMe, 32 connections', 'calls/s', 'nginx', pick(busy, 'perSecond'), atLeastTimes(0.15)),
    lineOf('50 MB multipart upload', 'MB/s', 'direct', uploads, atLeastTimes(0.6)),
    lineOf('update → worker, open long poll: p50', 'ms', 'direct', updates, atMost(2, 'ms')),
  ];
}
