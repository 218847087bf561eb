/**
 * Reads the files of somebody's project, and tells by their names what they are. Bounded in files, bytes, levels and time; follows
 * no symlink to a folder, waits for no FIFO, passes over folders of dependencies, caches and builds. Paths are relative to the
 * project, with slashes.
 */
import { closeSync, constants, existsSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { posix } from 'node:path';

export interface ProjectFile {
  readonly path: string;
  /** Null: not read, because it is too big or binary. */
  readonly text: string | null;
  /** Permission bits. */
  readonly mode: number;
  /** Larger than what is read of a file; of a log `text` is the end then. */
  readonly isCut?: boolean;
}

export type Project = ReturnType<typeof readProject>;

/** What doctor says about one place. Never holds a token. */
export interface Finding {
  /** A stable name, such as `server-workers`. */
  readonly rule: string;
  /** Relative to the project; null where it is about the machine. */
  readonly file: string | null;
  /** From 1; null where a line makes no sense. */
  readonly line: number | null;
  readonly why: string;
  /** One line to type or to write. */
  readonly cure: string;
  /** Worth knowing, but makes no 409 where the project runs. */
  readonly note?: boolean;
}

/** `fileBytes`: of one file, and of the end of a log. */
export const LIMITS = {
  files: 5_000,
  depth: 8,
  fileBytes: 512 * 1024,
  totalBytes: 48 * 1024 * 1024,
};
const PASSED_OVER =
  /^(node_modules|bower_components|vendor|v?env|virtualenv|site-packages|__py\w+__|target|coverage|htmlcov|bin|obj|\.(?!(github|gitlab|do|fly|platform|k8s|deploy|circleci)$).*)$/;
const READ =
  /(^|\/)(Procfile[^/]*|logs?\/[^/]*\.jsonl|[^/]*\.(log|out|err)(\.\d+)?|[^/]*[Dd]ockerfile[^/]*|Containerfile|(GNUm|[Mm])akefile|justfile|crontab|Pipfile|\.?env(\.[^/]*)?|[^/]*\.(env|flaskenv|py|[cm]?[jt]sx?|go|mod|rb|php|rs|java|kt|cs|exs?|sh|bash|zsh|jsonc?|ya?ml|toml|ini|conf|cfg|service|cron|crontab|txt|in|tf|xml))$/;
const TELLS_NOTHING = /(^|\/)(package-lock\.json|npm-shrinkwrap\.json|pnpm-lock\.yaml|[^/]*\.min\.js)$/;

/** Throws the system's error where the folder itself can't be listed. */
export function readProject(root: string, limits = LIMITS) {
  const files: ProjectFile[] = [];
  const reached = new Set<string>();
  let bytes = 0;
  const read = (path: string): void => {
    if (files.length >= limits.files) reached.add(`only the first ${limits.files} files were looked at`);
    else if (bytes > limits.totalBytes)
      reached.add(`looking ended after ${files.length} files: there is too much here`);
    else
      try {
        const file = readOne(`${root}/${path}`, path, limits.fileBytes);
        if (file.isCut && !isLog(path) && !isAside(path)) reached.add(`${path} is too big to be looked at`);
        bytes += file.text?.length ?? 0;
        files.push(file);
      } catch (error) {
        reached.add(`${path} can’t be read (${(error as NodeJS.ErrnoException).code})`);
      }
  };
  /** Reads the files of a folder; returns the folders in it. */
  const readFolder = (folder: string): string[] => {
    try {
      const entries = readdirSync(`${root}/${folder}`, { withFileTypes: true });
      const paths = entries.map((entry) => ({ entry, path: posix.join(folder, entry.name) }));
      const wanted = paths.filter(
        ({ path, entry }) => entry.isFile() && READ.test(path) && !TELLS_NOTHING.test(path),
      );
      for (const { path } of wanted.sort((a, b) => (a.path < b.path ? -1 : 1))) read(path);
      const folders = paths.filter(({ entry }) => entry.isDirectory() && !PASSED_OVER.test(entry.name));
      return folders.map(({ path }) => path).filter((path) => !existsSync(`${root}/${path}/pyvenv.cfg`));
    } catch (error) {
      if (folder === '') throw error;
      reached.add(`${folder} may not be read by this user`);
      return [];
    }
  };
  // Breadth first: where a limit ends it, what lies on top has been seen.
  let level = [''];
  for (let depth = 0; level.length > 0 && depth <= limits.depth; depth++)
    level = level.flatMap(readFolder).sort();
  if (level.length > 0) reached.add(`folders more than ${limits.depth} deep were not looked at`);
  // `limits`: why not everything was looked at.
  return { files, limits: [...reached] };
}

/** Of a log, which may be of any size, the end. */
function readOne(full: string, path: string, most: number): ProjectFile {
  const fd = openSync(full, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const { size, mode } = fstatSync(fd);
    const isCut = size > most;
    const file = { path, mode: mode & 0o7777, isCut, text: null };
    if (isCut && !isLog(path)) return file;
    const bytes = Buffer.alloc(Math.min(size, most));
    const text = bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, size - bytes.length));
    return { ...file, text: text.includes('\0') ? null : text.replace(/^\uFEFF/, '') };
  } finally {
    closeSync(fd);
  }
}

export const baseOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

/** The folder of a path; empty for the project's own. */
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
export function* matchesIn(text: string, pattern: RegExp): Generator<RegExpExecArray> {
  let count = 0;
  for (const match of text.matchAll(pattern))
    if (count++ < 50) yield match;
    else return;
}

/** What does not run in production: tests, examples, documentation, and what a compiler made of the source. */
export const isAside = (path: string): boolean =>
  /(^|\/)(tests?|__tests__|specs?|e2e|examples?|docs?|documentation|fixtures|samples?|demos?)\//i.test(
    path,
  ) ||
  /(^|\/)(dist|build|out)\/.*\.[cm]?jsx?$|(^|\/)(test_[^/]*|conftest)\.py$|[._-](tests?|spec)\.[a-z]+$/i.test(
    path,
  );

/** Files of example settings, which people copy and fill in. */
export const isExample = (path: string): boolean =>
  /(^|[._-])(example|sample|template|dist|defaults?|schema)([._-]|$)/i.test(baseOf(path));

/** A log that programs write, not code about logging. */
export const isLog = (path: string): boolean =>
  /\.(log|out|err)(\.\d+)?$|(^|\/)logs?\/[^/]*\.(txt|json|jsonl)$/.test(path);

export const isEnvFile = (path: string): boolean =>
  /^(\.?env(\.[\w.-]+)?|[\w.-]+\.env|\.flaskenv)$/.test(baseOf(path)) && !/\.(js|ts|py|sh|go)$/.test(path);

export const isDockerfile = (path: string): boolean =>
  /^([Dd]ockerfile|Containerfile)([.-][\w.-]+)?$|\.[Dd]ockerfile$/.test(baseOf(path));

/** A file or a process for a developer's own machine: `Procfile.dev`, `compose.override.yml`, the script `watch:bot`. */
export const isForDevelopment = (path: string): boolean =>
  /^(dev|watch)|(^|[:._-])(dev|develop|development|local|override|debug|tests?|testing|watch|lint|format|hot|ci)([:._-]|$)/i.test(
    baseOf(path),
  );

/** A name that a bot would have. */
export const isBotName = (name: string): boolean =>
  /bot(?![a-z]*(h|tom|tle))|telegram|poll(er|ing)|(^|[-_ ])tg([-_ ]|$)/i.test(name);
