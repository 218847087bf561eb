/** Is a program of this name in PATH? */
import { accessSync, constants, statSync } from 'node:fs';
import { join } from 'node:path';

export function isProgramInPath(name: string, env: Readonly<Record<string, string | undefined>>): boolean {
  return (env.PATH ?? '/usr/bin:/bin').split(':').some((folder) => {
    try {
      const path = join(folder || '.', name);
      accessSync(path, constants.X_OK);
      return statSync(path).isFile();
    } catch {
      return false;
    }
  });
}
