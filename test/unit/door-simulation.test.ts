/**
 * The simulation of the door to getUpdates: thousands of schedules on a virtual clock, judged at every step (test/simulation/door.ts);
 * and each of its rules broken on purpose, which the simulation has to catch.
 *   SP_SIM_SEEDS=10000   more seeds        SP_SIM_SEED=17   one seed, with its story
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DoorOutcome, runDoorSeed } from '../simulation/door.ts';
import { DOOR_BROKEN_RULES } from '../simulation/door-broken-rules.ts';
import { simulationWith } from '../simulation/mutate.ts';

const ONE = process.env.SP_SIM_SEED;
const SEEDS = ONE === undefined ? Number(process.env.SP_SIM_SEEDS ?? 1_500) : 1;
const FIRST = Number(ONE ?? 1);
/** A broken rule whose own seed does not show it any more is looked for in this many. */
const SEARCH = 4_000;

function story({ seed, log, violations }: DoorOutcome): string {
  const last = log.slice(-40).join('\n');
  return `seed ${seed} failed; again: SP_SIM_SEED=${seed} node --import tsx --test test/unit/door-simulation.test.ts\n${last}\n${violations.join('\n')}`;
}

test(`${SEEDS} schedules from seed ${FIRST} on: one flight at a time, each poll answered in its time, nobody starves, nothing is lost`, async () => {
  const counts: { [name: string]: number } = {};
  for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
    const outcome = await runDoorSeed(seed);
    assert.deepEqual(outcome.violations, [], story(outcome));
    if (ONE !== undefined) console.log(outcome.log.slice(-40).join('\n'));
    for (const [name, count] of Object.entries(outcome.counts)) counts[name] = (counts[name] ?? 0) + count;
  }
  if (SEEDS < 1_000) return;
  // A simulation in which nothing happens would pass as well.
  const landings = ['updates', 'verdict', 'conflict', 'webhook', 'flood', 'outage'];
  const answers = ['held', 'retrying', 'overdue', 'shut', 'released', 'gone'].map((why) => `empty: ${why}`);
  const others = [
    'takeovers',
    'closed with an open poll',
    'exactly once',
    'exactly once, by several processes',
    'thefts told',
    'missing, and no theft told',
  ];
  const said = ['overlap', 'overlap-over', 'rival', 'deaf'];
  for (const name of [...landings, ...answers, ...others, ...said])
    assert.ok((counts[name] ?? 0) > 8, `${name}: ${counts[name] ?? 0}`);
});

test('the same seed tells the same story', async () => {
  for (const seed of [3, 4]) assert.deepEqual((await runDoorSeed(seed)).log, (await runDoorSeed(seed)).log);
});

for (const rule of ONE === undefined ? DOOR_BROKEN_RULES : []) {
  test(`caught: a gateway that ${rule.name}`, async (t) => {
    const broken = await simulationWith<typeof import('../simulation/door.ts')>(rule, 'door.ts');
    const seeds = [rule.seed, ...Array.from({ length: SEARCH }, (_, index) => index + 1)];
    for (const seed of seeds) {
      const { violations } = await broken.runDoorSeed(seed);
      if (violations.length === 0) continue;
      if (seed !== rule.seed) t.diagnostic(`seed ${rule.seed} does not show it any more; ${seed} does`);
      return;
    }
    assert.fail(`none of ${SEARCH} seeds shows it`);
  });
}
