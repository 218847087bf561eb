// `npm run chaos`: brings what it needs as `npm test` does, then runs test/chaos/run.ts with the same words.
import { spawnSync } from 'node:child_process';
import { bringPackages, buildWhenStale } from './prepare.mjs';

bringPackages(true);
buildWhenStale();
const run = spawnSync(process.execPath, ['--import', 'tsx', 'test/chaos/run.ts', ...process.argv.slice(2)], {
  stdio: 'inherit',
});
process.exitCode = run.status ?? 1;
