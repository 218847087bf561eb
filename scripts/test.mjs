// `npm test`, `npm run test:thorough`, `npm run test:platforms`: brings what the tests need, then runs them.
//   npm test                      everything but the thorough ones and the platforms
//   npm test -- unit              only files whose path contains "unit"; several words: any of them
//   npm run test:thorough         test/thorough, and the cases of test/e2e that are too long for every day (test/support/kinds.ts)
//   npm run test:platforms        test/platforms: real systems to run on, as root (`npm run test:setup` makes them)
import { spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { buildWhenStale, listFiles } from './prepare.mjs';
import { runTestFiles } from './test-files.mjs';
import { bringPackages, bringPlatforms, bringPrograms } from './test-setup.mjs';

const KINDS = ['thorough', 'platforms'];
const kind = KINDS.find((it) => process.argv.includes(`--${it}`)) ?? 'daily';
const words = process.argv.slice(2).filter((word) => word !== `--${kind}`);
/** What `node -e 0` takes on a machine that keeps up with three files a core. */
const NODE_START_MS = 60;
const kindOf = (path) => KINDS.find((it) => path.startsWith(join('test', it))) ?? 'daily';
const hasRareCases = (path) =>
  path.startsWith(join('test', 'e2e')) && /\bx(?:test|it)\(/.test(readFileSync(path, 'utf8'));
const isWanted = (path) => kindOf(path) === kind || (kind === 'thorough' && hasRareCases(path));
const isUnit = (path) => /[/\\]unit[/\\]/.test(path);

const files = listFiles('test')
  .filter((path) => path.endsWith('.test.ts') && isWanted(path))
  .filter((path) => words.length === 0 || words.some((word) => path.includes(word)));
if (files.length === 0) {
  console.error(`npm test: no test file matches ${words.join(' ')}`);
  process.exit(1);
}
// Unit tests need nothing but Node and the sources.
if (!files.every(isUnit)) {
  bringPackages();
  buildWhenStale();
}
if (kind !== 'daily') bringPrograms();
if (kind === 'platforms') bringPlatforms();

/** Most of an end-to-end test is waiting; on a slow machine less of it is, and times are kept by fewer at once. */
function filesAtOnce() {
  const cores = Math.max(2, availableParallelism());
  const starts = [1, 2, 3].map(() => {
    const begunMs = performance.now();
    spawnSync(process.execPath, ['-e', '0']);
    return performance.now() - begunMs;
  });
  return Math.max(cores, Math.min(cores * 3, Math.round((cores * 3 * NODE_START_MS) / Math.min(...starts))));
}

const unit = files.filter(isUnit);
const together = [0, 1].map((half) => unit.filter((_, i) => i % 2 === half));
// What takes longest first, for it must not be left for the end; else the biggest file.
const weight = (path) =>
  /simulations|chaos|gateway-bots/.test(path) ? Number.POSITIVE_INFINITY : statSync(path).size;
const alone = files.filter((path) => !unit.includes(path)).sort((a, b) => weight(b) - weight(a) || 0);
const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => stop.abort());
// A platform is a whole system: one after the other.
const atOnce = kind === 'platforms' ? 1 : filesAtOnce();
const isGood = await runTestFiles({
  jobs: [...together.filter(({ length }) => length > 0), ...alone.map((path) => [path])],
  atOnce,
  env: { SP_TEST_KIND: kind, SP_TEST_AT_ONCE: String(atOnce) },
  signal: stop.signal,
});
process.exit(isGood ? 0 : 1);
