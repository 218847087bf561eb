/** Other versions of Node, from the package that npm has of each; kept beside the tests' other programs. */
import { readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { npmPrograms } from './manager-bench.ts';

/** The folder with the program `node` of a version such as `22`, or `latest`. */
export function nodeBuild(version: string): string {
  const name = `node-${process.platform}-${process.arch}`;
  const programs = npmPrograms(name, version);
  // Only the program is wanted: headers and manuals are a third of it.
  const root = join(dirname(programs), name);
  for (const folder of readdirSync(root)) {
    if (['include', 'share', 'lib'].includes(folder))
      rmSync(join(root, folder), { recursive: true, force: true });
  }
  return programs;
}
