/**
 * `npm run simulate -- [seeds] [first seed]` (20000, 1): many seeds, one line for each thousand, and the story of the first that fails.
 * `SP_SIM_SEED=n npm run simulate` tells the whole story of one seed.
 */
import { runSeed } from './world.ts';

const one = process.env.SP_SIM_SEED;
if (one !== undefined) {
  const { log, violations } = await runSeed(Number(one));
  console.log([...log, ...violations].join('\n'));
  process.exit(violations.length === 0 ? 0 : 1);
}
const seeds = Number(process.argv[2] ?? process.env.SP_SIM_SEEDS ?? 20_000);
const first = Number(process.argv[3] ?? 1);
const startedMs = performance.now();
let failed = 0;
let virtualMs = 0;
for (let seed = first; seed < first + seeds; seed++) {
  const outcome = await runSeed(seed);
  virtualMs += outcome.virtualMs;
  if (outcome.violations.length > 0) {
    failed += 1;
    if (failed === 1) console.log(outcome.log.slice(-40).join('\n'));
    console.log(`seed ${seed}: ${outcome.violations.join('\n  ')}`);
  }
  const done = seed - first + 1;
  if (done % 1_000 !== 0 && done !== seeds) continue;
  const tookS = (performance.now() - startedMs) / 1_000;
  console.log(
    `${done} seeds, ${Math.round(virtualMs / 3_600_000)} virtual hours in ${tookS.toFixed(1)} s, ${failed} failed`,
  );
}
process.exitCode = failed === 0 ? 0 : 1;
