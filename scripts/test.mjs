// `npm test`: brings what the tests need (Debian packages where it may, the built program), then runs them.
//   npm test                      everything
//   npm test -- unit              only files whose path contains "unit"; several words: any of them
// Longer chaos: SP_TEST_LOCK_ROUNDS=1000 SP_TEST_KILL_ROUNDS=200 SP_TEST_BIG_MB=2048 npm test -- e2e
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

const words = process.argv.slice(2);
const files = listFiles('test')
  .filter((path) => path.endsWith('.test.ts'))
  .filter((path) => words.length === 0 || words.some((word) => path.includes(word)))
  .sort();
if (files.length === 0) fail(`no test file matches ${words.join(' ')}`);

bringPackages(files.some((path) => !path.includes('/unit/')));
buildWhenStale();
// Most of an end-to-end test is waiting, but its deadlines are real: two cores bear two files at a time.
const run = spawnSync(
  process.execPath,
  [
    '--import',
    'tsx',
    '--test',
    '--test-reporter=spec',
    `--test-concurrency=${Math.max(2, availableParallelism())}`,
    '--test-timeout=600000',
    ...files,
  ],
  { stdio: 'inherit' },
);
process.exitCode = run.status ?? 1;

/** Installs the missing packages of test/debian-packages.txt, or says which command would. */
function bringPackages(needed) {
  const list = 'test/debian-packages.txt';
  const wanted = existsSync(list)
    ? readFileSync(list, 'utf8')
        .split('\n')
        .map((line) => line.replace(/#.*/, '').trim())
        .filter(Boolean)
    : [];
  const missing = wanted.filter((name) => !installed(name));
  if (missing.length === 0) return;
  const command = `apt-get update && apt-get install -y --no-install-recommends ${missing.join(' ')}`;
  const mayInstall = process.getuid?.() === 0 && isProgram('apt-get');
  if (!mayInstall) {
    const text = `the tests of real programs need packages that are missing: ${missing.join(', ')}\n  sudo sh -c '${command}'`;
    if (needed) fail(text);
    console.error(`note: ${text}`);
    return;
  }
  console.error(`installing ${missing.join(', ')}`);
  const options = {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  };
  spawnSync('apt-get', ['update', '-qq'], options);
  const install = withoutServices(() =>
    spawnSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], options),
  );
  const still = missing.filter((name) => !installed(name));
  if (install.status !== 0 || still.length > 0)
    fail(`could not install ${still.join(', ')}; tried:\n  ${command}`);
}

/** The tests start what they need themselves; Debian asks this file whether a package may start its service (invoke-rc.d(8)). */
function withoutServices(work) {
  const policy = '/usr/sbin/policy-rc.d';
  if (existsSync(policy)) return work();
  writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    return work();
  } finally {
    rmSync(policy);
  }
}

function installed(name) {
  const query = spawnSync('dpkg-query', ['-W', `-f=\${db:Status-Status}`, name], { encoding: 'utf8' });
  return query.status === 0 && query.stdout === 'installed';
}

function isProgram(name) {
  return spawnSync('sh', ['-c', `command -v ${name}`], { stdio: 'ignore' }).status === 0;
}

/** Builds dist/ when it is missing or older than a source. */
function buildWhenStale() {
  const built = existsSync('dist/cli.cjs') ? statSync('dist/cli.cjs').mtimeMs : 0;
  const newest = Math.max(
    ...[...listFiles('src'), 'package.json', 'package-lock.json', 'scripts/build.mjs'].map(
      (path) => statSync(path).mtimeMs,
    ),
  );
  if (built >= newest) return;
  console.error('building dist/');
  const build = spawnSync(process.execPath, ['scripts/build.mjs'], { stdio: 'inherit' });
  if (build.status !== 0) fail('the build failed');
}

function listFiles(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.name !== 'node_modules')
    .flatMap((entry) =>
      entry.isDirectory() ? listFiles(join(folder, entry.name)) : [join(folder, entry.name)],
    );
}

function fail(text) {
  console.error(`npm test: ${text}`);
  process.exit(1);
}
