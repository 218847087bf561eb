// Cases of test/e2e that `npm test` leaves to `npm run test:thorough`: `xtest`, an extra test, stands in one file with those that share
// what it needs. Each of the two runs its own; a file that is run by itself runs all.
import { test as run } from 'node:test';

const kind = process.env.SP_TEST_KIND;
const leave: typeof run = Object.assign((() => Promise.resolve()) as never, run);

export const test = kind === 'thorough' ? leave : run;
export const xtest = kind === 'daily' ? leave : run;
