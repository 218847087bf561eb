/**
 * The simulations of supervisor, door, lease and lock (test/simulation): some schedules each, the same ones every time. Many
 * more of them, every rule broken on purpose, and the known limits of the lease are for `npm run test:thorough`.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { brokenFiles, rulesOf } from '../simulation/rules.ts';
import { runSeeds, SIMULATIONS } from '../simulation/suite.ts';

const FIRST = 1;
const SEEDS = 50;

for (const simulation of SIMULATIONS) {
  const { name, promise, run } = simulation;
  test(`${name}, seeds ${FIRST} to ${FIRST + SEEDS - 1}: ${promise}`, async () => {
    const { failed } = await runSeeds(simulation, FIRST, SEEDS);
    assert.equal(failed, null, failed ?? '');
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
