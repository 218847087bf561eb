/**
 * Finds the program of a command before it is run, the way execvp does, so that a missing one is said as such, and
 * before any stray is stopped for it.
 */
import { accessSync, constants, statSync } from 'node:fs';
import path from 'node:path';

export type Executable =
  | { readonly ok: true; readonly path: string }
  /** 127 not found, 126 found but not to be run: the codes that a shell gives. */
  | { readonly ok: false; readonly code: 126 | 127; readonly problem: string };

/** Looks `program` up in `searchPath` (or as a path from `cwd`). */
export function findExecutable(program: string, cwd: string, searchPath: string | undefined): Executable {
  const isPath = program.includes('/');
  const folders = isPath ? [''] : (searchPath ?? '/usr/local/bin:/usr/bin:/bin').split(':');
  let problem = isPath ? `${program} does not exist` : `${program} was not found in PATH`;
  if (program === '') problem = 'the command is empty';
  let code: 126 | 127 = 127;
  const deny = (why: string) => {
    problem = `${program} is ${why}`;
    code = 126;
  };
  for (const folder of program === '' ? [] : folders) {
    const candidate = path.resolve(cwd, folder, program);
    try {
      if (statSync(candidate).isDirectory()) {
        if (isPath) deny('a folder');
        continue;
      }
      accessSync(candidate, constants.X_OK);
      return { ok: true, path: candidate };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EACCES') deny('not executable');
    }
  }
  return { ok: false, code, problem };
}

/** `name` is one without a slash. */
export function isProgramInPath(name: string, env: Readonly<Record<string, string | undefined>>): boolean {
  return findExecutable(name, '.', env.PATH).ok;
}
