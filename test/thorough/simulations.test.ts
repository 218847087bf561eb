/** The simulations in many more schedules than `npm test` has, and every rule of their lists broken on purpose. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { describe, test } from 'node:test';
import { SIMULATIONS } from '../simulation/suite.ts';

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
