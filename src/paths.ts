/** Where the other programs of the build lie: beside this file's bundle. */
import { fileURLToPath } from 'node:url';

/** Absolute path of a file in dist/. */
export function distFile(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}
