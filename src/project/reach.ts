/**
 * What runs when a file is run or imported: the local files that it imports, and which of their functions are called. Tells
 * `gunicorn app:app` whose app polls in a thread from one whose polling stands in another file, or under
 * `if __name__ == "__main__"`.
 */
import { type PythonShape, pythonShape, withoutComments } from './code.ts';
import { baseOf, folderOf, joinPath, type Project } from './files.ts';
import { languageOf } from './kinds.ts';
import { type Evidence, pollsIn } from './polling.ts';

/** `run`: as a program; `import`: by a server that takes an app from it. */
export type Way = 'run' | 'import';

export interface Reach {
  /** The first place that polls when this file runs, or null. */
  polls(path: string, way: Way): Evidence | null;
  /** The file itself and the project's files that it imports, all the way down. */
  files(path: string): readonly string[];
  has(path: string): boolean;
}

const MOST_FILES = 400;

interface Module {
  readonly path: string;
  readonly code: string;
  readonly rows: readonly string[];
  readonly imports: readonly string[];
  readonly polls: readonly Evidence[];
  readonly shape: PythonShape | null;
}

export function createReach(project: Project): Reach {
  const texts = new Map(project.files.flatMap(({ path, text }) => (text === null ? [] : [[path, text]])));
  const modules = new Map<string, Module>();
  const module = (path: string): Module => {
    let known = modules.get(path);
    if (!known) {
      const text = texts.get(path) ?? '';
      const code = withoutComments(path, text);
      const python = languageOf(path) === 'python';
      known = {
        path,
        code,
        rows: code.split('\n'),
        imports: python ? pythonImports(path, code, texts) : scriptImports(path, code, texts),
        polls: pollsIn(path, text),
        shape: python ? pythonShape(code) : null,
      };
      modules.set(path, known);
    }
    return known;
  };
  const files = (path: string): string[] => {
    const seen = new Set([path]);
    for (const next of seen) {
      if (seen.size >= MOST_FILES) break;
      for (const target of module(next).imports) seen.add(target);
    }
    return [...seen];
  };
  return {
    has: (path) => texts.has(path),
    files,
    polls(path, way) {
      const reached = files(path).map(module);
      if (!reached.some(({ polls }) => polls.length > 0)) return null;
      const isLive = liveLines(reached, path, way);
      for (const { polls } of reached) {
        const live = polls.find(isLive);
        if (live) return live;
      }
      return null;
    },
  };
}

/** Decorators and bases whose functions a framework calls by itself when the app starts. */
const CALLED_AT_START =
  /on_event|on_startup|startup|lifespan|asynccontextmanager|before_first_request|before_serving|AppConfig|cli\.command|@click|@app\.command|typer|fixture/;
/** Names that servers look for: gunicorn's hooks, Django's, pytest's. */
const HOOK_NAMES = /^(post_fork|post_worker_init|when_ready|on_starting|ready|lifespan|main_loop)$/;

/** Python: a definition is live when live code names it. Other languages: everything is. */
function liveLines(reached: readonly Module[], entry: string, way: Way): (evidence: Evidence) => boolean {
  const live = new Set<string>();
  const pending: string[] = [];
  const touch = (text: string) => {
    for (const [word] of text.matchAll(/[A-Za-z_]\w*/g)) {
      if (!live.has(word)) {
        live.add(word);
        pending.push(word);
      }
    }
  };
  const definitions = new Map<string, string[]>();
  for (const { path, rows, shape } of reached) {
    if (!shape) continue;
    for (const line of shape.topLines) {
      const row = rows[line - 1]!;
      if (!/^\s*(?:from|import)\b/.test(row)) touch(row);
    }
    for (const [index, row] of rows.entries()) {
      if (shape.isMain(index + 1) && path === entry && way === 'run') touch(row);
    }
    for (const { name, first, last, header } of shape.definitions) {
      const body = `${header}\n${rows.slice(first, last).join('\n')}`;
      definitions.set(name, [...(definitions.get(name) ?? []), body]);
      if (CALLED_AT_START.test(header) || HOOK_NAMES.test(name)) touch(name);
    }
  }
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    for (const body of definitions.get(name) ?? []) touch(body);
  }
  const byPath = new Map(reached.map((module) => [module.path, module]));
  return ({ file, line }) => {
    const shape = byPath.get(file)?.shape;
    if (!shape) return true;
    const definition = shape.definitions.find(({ first, last }) => line >= first && line <= last);
    if (definition) return live.has(definition.name);
    return !shape.isMain(line) || (file === entry && way === 'run');
  };
}

type Texts = ReadonlyMap<string, string>;

function pythonImports(path: string, code: string, texts: Texts): string[] {
  const found = new Set<string>();
  const add = (target: string | null) => {
    if (target !== null && target !== path) found.add(target);
  };
  const joined = code.replace(/\(([^)]*)\)/g, (whole) => whole.replaceAll('\n', ' '));
  for (const match of joined.matchAll(
    /^[ \t]*(?:from[ \t]+(\.*)([\w.]*)[ \t]+import[ \t]+\(?([^\n)]*)|import[ \t]+([\w., \t]+))/gm,
  )) {
    if (match[4] !== undefined) {
      for (const part of match[4].split(',')) add(pythonFile(part.trim().split(/\s/)[0]!, path, texts));
      continue;
    }
    const dots = match[1]!.length;
    const base = match[2]!;
    const names = match[3]!.split(',').map((name) => name.trim().split(/\s/)[0]!);
    if (dots === 0) {
      add(pythonFile(base, path, texts));
      for (const name of names) add(pythonFile(`${base}.${name}`, path, texts));
      continue;
    }
    const folder = joinPath(folderOf(path), '../'.repeat(dots - 1) || '.');
    if (folder === null) continue;
    const inside = joinPath(folder, base.replaceAll('.', '/') || '.') ?? folder;
    add(asModule(inside, texts));
    for (const name of names) add(asModule(joinPath(inside, name) ?? '', texts));
  }
  return [...found];
}

function asModule(path: string, texts: Texts): string | null {
  for (const candidate of [`${path}.py`, `${path}/__init__.py`]) if (texts.has(candidate)) return candidate;
  return null;
}

/** A dotted name as seen from a file: beside it, or in any folder above it. */
export function pythonFile(name: string, from: string, texts: { has(path: string): boolean }): string | null {
  const path = name.replaceAll('.', '/');
  if (path === '') return null;
  for (let folder = folderOf(from); ; folder = folderOf(folder)) {
    for (const inside of ['', 'src/']) {
      const base = folder === '' ? `${inside}${path}` : `${folder}/${inside}${path}`;
      for (const candidate of [`${base}.py`, `${base}/__init__.py`, `${base}/__main__.py`]) {
        if (texts.has(candidate)) return candidate;
      }
    }
    if (folder === '') return null;
  }
}

function scriptImports(path: string, code: string, texts: Texts): string[] {
  const found = new Set<string>();
  for (const match of code.matchAll(
    /(?:\bfrom|\bimport|\brequire\s*\(|\bimport\s*\()\s*['"`](\.{1,2}\/[^'"`]*|\.{1,2})['"`]/g,
  )) {
    const target = joinPath(folderOf(path), match[1]!);
    const file = target === null ? null : scriptFile(target, texts);
    if (file !== null) found.add(file);
  }
  return [...found];
}

const ENDINGS = [
  '',
  '.ts',
  '.js',
  '.mjs',
  '.cjs',
  '.tsx',
  '.mts',
  '.cts',
  '.jsx',
  '/index.ts',
  '/index.js',
  '/index.mjs',
];

/** A path without its ending, or with that of the compiled file. */
export function scriptFile(path: string, texts: { has(path: string): boolean }): string | null {
  const bases = [path, path.replace(/\.(c|m)?js$/, '')];
  for (const base of bases) {
    for (const ending of ENDINGS) {
      const candidate = `${base}${ending}`;
      if (languageOf(candidate) !== null && texts.has(candidate)) return candidate;
    }
  }
  return null;
}

/** `dist/bot.js` is what `src/bot.ts` becomes; `''` where there is none of it. */
export function builtFrom(path: string, texts: { has(path: string): boolean }): string | null {
  const match = /^(.*?)(?:\.\/)?(?:dist|build|out|lib)\/(.*)$/.exec(path);
  if (!match) return null;
  const rest = match[2]!.replace(/^src\//, '');
  for (const folder of ['src/', '', 'lib/', 'app/']) {
    const file = scriptFile(`${match[1]}${folder}${rest}`, texts);
    if (file !== null) return file;
  }
  return null;
}

export const isTest = (path: string): boolean => /(^|\/)tests?\//.test(path) || /^test_/.test(baseOf(path));
