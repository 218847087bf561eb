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
  if (program === '') return { ok: false, code: 127, problem: 'the command is empty' };
  const candidates = program.includes('/')
    ? [path.resolve(cwd, program)]
    : (searchPath ?? '/usr/local/bin:/usr/bin:/bin').split(':').map((dir) => path.resolve(cwd, dir, program));
  let denied: string | null = null;
  for (const candidate of candidates) {
    try {
      const stat = statSync(candidate);
      if (stat.isDirectory()) {
        if (program.includes('/')) denied = `${program} is a folder`;
        continue;
      }
      accessSync(candidate, constants.X_OK);
      return { ok: true, path: candidate };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EACCES') denied = `${program} is not executable`;
    }
  }
  if (denied) return { ok: false, code: 126, problem: denied };
  return {
    ok: false,
    code: 127,
    problem: program.includes('/') ? `${program} does not exist` : `${program} was not found in PATH`,
  };
}

/** `name` is one without a slash. */
export function isProgramInPath(name: string, env: Readonly<Record<string, string | undefined>>): boolean {
  return findExecutable(name, '.', env.PATH).ok;
}
