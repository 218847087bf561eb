// From the Bot API's answer to an open long poll until the worker has it whole.
import { openGateway, openLeanApi } from '../gateway.mjs';
import { atMost, inTurns, line, percentile } from '../statistics.mjs';

const UPDATES = 50;

export const gatewayPoll = {
  name: 'gateway-poll',
  about: `an update's way through an open long poll of the gateway, and directly; ${UPDATES} a round`,
  async run({ rounds }) {
    const api = await openLeanApi();
    const ours = await openGateway(api.root);
    const updates = (root) => async () => (await ours.order('poll', { root, updates: UPDATES })).ms;
    const ms = await inTurns(rounds, { ours: updates(ours.gateway), theirs: updates(api.root) });
    await ours.close();
    await api.close();
    const latency = (what, share, promise) =>
      line({
        row: 'poll',
        what: `update → worker, open long poll: ${what}`,
        unit: 'ms',
        ours: ms.ours.map((values) => percentile(values, share)),
        against: 'direct',
        theirs: ms.theirs.map((values) => percentile(values, share)),
        promise,
      });
    return [latency('p50', 0.5, atMost(3, 'ms')), latency('p99', 0.99, null)];
  },
};
