/** Where the other bundles of the program lie: beside this one. */
import { join } from 'node:path';

/** Absolute path of a file in dist/. */
export function distFile(name: string): string {
  return join(typeof __dirname === 'string' ? __dirname : process.cwd(), name);
}
