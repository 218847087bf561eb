// What the tests and the chaos need before they run: Debian's packages, the built program.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Installs the missing packages of test/debian-packages.txt, or says which command would. */
export function bringPackages(needed) {
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
export function buildWhenStale() {
  // What the build writes last.
  const last = 'dist/types/api/index.d.ts';
  const built = existsSync(last) ? statSync(last).mtimeMs : 0;
  const newest = Math.max(
    ...[...listFiles('src'), ...listFiles('scripts'), 'package.json', 'package-lock.json'].map(
      (path) => statSync(path).mtimeMs,
    ),
  );
  if (built >= newest) return;
  console.error('building dist/');
  const build = spawnSync(process.execPath, ['scripts/build.mjs'], { stdio: 'inherit' });
  if (build.status !== 0) fail('the build failed');
}

export function listFiles(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.name !== 'node_modules')
    .flatMap((entry) =>
      entry.isDirectory() ? listFiles(join(folder, entry.name)) : [join(folder, entry.name)],
    );
}

function fail(text) {
  console.error(text);
  process.exit(1);
}
