// Looks for strays with singlepoll's own finder and tells its parent how long that took, in ms: a first full look, and a quick one.
import { openEyes } from '../../src/strays/finder.ts';

const [token = ''] = process.argv.slice(2);
const botId = token.split(':')[0] ?? '';
const { finder } = openEyes({
  token,
  botId,
  patterns: ['production_polling_bot\\.py'],
  scope: 'project',
  projectDir: process.cwd(),
});
const startedMs = performance.now();
await finder.look();
const seenMs = performance.now();
finder.quickLook();
process.send?.({ first: seenMs - startedMs, quick: performance.now() - seenMs });
