/**
 * The simulations of supervisor, door, lease and lock (test/simulation): some schedules each, the same ones every time, and those that
 * show a broken rule. `npm run test:thorough` breaks each rule on purpose.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { brokenFiles, rulesOf } from '../simulation/rules.ts';
import { runSeeds, SIMULATIONS } from '../simulation/suite.ts';

const SEEDS = 50;

for (const simulation of SIMULATIONS) {
  const { name, promise, run } = simulation;
  test(`${name}, seeds 1 to ${SEEDS}, and that of each rule: ${promise}`, async () => {
    const seeds = new Set(rulesOf(simulation).map(({ seed }) => seed));
    for (let seed = 1; seed <= SEEDS; seed++) seeds.add(seed);
    for (const seed of seeds) assert.equal((await runSeeds(simulation, seed, 1)).failed, null);
  });

  test(`${name}: the same seed tells the same story`, async () => {
    assert.deepEqual((await run(3)).log, (await run(3)).log);
  });

  test(`${name}: the text of each rule to break stands in its file once`, () => {
    const rules = rulesOf(simulation);
    assert.ok(rules.length > 10);
    for (const rule of rules) assert.ok(brokenFiles(rule).size > 0, rule.name);
  });
}
