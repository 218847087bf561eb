// Runs test files in one process: `together.ts FILE…`. Each is a suite of its own, so that hooks of one do not run in others.
// SP_TEST_CONCURRENCY: how many tests of a file run beside each other, as far as there are slots (slots.ts).
import { describe } from 'node:test';
import { pathToFileURL } from 'node:url';

const concurrency = Number(process.env.SP_TEST_CONCURRENCY ?? 1);
for (const file of process.argv.slice(2))
  describe(file, { concurrency }, async () => {
    await import(pathToFileURL(file).href);
  });
