/**
 * `node --import tsx test/simulation/run.ts [NAME …]`: the simulations, all or those named, in many more schedules than `npm test`.
 *   --seeds N --first N   how many schedules (20000), from which seed on (1)
 *   --seed N              one schedule, with its whole story
 *   --broken-rules        also each rule of the lists, broken on purpose: it has to be caught, by the seed that is written beside it
 *   --repin               writes down another seed where that one does not show the rule any more
 */
import { parseArgs } from 'node:util';
import { problemOf, rulesOf } from './rules.ts';
import { runSeeds, SIMULATIONS, type Simulation, storyOf } from './suite.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seeds: { type: 'string', default: '20000' },
    first: { type: 'string', default: '1' },
    seed: { type: 'string' },
    'broken-rules': { type: 'boolean', default: false },
    repin: { type: 'boolean', default: false },
  },
});
const wanted = SIMULATIONS.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
const [seeds, first] = [Number(values.seeds), Number(values.first)];
if (wanted.length === 0 || !(seeds >= 0) || !Number.isSafeInteger(first))
  throw new Error('see the head of run.ts');

async function many(simulation: Simulation): Promise<boolean> {
  const startedMs = performance.now();
  const { counts, failed } = await runSeeds(simulation, first, seeds);
  const tookS = ((performance.now() - startedMs) / 1_000).toFixed(1);
  // In so many schedules, not once by chance.
  const seldom = seeds < 5_000 ? [] : simulation.happens.filter((name) => (counts.get(name) ?? 0) <= 20);
  console.log(
    `${simulation.name}: ${seeds} schedules from seed ${first} on, ${tookS} s: ${failed ?? 'all held'}`,
  );
  if (!failed && seldom.length > 0) console.log(`  hardly ever happens: ${seldom.join(', ')}`);
  return failed === null && seldom.length === 0;
}

async function broken(simulation: Simulation): Promise<boolean> {
  const rules = rulesOf(simulation);
  let uncaught = 0;
  for (const rule of rules) {
    const problem = await problemOf(rule, simulation, values.repin).catch((error: Error) => error.message);
    if (problem === null) continue;
    uncaught += 1;
    console.log(`  ${simulation.name} that ${rule.name}: ${problem}`);
  }
  console.log(`${simulation.name}: ${rules.length} broken rules, ${uncaught} not caught`);
  return uncaught === 0;
}

let good = true;
for (const simulation of wanted) {
  if (values.seed !== undefined) {
    const outcome = await simulation.run(Number(values.seed));
    console.log([...outcome.log, ...outcome.violations].join('\n'));
    good &&= outcome.violations.length === 0;
    if (!good) console.log(storyOf(simulation, outcome).split('\n', 1)[0]);
    continue;
  }
  if (seeds > 0) good = (await many(simulation)) && good;
  if (values['broken-rules'] || values.repin) good = (await broken(simulation)) && good;
}
process.exitCode = good ? 0 : 1;
