/** What a command line of the project runs in the end: through npm scripts, wrappers, watchers and servers to a source file. */
import { basename } from 'node:path';
import { joinPath, type Project } from './files.ts';
import { languageOf } from './kinds.ts';
import { builtFrom, pythonFile, type Reach, scriptFile, type Way } from './reach.ts';
import { commandsOf, withoutPrefix } from './shell-line.ts';
import { table } from './structured.ts';

export interface Run {
  /** From the program on: `gunicorn app:app -w 4`. */
  readonly words: readonly string[];
  readonly program: string;
  /** The project's file that it leads to, null where that can't be told. */
  readonly target: string | null;
  readonly way: Way;
  /** nodemon and its like, where one starts it. */
  readonly watcher: string | null;
  /** `singlepoll start … --` stands in front. */
  readonly supervised: boolean;
  readonly lease: boolean;
}

interface Around {
  readonly watcher: string | null;
  readonly supervised: boolean;
  readonly lease: boolean;
}

const SERVERS =
  /^(gunicorn|uvicorn|hypercorn|daphne|granian|waitress-serve|uwsgi|flask|fastapi|litestar|robyn)$/;
const RUNNERS = /^(poetry|uv|pipenv|pdm|rye|hatch|doppler|infisical|op|chamber|dotenvx|bundle)$/;
const PACKAGE_MANAGERS = /^(npm|yarn|pnpm|bun|npx|bunx|pnpx)$/;
/** Programs that start the command again whenever a file changes. */
const WATCHERS =
  /^(nodemon|node-dev|ts-node-dev|tsnd|watchmedo|watchfiles|jurigged|hupper|watchexec|entr|reflex|air|arelo|supervisor|onchange|chokidar|gow|CompileDaemon|py-mon|pymon)$/;

export type Runs = (line: string, folder: string) => Run[];

export function createRuns(project: Project, reach: Reach): Runs {
  const texts = new Map(project.files.flatMap(({ path, text }) => (text === null ? [] : [[path, text]])));
  const scriptsOf = (folder: string): Record<string, unknown> => {
    for (let here = folder; ; here = here.slice(0, Math.max(0, here.lastIndexOf('/')))) {
      const found = texts.get(here === '' ? 'package.json' : `${here}/package.json`);
      if (found !== undefined) {
        try {
          return JSON.parse(found) as Record<string, unknown>;
        } catch {
          return {};
        }
      }
      if (here === '') return {};
    }
  };

  function runLine(line: string, folder: string, around: Around, depth: number): Run[] {
    let here = folder;
    return commandsOf(line).flatMap((words) => {
      if (words[0] === 'cd' && words[1] !== undefined) {
        here = joinPath(here, words[1]) ?? here;
        return [];
      }
      return runWords(words, here, around, depth);
    });
  }

  function runWords(given: readonly string[], folder: string, around: Around, depth: number): Run[] {
    const words = withoutPrefix(given);
    if (words.length === 0 || depth > 6) return [];
    const name = basename(words[0]!);
    const again = (rest: readonly string[], more: Partial<Around> = {}) =>
      runWords(rest, folder, { ...around, ...more }, depth + 1);
    const lineAgain = (line: string, more: Partial<Around> = {}) =>
      runLine(line, folder, { ...around, ...more }, depth + 1);
    const afterDashes = words.indexOf('--') > 0 ? words.slice(words.indexOf('--') + 1) : null;

    if (name === 'singlepoll') {
      const head = afterDashes ? words.slice(0, words.indexOf('--')) : words;
      const lease = around.lease || head.some((word) => /^--lease(=|$)/.test(word));
      const rest = afterDashes ?? [];
      const inner = again(rest, { supervised: true, lease });
      return inner.length > 0
        ? inner
        : [
            {
              words,
              program: name,
              target: null,
              way: 'run',
              watcher: around.watcher,
              supervised: true,
              lease,
            },
          ];
    }
    if (/^(ba|da|a|z|k)?sh$/.test(name)) {
      const flag = words.findIndex((word) => /^-[a-z]*c$/.test(word));
      if (flag > 0 && words[flag + 1] !== undefined) return lineAgain(words[flag + 1]!);
      const script = words.slice(1).find((word) => !word.startsWith('-'));
      return script === undefined ? [] : throughScript(script, folder, around, depth);
    }
    if (RUNNERS.test(name)) {
      const from = name === 'bundle' ? words.indexOf('exec') : words.indexOf('run');
      if (from > 0) return again(afterDashes ?? skipOptions(words.slice(from + 1)));
    }
    if (PACKAGE_MANAGERS.test(name)) {
      const inner = throughPackageManager(words, name, folder, around, depth);
      if (inner) return inner;
    }
    if (
      /^(wait-for-it(\.sh)?|dockerize|wait-for|flock|dotenv|dotenvx|env-cmd|railway|heroku|infisical)$/.test(
        name,
      ) &&
      afterDashes
    ) {
      return again(afterDashes);
    }
    if (name === 'flock') return again(words.slice(2).filter((word) => !/^-\w+$/.test(word)));
    if (/^(concurrently|run-p|npm-run-all)$/.test(name)) {
      return words
        .slice(1)
        .filter((word) => /\s/.test(word))
        .flatMap((line) => lineAgain(line));
    }
    const watched = watcherOf(words, name);
    if (watched) {
      if (watched.rest === null) return lineAgain(watched.line ?? '', { watcher: watched.name });
      const inner = again(watched.rest, { watcher: watched.name });
      if (inner.length > 0 && inner.some(({ target }) => target !== null)) return inner;
      const target = firstFile(watched.rest, folder, 0);
      return [{ words, program: name, target, way: 'run', ...around, watcher: watched.name }];
    }
    // `python -m gunicorn …`: the module is the program.
    if (/^python[\d.]*$/.test(name)) {
      const at = words.indexOf('-m');
      if (at > 0 && SERVERS.test(words[at + 1] ?? '')) return again(words.slice(at + 1));
    }
    if (SERVERS.test(name)) {
      return [{ words, program: name, target: appFile(words, name, folder), way: 'import', ...around }];
    }
    if (/\.(sh|bash)$/.test(name) || (words[0]!.startsWith('./') && languageOf(name) === null)) {
      const inner = throughScript(words[0]!, folder, around, depth);
      if (inner.length > 0) return inner;
    }
    const target = firstFile(words, folder, languageOf(name) === null ? 1 : 0);
    return [{ words, program: name, target, way: 'run', ...around }];
  }

  function throughScript(path: string, folder: string, around: Around, depth: number): Run[] {
    const file = inProject(path, folder, (candidate) => texts.has(candidate));
    if (file === null || languageOf(file) !== null) return [];
    const rows = (texts.get(file) ?? '').replace(/\\\r?\n/g, ' ').split('\n');
    return rows
      .filter((row) => !/^\s*(#|$)/.test(row))
      .slice(0, 200)
      .flatMap((row) => runLine(row, folder, around, depth + 1))
      .filter(({ target }) => target !== null);
  }

  function throughPackageManager(
    words: readonly string[],
    name: string,
    folder: string,
    around: Around,
    depth: number,
  ): Run[] | null {
    const rest = skipOptions(words.slice(1));
    if (/^(npx|bunx|pnpx)$/.test(name)) return runWords(rest, folder, around, depth + 1);
    const [first, ...more] = rest;
    if (first === undefined) return null;
    if (/^(exec|dlx|x)$/.test(first))
      return runWords(more[0] === '--' ? more.slice(1) : more, folder, around, depth + 1);
    const script = first === 'run' || first === 'run-script' ? skipOptions(more)[0] : first;
    const manifest = scriptsOf(folder);
    const line = script === undefined ? undefined : table(manifest.scripts)[script];
    if (typeof line === 'string') return runLine(line, folder, around, depth + 1);
    if (script === 'start' && name === 'npm' && reach.has(joinPath(folder, 'server.js') ?? '')) {
      return runWords(['node', 'server.js'], folder, around, depth + 1);
    }
    return name === 'bun' ? null : [];
  }

  function firstFile(words: readonly string[], folder: string, from: number): string | null {
    for (let index = from; index < words.length; index++) {
      const word = words[index]!;
      if (word === '-m' && words[index + 1] !== undefined) {
        return (
          pythonFile(`${words[index + 1]}.__main__`, `${folder}/x`, reach) ??
          pythonFile(words[index + 1]!, `${folder}/x`, reach)
        );
      }
      if (word === '.' && index === 1 && /^(node|bun)$/.test(basename(words[0]!))) {
        const { main } = scriptsOf(folder);
        const path = joinPath(folder, typeof main === 'string' ? main : 'index.js');
        return path === null ? null : (scriptFile(path, reach) ?? builtFrom(path, reach));
      }
      if (word.startsWith('-')) continue;
      const file = inProject(
        word,
        folder,
        (candidate) => languageOf(candidate) !== null && reach.has(candidate),
      );
      if (file !== null) return file;
      const path = joinPath(folder, word.replace(/^\/(usr\/src\/app|app|code|src|srv\/\w+|opt\/\w+)\//, ''));
      const script =
        path === null ||
        !/^(node|tsx|ts-node|bun|deno|nodemon|ts-node-dev|tsnd|pm2\S*)$/.test(basename(words[0] ?? ''))
          ? null
          : (scriptFile(path, reach) ?? builtFrom(path, reach));
      if (script !== null) return script;
    }
    return null;
  }

  function appFile(words: readonly string[], name: string, folder: string): string | null {
    const chdir = optionValue(words, ['--chdir', '--app-dir', '--pythonpath']);
    const base = chdir === null ? folder : (joinPath(folder, chdir) ?? folder);
    if (name === 'flask') {
      const app = optionValue(words, ['--app', '-A'])?.split(':')[0]?.replace(/\.py$/, '');
      for (const candidate of app === undefined ? ['app', 'wsgi', 'main'] : [app]) {
        const file = pythonFile(candidate.replaceAll('/', '.'), `${base}/x`, reach);
        if (file !== null) return file;
      }
      return null;
    }
    if (name === 'fastapi') {
      return (
        firstFile(words, base, 2) ??
        pythonFile('main', `${base}/x`, reach) ??
        pythonFile('app.main', `${base}/x`, reach)
      );
    }
    for (const word of words.slice(1)) {
      const module = /^([\w.]+):[\w.()]+$/.exec(word)?.[1];
      const file = module === undefined ? null : pythonFile(module, `${base}/x`, reach);
      if (file !== null) return file;
    }
    for (const word of words.slice(1)) {
      const file = /^[A-Za-z_][\w.]*$/.test(word) ? pythonFile(word, `${base}/x`, reach) : null;
      if (file !== null) return file;
    }
    return null;
  }

  return (line, folder) => runLine(line, folder, { watcher: null, supervised: false, lease: false }, 0);
}

/** A path of a container or machine as a file of the project: `/app/bot.py` is `bot.py`. */
function inProject(path: string, folder: string, has: (path: string) => boolean): string | null {
  if (!path.startsWith('/')) {
    const joined = joinPath(folder, path);
    return joined !== null && has(joined) ? joined : null;
  }
  const parts = path.split('/').filter(Boolean);
  for (let from = 0; from < parts.length; from++) {
    const rest = parts.slice(from).join('/');
    for (const candidate of folder === '' ? [rest] : [`${folder}/${rest}`, rest])
      if (has(candidate)) return candidate;
  }
  return null;
}

const VALUED = new Set([
  '-r',
  '--require',
  '--import',
  '--loader',
  '--env-file',
  '--prefix',
  '-C',
  '--filter',
  '--with',
  '--extra',
  '--group',
  '-p',
  '--package',
  '--project',
  '--dir',
  '-w',
  '--workspace',
]);

function skipOptions(words: readonly string[]): readonly string[] {
  let at = 0;
  while (at < words.length && words[at]!.startsWith('-')) at += VALUED.has(words[at]!) ? 2 : 1;
  return words.slice(at);
}

/** The value of the first option of these names: `-w 4`, `-w4`, `--workers=4`. */
export function optionValue(words: readonly string[], names: readonly string[]): string | null {
  let found: string | null = null;
  for (const [index, word] of words.entries()) {
    for (const name of names) {
      if (word === name) found = words[index + 1] ?? found;
      else if (
        name.startsWith('--')
          ? word.startsWith(`${name}=`)
          : word.startsWith(name) && !word.startsWith('--') && word.length > name.length
      ) {
        found = word.slice(name.length).replace(/^=/, '');
      }
    }
  }
  return found;
}

function watcherOf(
  words: readonly string[],
  name: string,
): { name: string; rest: readonly string[] | null; line?: string } | null {
  const rest = words.slice(1);
  if (/^(node|bun)$/.test(name)) {
    const flag = rest.find((word) => /^--(watch|hot)(-path)?(=|$)/.test(word));
    return flag
      ? { name: `${name} ${flag.split('=')[0]}`, rest: [name, ...rest.filter((word) => word !== flag)] }
      : null;
  }
  if (name === 'tsx' && (rest[0] === 'watch' || rest.includes('--watch'))) {
    return {
      name: 'tsx watch',
      rest: ['tsx', ...rest.filter((word) => word !== 'watch' && word !== '--watch')],
    };
  }
  if (name === 'deno' && rest.some((word) => /^--watch/.test(word))) {
    return { name: 'deno --watch', rest: ['deno', ...rest.filter((word) => !/^--watch/.test(word))] };
  }
  if (name === 'cargo' && rest[0] === 'watch') return { name: 'cargo watch', rest: [] };
  if (!WATCHERS.test(name)) return null;
  const exec = optionValue(words, ['--exec', '-x']);
  if (exec !== null && /\s/.test(exec)) return { name, rest: null, line: exec };
  const dashes = words.indexOf('--');
  if (dashes > 0) return { name, rest: words.slice(dashes + 1) };
  const line = rest.find((word) => /\s/.test(word));
  if (line !== undefined) return { name, rest: null, line };
  if (exec !== null)
    return {
      name,
      rest: [exec, ...rest.filter((word) => word !== '--exec' && word !== '-x' && word !== exec)],
    };
  // `watchmedo auto-restart -d . -p '*.py' python bot.py`: from the interpreter on.
  const from = rest.findIndex((word) => /^(python[\d.]*|node|tsx|ts-node|go|bun)$/.test(word));
  if (from >= 0) return { name, rest: rest.slice(from) };
  return { name, rest: ['node', ...rest.filter((word) => !/^--/.test(word))] };
}
