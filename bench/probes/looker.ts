// Looks for strays with singlepoll's own finder and tells its parent how long each look took, in ms.
import { createStrayFinder } from '../../src/machine/strays.ts';

const [token = '', quickLooks] = process.argv.slice(2);
const finder = createStrayFinder({
  token,
  botId: token.split(':')[0] ?? '',
  apiRoot: 'http://127.0.0.1:9',
  patterns: [/production_polling_bot\.py/],
  scope: 'project',
  projectDir: process.cwd(),
});
const full = async () => (await finder.look()).tookMs;
const tookMs = [await full(), await full()];
for (let i = 0; i < Number(quickLooks); i++) tookMs.push(finder.quickLook().tookMs);
process.send?.(tookMs);
