/** Programs from npm, outside of the project's own dependencies; `npm run test:setup` (scripts/test-setup.mjs) brings them. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** The folder of a set of packages. */
export function npmModules(name: string, version: string): string {
  const folder = join(
    process.cwd(),
    'node_modules/.cache/singlepoll-test',
    `${name}-${version}`,
    'node_modules',
  );
  assert.ok(existsSync(folder), `${name} ${version} is missing: npm run test:setup`);
  return folder;
}

/** The folder of the programs of a package. */
export const npmPrograms = (name: string, version: string): string => join(npmModules(name, version), '.bin');

/** The folder with the program `node` of a version such as `22`, or `latest`. */
export const nodeBuild = (version: string): string =>
  npmPrograms(`node-${process.platform}-${process.arch}`, version);

/** Pythons of pyenv; npm and Debian have none, so those that this machine lacks are named and left out. */
export function pythonBuilds(versions: readonly string[]): string[] {
  const folder = join(process.env.PYENV_ROOT ?? join(homedir(), '.pyenv'), 'versions');
  const builds = existsSync(folder) ? readdirSync(folder) : [];
  return versions.flatMap((version) => {
    const build = builds.find((it) => it.startsWith(`${version}.`));
    if (build !== undefined) return join(folder, build, 'bin', `python${version}`);
    console.error(`note: Python ${version} is left out: pyenv install ${version}`);
    return [];
  });
}
