// `npm test`, `npm run test:thorough`: brings what the tests need, then runs them.
//   npm test                      everything but the thorough ones
//   npm test -- unit              only files whose path contains "unit"; several words: any of them
//   npm run test:thorough         test/thorough, and what does more with SP_TEST_THOROUGH=1
import { statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { buildWhenStale, listFiles } from './prepare.mjs';
import { runTestFiles } from './test-files.mjs';
import { bringPackages, bringPrograms } from './test-setup.mjs';

const thorough = process.argv.includes('--thorough');
const words = process.argv.slice(2).filter((word) => word !== '--thorough');
/** Besides test/thorough: their tests depend on SP_TEST_THOROUGH. */
const THOROUGH_TOO = /[/\\]package\.test\.ts$/;
const isThorough = (path) => /[/\\]thorough[/\\]/.test(path);
const isUnit = (path) => /[/\\]unit[/\\]/.test(path);

const files = listFiles('test')
  .filter((path) => path.endsWith('.test.ts'))
  .filter((path) => (thorough ? isThorough(path) || THOROUGH_TOO.test(path) : !isThorough(path)))
  .filter((path) => words.length === 0 || words.some((word) => path.includes(word)));
if (files.length === 0) {
  console.error(`npm test: no test file matches ${words.join(' ')}`);
  process.exit(1);
}
// Unit tests need nothing but Node, and what runs alone is brought by nobody.
if (!files.every(isUnit)) bringPackages();
if (thorough) bringPrograms();
buildWhenStale();

const cores = Math.max(2, availableParallelism());
const size = (path) => statSync(path).size;
const unit = thorough ? [] : files.filter(isUnit);
// Three processes: the simulations take as long as half of the others together.
const isSimulation = (path) => path.includes('simulations');
const others = unit.filter((path) => !isSimulation(path));
const together = [
  unit.filter(isSimulation),
  others.filter((_, i) => i % 2 === 0),
  others.filter((_, i) => i % 2 === 1),
];
// The biggest file first: one that takes long must not be left for the end.
const alone = files.filter((path) => !unit.includes(path)).sort((a, b) => size(b) - size(a));
const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => stop.abort());
const isGood = await runTestFiles({
  jobs: [...together.filter(({ length }) => length > 0), ...alone.map((path) => [path])],
  // Most of an end-to-end test is waiting.
  atOnce: cores * 2,
  slots: cores * 2,
  // Engines have time limits; the cases of the hooks share one server, the innocent one world.
  concurrency: (path) => (!/[/\\]e2e[/\\]/.test(path) || /intercept-hooks|lease|innocent/.test(path) ? 1 : 2),
  env: thorough ? { SP_TEST_THOROUGH: '1' } : {},
  signal: stop.signal,
});
process.exit(isGood ? 0 : 1);
