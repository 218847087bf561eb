// The built program, for whatever needs it.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** Builds dist/ when it is missing or older than a source. */
export function buildWhenStale() {
  // What the build writes last.
  const last = 'dist/THIRD-PARTY-NOTICES.txt';
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
