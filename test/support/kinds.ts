// Cases of test/e2e that `npm test` leaves to `npm run test:thorough`: `xtest`, an extra test, stands in one file with those that share
// what it needs. Each of the two runs its own; a file that is run by itself runs all. `it` and `xit` are the same with a bed of their own.
import { test as run } from 'node:test';
import { type Bed, bed } from './bed.ts';

const kind = process.env.SP_TEST_KIND;
const leave: typeof run = Object.assign((() => Promise.resolve()) as never, run);

export const test = kind === 'thorough' ? leave : run;
export const xtest = kind === 'daily' ? leave : run;

/** The first failure decides that the file is run again alone: what comes after it would only take time. */
const isRunAgain = process.env.SP_TEST_TRY === 'first';
let hasFailed = false;

const inBed = (as: typeof run) => (title: string, play: (b: Bed) => Promise<void>) =>
  void as(title, async (t) => {
    if (hasFailed && isRunAgain) return t.diagnostic('not run: the file is run again alone');
    try {
      await play(await bed(t));
    } catch (error) {
      hasFailed = true;
      throw error;
    }
  });
export const it = inBed(test);
export const xit = inBed(xtest);
