/** The simulations in many more schedules than `npm test` has, and every rule of their lists broken on purpose. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';
import { describe, test } from 'node:test';
import { SIMULATIONS } from '../simulation/suite.ts';

// Virtual time can wait for those that run beside and keep real times. With autogroups it is the session whose nice value counts: sched(7).
if (process.env.SP_TEST_RUN) {
  setPriority(19);
  if (existsSync('/proc/self/autogroup')) writeFileSync('/proc/self/autogroup', '19');
}

describe('simulations', { concurrency: 2 }, () => {
  for (const { name, promise } of SIMULATIONS)
    test(`${name}: ${promise}`, async () => {
      const args = ['--import', 'tsx', 'test/simulation/run.ts', name, '--broken-rules'];
      const problem = await new Promise((done) =>
        execFile(process.execPath, args, (error, stdout, stderr) => done(error && `${stdout}${stderr}`)),
      );
      assert.equal(problem, null);
    });
});
