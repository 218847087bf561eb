// `npm test`: brings what the tests need (Debian packages where it may, the built program), then runs them.
//   npm test                      everything
//   npm test -- unit              only files whose path contains "unit"; several words: any of them
// Longer chaos: SP_TEST_LOCK_ROUNDS=1000 SP_TEST_KILL_ROUNDS=200 SP_TEST_BIG_MB=2048 npm test -- e2e
import { availableParallelism } from 'node:os';
import { bringPackages, buildWhenStale, listFiles } from './prepare.mjs';
import { runTestFiles } from './test-files.mjs';

const words = process.argv.slice(2);
const files = listFiles('test')
  .filter((path) => path.endsWith('.test.ts'))
  .filter((path) => words.length === 0 || words.some((word) => path.includes(word)))
  .sort();
if (files.length === 0) {
  console.error(`npm test: no test file matches ${words.join(' ')}`);
  process.exit(1);
}

bringPackages(files.some((path) => !path.includes('/unit/')));
buildWhenStale();
// Most of an end-to-end test is waiting: two cores bear three files at a time. But leases give up in fractions of a second, and
// where their tests begin it must not be a busy machine that decides.
const cores = Math.max(2, availableParallelism());
const isPunctual = (path) => /[/\\](?:chaos|lease-)[^/\\]*$/.test(path);
const batches = [
  { names: files.filter(isPunctual), atOnce: cores },
  { names: files.filter((path) => !isPunctual(path)), atOnce: cores + 1 },
];
if (!(await runTestFiles(batches))) process.exitCode = 1;
