/**
 * `npm run simulate -- [seeds] [first seed]` (20000, 1): many seeds, one line for each thousand, and the story of the first that fails.
 * `npm run simulate -- door [seeds] [first seed]` (10000, 1): the door to getUpdates instead of the supervisor.
 * `SP_SIM_SEED=n npm run simulate -- [door]` tells the whole story of one seed.
 */
import { runDoorSeed } from './door.ts';
import { runSeed } from './world.ts';

const words = process.argv.slice(2);
const door = words[0] === 'door';
if (door) words.shift();
const run = door ? runDoorSeed : runSeed;

const one = process.env.SP_SIM_SEED;
if (one !== undefined) {
  const { log, violations } = await run(Number(one));
  console.log([...log, ...violations].join('\n'));
  process.exit(violations.length === 0 ? 0 : 1);
}
const seeds = Number(words[0] ?? process.env.SP_SIM_SEEDS ?? (door ? 10_000 : 20_000));
const first = Number(words[1] ?? 1);
const startedMs = performance.now();
let failed = 0;
let virtualMs = 0;
for (let seed = first; seed < first + seeds; seed++) {
  const outcome = await run(seed);
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
