// Looks for strays with singlepoll's own finder and tells its parent how long that took, in ms: a first full look, and a quick one.
import { openEyes, openFinder } from '../../src/strays/finder.ts';

const [token = ''] = process.argv.slice(2);
const botId = token.split(':')[0] ?? '';
const eyes = openEyes({
  token,
  botId,
  patterns: [/production_polling_bot\.py/],
  scope: 'project',
  projectDir: process.cwd(),
});
const finder = openFinder({ botId, eyes });
const first = (await finder.look()).tookMs;
process.send?.({ first, quick: finder.quickLook().tookMs });
