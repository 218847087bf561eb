// A big upload through the gateway: speed against the direct one, and the supervisor's memory meanwhile.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openGateway, openLeanApi } from '../gateway.mjs';
import { watchPeak } from '../memory.mjs';
import { newFolder } from '../scene.mjs';
import { atLeastTimes, atMost, inTurns, line } from '../statistics.mjs';

const MEGABYTES = 50;

export const gatewayUpload = {
  name: 'gateway-upload',
  about: `a multipart upload of ${MEGABYTES} MB through the gateway: speed against the direct one, memory at the peak`,
  async run({ rounds }) {
    const file = join(newFolder('upload'), 'big.bin');
    writeFileSync(file, Buffer.alloc(MEGABYTES * 1e6, 'a photo? '));
    const api = await openLeanApi();
    const ours = await openGateway(api.root);
    const peakMiB = watchPeak(ours.pid);
    const speed = (root) => async () => (MEGABYTES * 1000) / (await ours.order('upload', { root, file })).ms;
    const speeds = await inTurns(rounds * 2, { ours: speed(ours.gateway), theirs: speed(api.root) });
    const grown = peakMiB();
    await ours.close();
    await api.close();
    return [
      line({
        row: 'upload',
        what: `${MEGABYTES} MB multipart upload`,
        unit: 'MB/s',
        against: 'direct',
        ...speeds,
        promise: atLeastTimes(0.6),
      }),
      line({
        row: 'upload',
        what: `RSS at the peak of all ${speeds.ours.length + 1} uploads, beyond that before`,
        unit: 'MiB',
        ours: [grown],
        promise: atMost(20, 'MiB'),
      }),
    ];
  },
};
