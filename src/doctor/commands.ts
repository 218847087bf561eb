/**
 * What a command line of the project runs in the end, through npm scripts, wrappers, watchers and servers to a source file, and whether
 * that polls.
 */
import { basename } from 'node:path';
import { type Evidence, languageOf, type Studied } from './code.ts';
import { at, readDocuments, text } from './documents.ts';
import { folderOf, joinPath, pathsInProject } from './files.ts';

export interface Run {
  /** From the program on: `gunicorn app:app -w 4`. What stands in front (env, tini, poetry run …) only runs it. */
  readonly words: readonly string[];
  readonly program: string;
  /** The project's file that it leads to, null where that can't be told. */
  readonly target: string | null;
  readonly polls: Evidence | null;
  /** For rules: the words, what FLASK_DEBUG and WEB_CONCURRENCY are set to, and the watcher. */
  readonly text: string;
  /** nodemon and its like, where one starts it. */
  readonly watcher: string | null;
  /** `singlepoll start … --` stands in front, with a lease. */
  readonly isLeased: boolean;
}

const SERVER = /^(gunicorn|uvicorn|hypercorn|daphne|granian|waitress-serve|uwsgi|flask|fastapi|litestar)$/;
const PYTHON = /^python[\d.]*$/;
const SCRIPTING = /^(node|tsx|ts-node|bun|deno|nodemon|ts-node-dev|tsnd|pm2(-\w+)?)$/;
/** Starts the command again whenever a file changes. */
const WATCHER =
  /(?<=^|[\s/])(?:(nodemon|node-dev|ts-node-dev|tsnd|watchmedo|watchfiles|hupper|watchexec|entr|reflex|air|supervisor|onchange|gow)|(node|bun|tsx|deno)\b.*? (--watch|--hot|(?<=tsx )watch)(?:-path)?)(?=[\s=]|$)/;
const RUNS_LINES = /^((ba|da|a|z)?sh|concurrently|run-p|npm-run-all)$/;
/** Scripts may start each other in a circle. */
const DEPTH_MAX = 8;

const isWatcher = (word: string): boolean => !/\s/.test(word) && WATCHER.test(word);
const isProgram = (word: string): boolean =>
  !isWatcher(word) && [SERVER, PYTHON, SCRIPTING].some((it) => it.test(basename(word)));

/** `A=1 exec x -f "y z" > log && cd z` → [['exec', 'x', '-f', 'y z'], ['cd', 'z']]. Variables stay as `$NAME`. */
export function commandsOf(line: string): string[][] {
  const plain = line
    .replace(/\\\r?\n/g, ' ')
    // ${NAME:-4}: the default is what runs unless somebody says otherwise.
    .replace(/\$\{\w+:?-([\w./-]*)\}/g, '$1')
    .replace(/(?<=^|\s)#.*|\d?>{1,2}\s*&?\S+|<\s*\S+/gm, ' ');
  const commands = plain.match(/(?:"(?:\\.|[^"])*"|'[^']*'|[^;&|\n"'])+/g) ?? [];
  return commands.flatMap((command) => {
    const words = command.match(/(?:"(?:\\.|[^"])*"|'[^']*'|[^\s"'])+/g) ?? [];
    const from = words.findIndex(
      (word) => !/^[A-Za-z_]\w*=|^(exec|env|then|do|else|if|while|!|@|-)$/.test(word),
    );
    return from < 0 ? [] : [words.slice(from).map((word) => word.replace(/"([^"]*)"|'([^']*)'/g, '$1$2'))];
  });
}

export function createRuns({ texts, files, code, polls, lease }: Studied) {
  /** `before`: the words that start this line. */
  function runLine(line: string, folder: string, before: readonly string[] = [], depth = 0): Run[] {
    let here = folder;
    return commandsOf(line).flatMap((words) => {
      const set = line.match(/\b(FLASK_\w+|WEB_CONCURRENCY)=\S+/g) ?? [];
      if (words[0] !== 'cd')
        return depth > DEPTH_MAX ? [] : runWords(words, here, [...before, ...set], depth);
      here = joinPath(here, words[1] ?? '') ?? here;
      return [];
    });
  }

  function runWords(all: readonly string[], folder: string, before: readonly string[], depth: number): Run[] {
    const whole = [...before, ...all.filter((word) => !/\s/.test(word))];
    const inner = linesIn(all, folder).flatMap((line) => runLine(line, folder, whole, depth + 1));
    const found = inner.filter(({ target }) => target !== null);
    if (found.length > 0) return found;
    const program = all.findIndex(isProgram);
    const from = Math.max(0, program < 0 ? all.findIndex(isWatcher) : program);
    // `python -m gunicorn …`: the module is the program.
    const words = all.slice(all[from + 1] === '-m' && SERVER.test(all[from + 2] ?? '') ? from + 2 : from);
    const name = basename(words[0]!);
    const line = whole.join(' ');
    const [, alone, runner, flag] = WATCHER.exec(line) ?? [];
    const watcher = alone ?? (runner === undefined ? null : `${runner} ${flag}`);
    const set = before.filter((it) => /^(FLASK_\w+|WEB_CONCURRENCY)=/.test(it));
    const target = targetOf(words, name, folder);
    return [
      {
        ...{ words, program: name, target, watcher, polls: pollsOf(words, name, target) },
        text: [...words, ...set, ...(watcher ? [`WATCHED_BY=${watcher}`] : [])].join(' '),
        isLeased: /(^|[\s/])singlepoll /.test(line) && (lease || / --lease[ =]/.test(line)),
      },
    ];
  }

  /** nodemon alone starts the project itself; Django loads every app, and polling stands in some apps.py. */
  function pollsOf(words: readonly string[], program: string, target: string | null): Evidence | null {
    const isProject = /^(nodemon|air|gow|pm2.*)$/.test(program);
    const isTool = /test|jest|mocha|lint|tsc|build|check/.test(words.join(' '));
    if (target === null) return (isProject && !isTool && polls[0]) || null;
    const apps = files.filter(({ path }) => words.includes('runserver') && basename(path) === 'apps.py');
    const found = [
      code.polls(target, !SERVER.test(program)),
      ...apps.map(({ path }) => code.polls(path, false)),
    ];
    return found.find((it) => it !== null) ?? null;
  }

  /** The lines of shell that a command runs: those in quotes, of an npm script, of a shell script. */
  function linesIn(words: readonly string[], folder: string): string[] {
    const runsLines = words.some((it) => RUNS_LINES.test(basename(it)) || isWatcher(it));
    const quoted = runsLines ? words.filter((it) => /\s/.test(it)) : [];
    const npm = words.findIndex((it) => /^(npm|yarn|pnpm|bun)$/.test(it));
    const script = words.slice(npm + 1).find((it) => !/^(-.*|run(-script)?)$/.test(it)) ?? '';
    const named = npm < 0 ? null : text(at(manifestOf(folder), ['scripts', script]));
    const files = words.filter((it) => /\.(ba)?sh$|^\.\//.test(it) && languageOf(it) === null);
    const scripts = files.map((it) => pathsInProject(it, folder).find((path) => texts.has(path)));
    return [...quoted, named ?? '', ...scripts.map((it) => texts.get(it ?? '') ?? '')];
  }

  /** The package.json that counts in a folder. */
  function manifestOf(folder: string): unknown {
    const path = joinPath(folder, 'package.json')!;
    if (!texts.has(path) && folder !== '') return manifestOf(folderOf(folder));
    return readDocuments(path, texts.get(path) ?? '')[0]?.value;
  }

  /** The source file that the words lead to; `app.main:app` and `-m bot` are modules, and Flask and FastAPI know usual names. */
  function targetOf(words: readonly string[], program: string, folder: string): string | null {
    const root = / --(?:chdir|app-dir|pythonpath)[= ](\S+)/.exec(words.join(' '))?.[1];
    const here = joinPath(folder, root ?? '.') ?? folder;
    const usual = /^(flask|fastapi)$/.test(program) ? ['app', 'wsgi', 'main', 'app.main'] : [];
    const apps = SERVER.test(program) ? words.filter((it) => /^[\w.]+:/.test(it)) : [];
    const found = [...apps, ...words, ...usual].flatMap((word, index, all) => {
      const isModule = all[index - 1] === '-m' && PYTHON.test(program);
      const main = word === '.' && index > 0 ? (text(at(manifestOf(folder), ['main'])) ?? 'index.js') : word;
      const name = main.replace(/^--app=/, '').replace(/:.*/, '');
      // Node does not ask for an ending.
      const isScript = SCRIPTING.test(program) && index > 0 && languageOf(name) !== 'python';
      const language = isModule || SERVER.test(program) ? 'python' : isScript ? 'js' : languageOf(name);
      if (/^-|^\d*$|^gunicorn/.test(name) || language === null) return [];
      const package_ = isModule ? code.source(`${name}.__main__`, here, language) : null;
      return package_ ?? code.source(name, here, language) ?? [];
    });
    return found[0] ?? null;
  }

  return (line: string, folder: string): Run[] => runLine(line, folder);
}
