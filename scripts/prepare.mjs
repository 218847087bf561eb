// The built program, for whatever needs it. Run by itself it is npm's `prepare`: at `npm ci`, and again for the first `npx singlepoll` in
// this folder, which need not wait for a build.
import { spawnSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** Builds dist/ when it is missing or older than a source. */
export function buildWhenStale() {
  // What the build writes last.
  const built = statSync('dist/THIRD-PARTY-NOTICES.txt', { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const sources = [...listFiles('src'), ...listFiles('scripts'), 'package.json', 'package-lock.json'];
  if (built >= Math.max(...sources.map((path) => statSync(path).mtimeMs))) return;
  console.error('building dist/');
  const build = spawnSync(process.execPath, ['scripts/build.mjs'], { stdio: 'inherit' });
  if (build.status === 0) return;
  console.error('the build failed');
  process.exit(1);
}

export function listFiles(folder) {
  const all = readdirSync(folder, { withFileTypes: true, recursive: true });
  const paths = all.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  // Python writes its cache beside the hooks, in the midst of a test run.
  return paths.filter((path) => !/node_modules|__pycache__/.test(path));
}

if (process.argv[1] === import.meta.filename) buildWhenStale();
