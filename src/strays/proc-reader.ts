/**
 * Reads a process's arguments, environment and working folder from /proc, and tells which `--stray` pattern matches it and whether it
 * is in the project. Runs in the inspector's child only: the kernel copies arguments and environment from the process's own memory,
 * which may block if that is mapped from a file system that hangs. Tokens are masked here, and environments never leave this file.
 */
import { Script } from 'node:vm';
import { maskForeign, WHOLE_TOKEN } from '../config/token.ts';
import { realPath } from '../files.ts';
import { inodeOf, ownerOf, readLink, readText } from '../machine/procfs.ts';
import type { PatternMatch, ProcDetails, ProcEnv } from './process.ts';
import { matchesProgram, readProgram } from './program.ts';

const ARGV_COUNT_MAX = 64;
/** Longer arguments are cut, such as a class path of 10 KB before the script. */
const ARG_LENGTH_MAX = 1024;

/** Makes a reader that looks for this token. It returns null for a process that has ended. */
export function createProcReader({ token, botId }: TokenSought): (pid: number) => ProcDetails | null {
  const holds = tokenTest(token);
  return (pid) => {
    const uid = ownerOf(`/proc/${pid}`);
    if (uid < 0) return null;
    const environ = readText(`/proc/${pid}/environ`);
    const words = readText(`/proc/${pid}/cmdline`) ?? '';
    return {
      uid,
      argv: parseArgv(words),
      tokenInArgs: holds(words),
      otherBots: otherBotsIn(`${environ ?? ''}\0${words}`, botId),
      cwd: readLink(`/proc/${pid}/cwd`),
      env: environ === null ? null : parseEnviron(environ, holds),
      match: null,
    };
  };
}

export interface TokenSought {
  /** This bot's token; null: look only for environment markers and patterns. */
  readonly token: string | null;
  readonly botId: string;
}

/** Tests whether a text holds the token, not as a part of a longer one. */
function tokenTest(token: string | null): (text: string) => boolean {
  if (token === null) return () => false;
  const whole = new RegExp(`(?<!\\d)${token}(?![A-Za-z0-9_-])`);
  return (text) => text.includes(token) && whole.test(text);
}

/** The arguments in a cmdline block, limited in number and length. */
function parseArgv(text: string): string[] {
  const argv = text.split('\0', ARGV_COUNT_MAX + 1).slice(0, ARGV_COUNT_MAX);
  // A program that overwrites its arguments with a title pads the rest with NULs.
  while (argv.at(-1) === '') argv.pop();
  if (argv.length === 0 && text !== '') return [''];
  return argv.map((word) => maskForeign(word.slice(0, ARG_LENGTH_MAX)));
}

/** Ids of the bots, other than `botId`, whose token is in a text. */
export function otherBotsIn(text: string, botId: string): string[] {
  const ids = new Set<string>();
  for (const [, id] of text.matchAll(WHOLE_TOKEN)) if (id !== botId) ids.add(id!);
  return [...ids];
}

/** Our own environment markers, and the variables that service managers set for the programs that they start. */
const VARIABLE =
  /\0(SINGLEPOLL_(?:BOT|RUN|SPAWN)|POLLING_ENABLED|pm_id|PM2_HOME|name|SUPERVISOR_(?:PROCESS_NAME|GROUP_NAME|SERVER_URL))=([^\0]{0,512})/g;

/** The facts of an environment. Null: it was overwritten, as a program that sets its own title may do. */
function parseEnviron(text: string, holds: (text: string) => boolean): ProcEnv | null {
  if (text !== '' && !text.includes('=')) return null;
  const found: Record<string, string> = {};
  for (const [, name, value] of `\0${text}`.matchAll(VARIABLE)) found[name!] ??= value!;
  const { SINGLEPOLL_BOT, SINGLEPOLL_RUN, SINGLEPOLL_SPAWN, POLLING_ENABLED = '1', ...marks } = found;
  return {
    holdsToken: holds(text),
    bot: SINGLEPOLL_BOT ?? null,
    run: SINGLEPOLL_RUN ?? null,
    spawn: SINGLEPOLL_SPAWN ?? null,
    deploy: SINGLEPOLL_RUN !== undefined && POLLING_ENABLED !== '1',
    // `name` is PM2's variable only next to `pm_id`; alone it may be any program's.
    marks: marks.pm_id === undefined ? (({ name: _, ...rest }) => rest)(marks) : marks,
  };
}

const MATCH_MS = 50;

const call = new Script('match()');

/**
 * For each process the first pattern that matches. A pattern that takes too long on some text (`(a+)+$`) is given up after 50 ms.
 * V8 starts a thread for each time limit, which takes 0.3 ms: one limit therefore serves as many processes as it lasts for.
 */
export function matchPatterns(
  processes: readonly Pick<ProcDetails, 'argv' | 'cwd'>[],
  patterns: readonly RegExp[],
): (RegExp | undefined | 'gave up')[] {
  if (patterns.length === 0) return [];
  const results: (RegExp | undefined | 'gave up')[] = [];
  const scope = globalThis as { match?: () => void };
  scope.match = () => {
    for (const { argv, cwd } of processes.slice(results.length)) {
      const program = readProgram(argv);
      results.push(patterns.find((pattern) => matchesProgram(program, cwd, pattern)));
    }
  };
  while (results.length < processes.length) {
    const before = results.length;
    try {
      call.runInThisContext({ timeout: MATCH_MS });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
      // With others before it, it did not have the whole time.
      if (results.length === before) results.push('gave up');
    }
  }
  delete scope.match;
  return results;
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
    const there = inodeOf(`/proc/${pid}/root${path}`);
    return there !== null && there === inodeOf(path);
  });
}

export function isBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.replace(/\/*$/, '/'));
}
