/** What a command line of the project runs in the end: through npm scripts, wrappers, watchers and servers to a source file. */
import { basename } from 'node:path';
import { type Code, languageOf, type Way } from './code.ts';
import { folderOf, joinPath, pathsInProject } from './files.ts';

export interface Run {
  /** From the program on: `gunicorn app:app -w 4`. What stands in front (env, tini, poetry run …) only runs it. */
  readonly words: readonly string[];
  readonly program: string;
  /** The project's file that it leads to, null where that can't be told. */
  readonly target: string | null;
  readonly way: Way;
  /** nodemon and its like, where one starts it. */
  readonly watcher: string | null;
  /** `singlepoll start … --` stands in front. */
  readonly isSupervised: boolean;
  readonly hasLease: boolean;
}

type Around = Pick<Run, 'watcher' | 'isSupervised' | 'hasLease'>;

const SERVER = /^(gunicorn|uvicorn|hypercorn|daphne|granian|waitress-serve|uwsgi|flask|fastapi|litestar)$/;
const PYTHON = /^python[\d.]*$/;
const SCRIPTING = /^(node|tsx|ts-node|bun|deno|nodemon|ts-node-dev|tsnd|pm2(-\w+)?)$/;
/** Starts the command again whenever a file changes. */
const WATCHER =
  /^(nodemon|node-dev|ts-node-dev|tsnd|watchmedo|watchfiles|hupper|watchexec|entr|reflex|air|supervisor|onchange|gow)$/;
const RUNS_LINES = /^((ba|da|a|z)?sh|concurrently|run-p|npm-run-all)$/;
/** Scripts may start each other in a circle. */
const DEPTH_MAX = 8;

const isWatcher = (word: string): boolean => WATCHER.test(basename(word));
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

export function createRuns(texts: ReadonlyMap<string, string>, code: Code) {
  function runLine(line: string, folder: string, around: Around, depth: number): Run[] {
    let here = folder;
    return commandsOf(line).flatMap((words) => {
      if (words[0] !== 'cd') return depth > DEPTH_MAX ? [] : runWords(words, here, around, depth);
      here = joinPath(here, words[1] ?? '') ?? here;
      return [];
    });
  }

  function runWords(all: readonly string[], folder: string, before: Around, depth: number): Run[] {
    const program = all.findIndex(isProgram);
    const from = Math.max(0, program < 0 ? all.findIndex(isWatcher) : program);
    // `python -m gunicorn …`: the module is the program.
    const words = all.slice(all[from + 1] === '-m' && SERVER.test(all[from + 2] ?? '') ? from + 2 : from);
    const name = basename(words[0]!);
    const flag = words.find((word, index) =>
      name === 'tsx' && index === 1 ? /^(--)?watch$/.test(word) : /^--(watch|hot)(-path)?(=|$)/.test(word),
    );
    const own = all.find(isWatcher) ?? (/^(node|bun|tsx|deno)$/.test(name) ? flag : undefined);
    const isSupervised = all.some((word) => basename(word) === 'singlepoll');
    const around = {
      watcher:
        own === undefined ? before.watcher : own === flag ? `${name} ${own.split('=')[0]}` : basename(own),
      isSupervised: before.isSupervised || isSupervised,
      hasLease: before.hasLease || (isSupervised && all.some((word) => /^--lease(=|$)/.test(word))),
    };
    const inner = linesIn(all, folder).flatMap((line) => runLine(line, folder, around, depth + 1));
    const found = inner.filter(({ target }) => target !== null);
    if (found.length > 0) return found;
    return SERVER.test(name)
      ? [{ words, program: name, target: appFile(words, name, folder), way: 'import', ...around }]
      : [{ words, program: name, target: firstFile(words, folder), way: 'run', ...around }];
  }

  /** The lines of shell that a command runs: those in quotes, of an npm script, of a shell script. */
  function linesIn(words: readonly string[], folder: string): string[] {
    const runsLines = words.some((it) => RUNS_LINES.test(basename(it)) || isWatcher(it));
    const quoted = runsLines ? words.filter((it) => /\s/.test(it)) : [];
    const npm = words.findIndex((it) => /^(npm|yarn|pnpm|bun)$/.test(it));
    const script = words.slice(npm + 1).find((it) => !/^(-.*|run(-script)?)$/.test(it)) ?? '';
    const named = npm < 0 ? undefined : scriptsOf(folder)[script];
    const files = words.filter((it) => /\.(ba)?sh$|^\.\//.test(it) && languageOf(it) === null);
    const scripts = files.map((it) => pathsInProject(it, folder).find((path) => texts.has(path)));
    return [...quoted, named ?? '', ...scripts.map((it) => texts.get(it ?? '') ?? '')];
  }

  /** The scripts of the package.json that counts in a folder; `.` is its main file. */
  function scriptsOf(folder: string): Record<string, string> {
    const manifest = texts.get(joinPath(folder, 'package.json')!);
    if (manifest === undefined) return folder === '' ? {} : scriptsOf(folderOf(folder));
    try {
      const { main = 'index.js', scripts = {} } = JSON.parse(manifest);
      return { '.': String(main), ...scripts };
    } catch {
      return {};
    }
  }

  /** The first word that is a source file of the project. */
  function firstFile(words: readonly string[], folder: string): string | null {
    const program = basename(words[0] ?? '');
    const module = PYTHON.test(program) && words.includes('-m') ? words[words.indexOf('-m') + 1] : undefined;
    if (module !== undefined) return code.module(`${module}.__main__`, folder) ?? code.module(module, folder);
    const paths = words.flatMap((word, index) => {
      const path = word === '.' && index > 0 ? (scriptsOf(folder)['.'] ?? word) : word;
      // Node does not ask for an ending.
      const language = languageOf(path) ?? (SCRIPTING.test(program) && index > 0 ? 'js' : null);
      return word.startsWith('-') || language === null ? [] : (code.source(path, folder, language) ?? []);
    });
    return paths[0] ?? null;
  }

  /** The file of the app that a server is given. */
  function appFile(words: readonly string[], name: string, folder: string): string | null {
    const option = (names: string) => RegExp(` (?:${names})[= ](\\S+)`).exec(words.join(' '))?.[1];
    const app = option('--app|-A')?.replaceAll('/', '.');
    const here = joinPath(folder, option('--chdir|--app-dir|--pythonpath') ?? '.') ?? folder;
    const given = app === undefined ? words.slice(1) : [app];
    const named = given.filter((word) => /^[A-Za-z_][\w.]*(:[\w.()]+)?$/.test(word));
    const usual = { flask: ['app', 'wsgi', 'main'], fastapi: ['main', 'app.main'] }[name] ?? [];
    const sorted = [...named.filter((it) => it.includes(':')), ...named, ...(app === undefined ? usual : [])];
    const found = sorted.map((it) => code.module(it.replace(/:.*|\.py$/, ''), here));
    return found.find((it) => it !== null) ?? null;
  }

  return (line: string, folder: string): Run[] =>
    runLine(line, folder, { watcher: null, isSupervised: false, hasLease: false }, 0);
}
