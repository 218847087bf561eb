/**
 * `npm run simulate -- [WHAT] [--seeds N] [--first N]`: many seeds, one line for each thousand, and the story of the first that fails.
 * WHAT: `supervisor` (20000 seeds), `door` to getUpdates (10000), `keeper` of the lease (20000), `lock` (20000).
 * `SP_SIM_SEED=n npm run simulate -- [WHAT]` tells the whole story of one seed.
 */
import { parseArgs } from 'node:util';
import { runDoorSeed } from './door.ts';
import { runKeeperSeed } from './keeper.ts';
import { runLockSeed } from './lock.ts';
import { runSeed } from './world.ts';

interface Told {
  readonly log: readonly string[];
  readonly violations: readonly string[];
  readonly virtualMs: number;
}

const WORLDS: { readonly [what: string]: readonly [(seed: number) => Promise<Told>, number] } = {
  supervisor: [runSeed, 20_000],
  door: [runDoorSeed, 10_000],
  keeper: [runKeeperSeed, 20_000],
  lock: [runLockSeed, 20_000],
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seeds: { type: 'string' }, first: { type: 'string' } },
});
const named = Object.hasOwn(WORLDS, positionals[0] ?? '');
const [run, usual] = WORLDS[named ? positionals[0]! : 'supervisor']!;
const [seedsWord, firstWord] = named ? positionals.slice(1) : positionals;

const one = process.env.SP_SIM_SEED;
if (one !== undefined) {
  const { log, violations } = await run(Number(one));
  console.log([...log, ...violations].join('\n'));
  process.exit(violations.length === 0 ? 0 : 1);
}
const seeds = Number(values.seeds ?? seedsWord ?? process.env.SP_SIM_SEEDS ?? usual);
const first = Number(values.first ?? firstWord ?? 1);
if (!(seeds > 0) || !Number.isSafeInteger(first)) throw new Error('not a number of seeds');
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
