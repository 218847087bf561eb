// Cases of test/e2e that `npm test` leaves to `npm run test:thorough`: `xtest`, an extra test, stands in one file with those that share
// what it needs. Each of the two runs its own; a file that is run by itself runs all. `it` and `xit` are the same with a bed of their own.
import { test as run } from 'node:test';
import { type Bed, bed } from './bed.ts';

const kind = process.env.SP_TEST_KIND;
const leave: typeof run = Object.assign((() => Promise.resolve()) as never, run);

export const test = kind === 'thorough' ? leave : run;
export const xtest = kind === 'daily' ? leave : run;

const inBed = (as: typeof run) => (title: string, play: (b: Bed) => Promise<void>) =>
  void as(title, async (t) => play(await bed(t)));
export const it = inBed(test);
export const xit = inBed(xtest);
