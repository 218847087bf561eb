// Small calls through the gateway: what it adds to the direct call, and how many it forwards beside nginx. All to the same
// server, an nginx that answers from its configuration: it takes least from the two processors that everybody shares here.
import { openGateway, TOKEN } from '../gateway.mjs';
import { openConstantApi, openProxy, prepare } from '../nginx.mjs';
import { atLeastTimes, atMostMore, inTurns, line, percentile } from '../statistics.mjs';

/** A round: the 99th percentile of it has ten values above. */
const CALLS = 1_000;
const CONNECTIONS = 32;
const BUSY_MS = 1_000;
/** V8 takes its time to compile what is hot. */
const WARM_UP_MS = 2_000;

export const gateway = {
  name: 'gateway',
  about: `getMe through the gateway: added latency on one connection, calls per second on ${CONNECTIONS} beside nginx`,
  async run({ rounds }) {
    const missing = prepare();
    if (missing !== null) {
      console.error(`gateway: left out: ${missing}`);
      return [];
    }
    const api = await openConstantApi(TOKEN);
    const proxy = await openProxy(api.root);
    const ours = await openGateway(api.root);
    const perSecond = (root, ms) => async () =>
      (await ours.order('throughput', { root, connections: CONNECTIONS, ms })).perSecond;
    await perSecond(ours.gateway, WARM_UP_MS)();
    const roots = { ours: ours.gateway, theirs: api.root };
    const p50 = { ours: [], theirs: [] };
    const p99 = { ours: [], theirs: [] };
    for (let round = 0; round < rounds; round++) {
      const ms = await ours.order('latency', { roots, calls: CALLS });
      for (const who of ['ours', 'theirs']) {
        p50[who].push(percentile(ms[who], 0.5));
        p99[who].push(percentile(ms[who], 0.99));
      }
    }
    const rates = await inTurns(rounds, {
      ours: perSecond(ours.gateway, BUSY_MS),
      theirs: perSecond(proxy.root, BUSY_MS),
    });
    await ours.close();
    await proxy.close();
    await api.close();
    const latency = (what, values, moreMs) =>
      line({
        row: 'gateway',
        what: `getMe, one connection: ${what}`,
        unit: 'ms',
        against: 'direct',
        ...values,
        promise: atMostMore(moreMs, 'ms'),
      });
    return [
      latency('p50', p50, 0.6),
      latency('p99', p99, 2),
      line({
        row: 'gateway',
        what: `getMe, ${CONNECTIONS} connections`,
        unit: 'calls/s',
        against: 'nginx',
        ...rates,
        promise: atLeastTimes(0.35),
      }),
    ];
  },
};
