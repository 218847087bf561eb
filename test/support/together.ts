// Runs test files in one process: `together.ts FILE…`. Each is a suite of its own, so that hooks of one do not run in others.
import { describe } from 'node:test';
import { pathToFileURL } from 'node:url';

for (const file of process.argv.slice(2))
  describe(file, async () => {
    await import(pathToFileURL(file).href);
  });
