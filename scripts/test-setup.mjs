// `npm run test:setup`: brings the programs that tests start, once and never while tests run: Debian's packages of
// test/debian-packages.txt where it may install them, a few from npm, and the systems that test/platforms runs in.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { bringTrees } from './test-trees.mjs';

/** Where test/support/programs.ts looks for them: FOLDER/NAME-VERSION/node_modules. */
const FOLDER = 'node_modules/.cache/singlepoll-test';
const NODE = `node-${process.platform}-${process.arch}`;
const PROGRAMS = [
  ['pm2', '7.0.4'],
  ['nodemon', '3.1.14'],
  // The oldest and the newest patch of the oldest line: what V8 keeps in a file need not fit between two patches.
  ...['12', '16', '18', '20.20.0', '20.20.2', '22', '24', '26', 'latest'].map((version) => [NODE, version]),
  ['bun', '1.4.5'],
  ['deno', '2.9.6'],
  ['schemas', '1', '@action-validator/core@0.6.0', 'kubernetes-models@4'],
  [
    'http-libraries',
    '2',
    ...['undici@7', 'axios@1', 'axios-1.6@npm:axios@1.6.8', 'axios-0.27@npm:axios@0.27.2', 'got@14'],
    ...['node-fetch@3', 'node-fetch-2@npm:node-fetch@2', 'gramio@0.10', 'puregram@2'],
  ],
];

/** Installs the missing Debian packages, or says which command would. */
export function bringPackages(list = 'test/debian-packages.txt') {
  const wanted = readFileSync(list, 'utf8').split('\n').filter(Boolean);
  const query = ['-W', `-f=\${db:Status-Status} \${Package}\\n`, ...wanted];
  const known = spawnSync('dpkg-query', query, { encoding: 'utf8' }).stdout?.split('\n') ?? [];
  const missing = wanted.filter((name) => !known.includes(`installed ${name}`));
  if (missing.length === 0) return;
  const command = `apt-get update && apt-get install -y --no-install-recommends ${missing.join(' ')}`;
  const isAble = process.getuid?.() === 0 && spawnSync('apt-get', ['--version']).status === 0;
  if (!isAble)
    return console.error(
      `note: tests of real programs need packages that are missing; install them:\n  ${command}`,
    );
  console.error(`installing ${missing.join(', ')}`);
  // The tests start what they need themselves; Debian asks this file whether a package may start its service (invoke-rc.d(8)).
  const policy = '/usr/sbin/policy-rc.d';
  const isOurs = !existsSync(policy);
  if (isOurs) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    run('sh', ['-c', command], { DEBIAN_FRONTEND: 'noninteractive' });
  } finally {
    if (isOurs) rmSync(policy);
  }
}

/** Systems to boot and to run in. */
export function bringPlatforms() {
  bringPackages('test/platforms/debian-packages.txt');
  bringTrees();
}

/** Installs what npm has of PROGRAMS. */
export function bringPrograms() {
  for (const [name, version, ...packages] of PROGRAMS) {
    const folder = path.join(FOLDER, `${name}-${version}`);
    if (existsSync(folder)) continue;
    console.error(`installing ${name} ${version}`);
    const half = `${folder}.half`;
    mkdirSync(half, { recursive: true });
    const wanted = packages.length > 0 ? packages : [`${name}@${version}`];
    run('npm', ['install', '--prefix', half, '--no-audit', '--no-fund', ...wanted]);
    renameSync(half, folder);
  }
}

/** Throws where it fails. */
const run = (command, args, env) =>
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, ...env } });

if (process.argv[1] === import.meta.filename) {
  bringPackages();
  bringPrograms();
  bringPlatforms();
}
