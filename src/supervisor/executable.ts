/**
 * Finds the program of a command before it is run, the way execvp does, so that a missing one is said as such, and
 * before any stray is stopped for it.
 */
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import path from 'node:path';
import { readTextFile } from '../config/files.ts';
import { shellQuote } from '../shell.ts';

type Executable =
  | { readonly ok: true; readonly path: string }
  /** 127 not found, 126 found but not to be run: the codes that a shell gives. */
  | { readonly ok: false; readonly code: 126 | 127; readonly problem: string };

/** `"python3 bot.py"` in quotes. */
const ONE_WORD = /\S\s+\S/;

/** Looks `program` up in `searchPath` (or as a path from `cwd`). */
export function findExecutable(program: string, cwd: string, searchPath: string | undefined): Executable {
  const isPath = program.includes('/');
  const folders = isPath ? [''] : (searchPath ?? '/usr/local/bin:/usr/bin:/bin').split(':');
  let problem = isPath ? `${program} does not exist` : `${program} was not found in PATH`;
  if (ONE_WORD.test(program)) problem = `"${program}" is one word with a space: drop the quotes`;
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

const INTERPRETERS: Readonly<Record<string, string>> = {
  ...{ '.py': 'python3', '.js': 'node', '.mjs': 'node', '.cjs': 'node', '.sh': 'sh', '.rb': 'ruby' },
  ...{ '.php': 'php', '.ts': 'npx tsx' },
};

/** What was probably meant by a command whose program can't be run: commands to type. Empty: nothing comes to mind. */
export function meantBy([program = '', ...args]: readonly string[], cwd: string): string[] {
  const start = (words: string) => ['singlepoll start --', words, ...args.map(shellQuote)].join(' ');
  if (ONE_WORD.test(program)) return [start(program.trim())];
  const file = path.resolve(cwd, program);
  if (!existsSync(file)) return [];
  const interpreter = INTERPRETERS[path.extname(program)];
  const read = program.includes('/') ? readTextFile(file) : null;
  const isScript = read?.kind === 'text' && read.text.startsWith('#!');
  const quoted = shellQuote(program);
  return [
    ...(isScript || (read && !interpreter) ? [`chmod +x ${quoted}`] : []),
    ...(interpreter ? [start(`${interpreter} ${quoted}`)] : read ? [] : [start(`./${quoted}`)]),
  ];
}

export function isProgramInPath(name: string): boolean {
  return findExecutable(name, '.', process.env.PATH).ok;
}
