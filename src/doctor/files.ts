/**
 * Reads the files of somebody's project, and tells by their names what they are. Bounded in files, bytes and levels; follows no symlink
 * to a folder, passes over folders of dependencies, caches and builds. Paths are relative to the project, with slashes.
 */
import { existsSync, readdirSync } from 'node:fs';
import { posix } from 'node:path';
import { readTextFile } from '../config/files.ts';
import { showValue } from '../config/messages.ts';
import { EXIT, SinglepollError } from '../errors.ts';

/** `mode`: its permission bits; `isCut`: it is a log of which only the end was read. */
export type ProjectFile = { readonly path: string; text: string; mode: number; isCut?: boolean };

export type Project = ReturnType<typeof readProject>;

/** What doctor says about one place. Never holds a token. */
export type Finding = {
  /** A stable name, such as `server-workers`. */
  readonly rule: string;
  /** Relative to the project, and the line from 1; null where they make no sense. */
  readonly file: string | null;
  readonly line: number | null;
  readonly why: string;
  /** One line to type or to write. */
  readonly cure: string;
  /** Worth knowing, but makes no 409 where the project runs. */
  readonly note?: boolean;
};

export const LIMITS = { files: 5_000, depth: 8, totalBytes: 48 * 1024 * 1024 };
const PASSED_OVER =
  /^(node_modules|bower_components|vendor|v?env|virtualenv|site-packages|__py\w+__|target|coverage|htmlcov|bin|obj|\.(?!(github|gitlab|do|fly|platform|k8s|deploy|circleci)$).*)$/;
const READ =
  /(^|\/)(Procfile[^/]*|logs?\/[^/]*\.jsonl|[^/]*\.(log|out|err)(\.\d+)?|[^/]*[Dd]ockerfile[^/]*|Containerfile|(GNUm|[Mm])akefile|justfile|crontab|Pipfile|\.?env(\.[^/]*)?|[^/]*\.(env|flaskenv|py|[cm]?[jt]sx?|go|mod|rb|php|rs|java|kt|cs|exs?|sh|bash|zsh|jsonc?|ya?ml|toml|ini|conf|cfg|service|cron|crontab|txt|in|tf|xml))$(?<!(package-lock|npm-shrinkwrap)\.json|pnpm-lock\.yaml|\.min\.js)/;

/** Kinds of files and of processes, by their paths and names. */
export const KINDS: Readonly<Record<string, RegExp>> = {
  code: /\.(py|[cm]?[jt]sx?|go)$/,
  python: /\.py$/,
  gunicorn: /(^|\/)gunicorn[^/]*\.py$/,
  script: /\.(sh|bash|ya?ml|service|cron)$|ockerfile|akefile$|justfile$|crontab$|package\.json$|Procfile/,
  /** Shell that people and workflows run. */
  deploy: /\.(sh|bash)$|akefile$|justfile$|\.github\/workflows\//,
  setting:
    /(^|\/)\.?env(\.(?!example|sample)[^/]*)?$|\.env$|ockerfile|(compose[\w.-]*|render)\.ya?ml$|fly\.toml$/,
  env: /(^|\/)(\.?env(\.[\w.-]+)?|[\w.-]+\.env|\.flaskenv)$(?<!\.(js|ts|py|sh|go))/,
  /** A log that programs write, not code about logging. */
  log: /\.(log|out|err)(\.\d+)?$|(^|\/)logs?\/[^/]*\.(txt|json|jsonl)$/,
  example: /(^|[/._-])(example|sample|template|dist|defaults?|schema)([._-]|$)(?!.*\/)/i,
  /** What does not run in production: tests, examples, documentation, and what a compiler made of the source. */
  aside:
    /(^|\/)(tests?|__tests__|specs?|e2e|examples?|docs?|documentation|fixtures|samples?|demos?)\/|(^|\/)(dist|build|out)\/.*\.[cm]?jsx?$|(^|\/)(test_[^/]*|conftest)\.py$|[._-](tests?|spec)\.[a-z]+$/i,
  /** For a developer's own machine: `Procfile.dev`, `compose.override.yml`, the script `watch:bot`. */
  development:
    /((^|\/)(dev|watch)|(^|[/:._-])(dev|develop|development|local|override|debug|tests?|testing|watch|lint|format|hot|ci)([:._-]|$))(?!.*\/)/i,
  bot: /bot(?![a-z]*(h|tom|tle))|telegram|poll(er|ing)|(^|[-_ ])tg([-_ ]|$)/i,
};

export const isKind = (kind: string, path: string): boolean => KINDS[kind]?.test(path) ?? false;

/** One that a program reads, not one to be copied and filled in. */
export const isEnvFile = (path: string): boolean => isKind('env', path) && !isKind('example', path);

const PROBLEMS: Readonly<Record<string, string>> = { ENOENT: 'is not there', ENOTDIR: 'is not a folder' };

/** Throws SinglepollError where the folder itself can't be listed. */
export function readProject(root: string, most = LIMITS) {
  const files: ProjectFile[] = [];
  const limits = new Set<string>();
  let [count, bytes] = [0, 0];
  function read(path: string): void {
    if (count >= most.files || bytes > most.totalBytes)
      return void limits.add(`only the first ${count} files were looked at: there is too much here`);
    count += 1;
    const file = readTextFile(`${root}/${path}`, isKind('log', path));
    if (file.kind === 'text') {
      bytes += file.text.length;
      if (!file.text.includes('\0')) files.push({ ...file, path });
    } else if (file.kind !== 'missing' && !isKind('aside', path)) limits.add(`${path}: ${file.problem}`);
  }
  function list(folder: string) {
    try {
      const entries = readdirSync(`${root}/${folder}`, { withFileTypes: true });
      return entries.map((entry) => ({ entry, path: posix.join(folder, entry.name) }));
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException;
      const problem = PROBLEMS[code] ?? `can’t be read (${code})`;
      const hint = 'singlepoll doctor path/to/the/project';
      if (folder === '') throw new SinglepollError(EXIT.config, `${showValue(root)} ${problem}`, hint);
      limits.add(`${folder} ${problem}`);
      return [];
    }
  }
  // Breadth first: where a limit ends it, what lies on top has been seen.
  let level = [''];
  for (let depth = 0; level.length > 0 && depth <= most.depth; depth++) {
    const entries = level.flatMap(list).sort((a, b) => (a.path < b.path ? -1 : 1));
    for (const { entry, path } of entries) if (entry.isFile() && READ.test(path)) read(path);
    const folders = entries.filter(({ entry }) => entry.isDirectory() && !PASSED_OVER.test(entry.name));
    level = folders.map(({ path }) => path).filter((path) => !existsSync(`${root}/${path}/pyvenv.cfg`));
  }
  if (level.length > 0) limits.add(`folders more than ${most.depth} deep were not looked at`);
  return { files, limits: [...limits] };
}

export const folderOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));

/** Joins two paths; null where that leads out of the project. */
export function joinPath(folder: string, path: string): string | null {
  const joined = posix.join(folder, path, '.').replace(/^\.$|\/$/, '');
  return path.startsWith('/') || joined.startsWith('..') ? null : joined;
}

/** Where a path that is used in a folder may lie in the project; one of another machine or a container by any end of it. */
export function pathsInProject(path: string, folder: string): string[] {
  const parts = path.split('/').filter(Boolean);
  const ends = path.startsWith('/') ? parts.map((_, index) => parts.slice(index).join('/')) : [path];
  return ends.map((end) => joinPath(folder, end)).filter((it) => it !== null);
}

/** Line (from 1) of an offset. */
export const lineAt = (text: string, offset: number): number => text.slice(0, offset).split('\n').length;

/** The first fifty matches: a file that a machine wrote may have any number. */
export const matchesIn = (text: string, pattern: RegExp): RegExpExecArray[] =>
  [...text.matchAll(pattern)].slice(0, 50);
