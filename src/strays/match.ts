/**
 * Whom a `--stray` pattern names, and whether it lies in the project. The patterns are the user's, and the texts are anybody's:
 * one that runs away (`(a+)+$`) is given up after a time limit. Runs in the inspector's child, as it looks at strangers' paths.
 */
import { realpathSync } from 'node:fs';
import { Script } from 'node:vm';
import { identityOf, readLink } from '../machine/procfs.ts';
import type { PatternMatch, ProcDetails } from './process.ts';
import { matchesProgram, readProgram } from './program.ts';

/** For all patterns together, a process. */
const MATCH_MS = 50;

const call = new Script('match()');

/** The first pattern that matches, without its place; `gave up` after 50 ms. Names the pattern by its source. */
export function matchPatterns(
  { argv, cwd }: Pick<ProcDetails, 'argv' | 'cwd'>,
  patterns: readonly RegExp[],
): Omit<PatternMatch, 'inScope'> | null | 'gave up' {
  if (patterns.length === 0) return null;
  let found: Omit<PatternMatch, 'inScope'> | null = null;
  const program = readProgram(argv);
  const scope = globalThis as { match?: () => void };
  scope.match = () => {
    const named = patterns.find((pattern) => matchesProgram(program, cwd, pattern));
    const pattern = named ?? patterns.find((one) => argv.some((word) => one.test(word)));
    if (pattern) found = { pattern: pattern.source, names: named !== undefined };
  };
  try {
    call.runInThisContext({ timeout: MATCH_MS });
    return found;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return 'gave up';
    throw error;
  } finally {
    delete scope.match;
  }
}

/** A folder of the project is told from one of the same name in a container by where it really is. */
export function isInProject(
  pid: number,
  { argv, cwd }: Pick<ProcDetails, 'argv' | 'cwd'>,
  projectDir: string,
): PatternMatch['inScope'] {
  // A deploy may have replaced the folder under a legacy process.
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

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
