/**
 * Which processes a `--stray` pattern matches, and whether they are in the project. A pattern that takes too long on some text
 * (`(a+)+$`) is given up after a time limit. Runs in the inspector's child, as it looks at other processes' paths.
 */
import { Script } from 'node:vm';
import { realPath } from '../files.ts';
import { identityOf, readLink } from '../machine/procfs.ts';
import type { PatternMatch, ProcDetails } from './process.ts';
import { matchesProgram, readProgram } from './program.ts';

/** Time limit for all patterns on one process. */
const MATCH_MS = 50;

const call = new Script('match()');

/** The first pattern that matches; `gave up` after 50 ms. */
export function matchPatterns(
  { argv, cwd }: Pick<ProcDetails, 'argv' | 'cwd'>,
  patterns: readonly RegExp[],
): RegExp | undefined | 'gave up' {
  if (patterns.length === 0) return undefined;
  const program = readProgram(argv);
  const scope = globalThis as { match?: () => RegExp | undefined };
  scope.match = () => patterns.find((pattern) => matchesProgram(program, cwd, pattern));
  try {
    return call.runInThisContext({ timeout: MATCH_MS });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return 'gave up';
    throw error;
  } finally {
    delete scope.match;
  }
}

/** Compares real folders, as a container may have a folder of the same name. */
export function isInProject(
  pid: number,
  { argv, cwd }: Pick<ProcDetails, 'argv' | 'cwd'>,
  projectDir: string,
): PatternMatch['inScope'] {
  // A deploy may have replaced the folder of an old process.
  const folder = cwd?.replace(/ \(deleted\)$/, '') ?? null;
  const places: string[] = folder === null ? [] : [folder];
  const program = readProgram(argv);
  for (const script of program.family === null ? [program.path] : program.scripts) {
    if (script.startsWith('/')) places.push(script);
    else if (folder !== null && !program.module) places.push(`${folder}/${script}`);
  }
  if (places.length === 0) return null;
  const here = readLink(`/proc/${pid}/ns/mnt`) === readLink('/proc/self/ns/mnt');
  return places.some((path) => {
    if (here) return isBelow(path, projectDir) || isBelow(realPath(path), projectDir);
    if (!isBelow(path, projectDir)) return false;
    if (cwd !== folder) return true;
    const there = identityOf(`/proc/${pid}/root${path}`);
    return there !== null && there === identityOf(path);
  });
}

export function isBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.replace(/\/*$/, '/'));
}
