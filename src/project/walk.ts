/**
 * Reads a project's files: never follows a symlink to a folder, never waits for a FIFO, never more than so many files, bytes
 * and levels. Folders of dependencies, caches and builds are passed over, as is what git keeps for itself.
 */
import { type Dirent, lstatSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { join, sep } from 'node:path';
import { readTextFile } from '../config/files.ts';
import { isAside, type Project, type ProjectFile } from './files.ts';
import { isLog } from './kinds.ts';
import { readEnds } from './read-ends.ts';

export interface WalkLimits {
  readonly files: number;
  readonly depth: number;
  /** Of one file that is read as a whole. */
  readonly fileBytes: number;
  readonly totalBytes: number;
  readonly ms: number;
}

export const WALK_LIMITS: WalkLimits = {
  files: 5_000,
  depth: 8,
  fileBytes: 512 * 1024,
  totalBytes: 48 * 1024 * 1024,
  ms: 10_000,
};

const PASSED_OVER = new Set(
  (
    'node_modules bower_components vendor venv env virtualenv site-packages __pycache__ __pypackages__ target ' +
    'coverage htmlcov bin obj Pods'
  ).split(' '),
);
/** Hidden folders that hold settings of platforms. */
const HIDDEN_LOOKED_AT = new Set([
  '.github',
  '.gitlab',
  '.do',
  '.fly',
  '.platform',
  '.k8s',
  '.deploy',
  '.circleci',
]);

const TEXTUAL =
  /(^|\/)(Procfile[^/]*|[Dd]ockerfile[^/]*|[^/]*\.[Dd]ockerfile|Containerfile|Makefile|makefile|GNUmakefile|justfile|crontab|Caddyfile|Pipfile|\.?env|\.?env\.[^/]*|[^/]*\.env|\.flaskenv|nodemon\.json|go\.mod|[^/]*\.(py|js|cjs|mjs|jsx|ts|cts|mts|tsx|go|rb|php|rs|java|kt|cs|ex|exs|sh|bash|zsh|json|jsonc|ya?ml|toml|ini|conf|cfg|service|cron|crontab|txt|tf|xml|csproj|lock))$/;

/** Lock files are long and tell nothing. */
const TELLS_NOTHING =
  /(^|\/)(package-lock\.json|npm-shrinkwrap\.json|[^/]*\.lock|pnpm-lock\.yaml|[^/]*\.min\.js)$/;

/** Throws the system's error where the folder itself can't be listed. */
export function readProject(root: string, limits: WalkLimits = WALK_LIMITS): Project {
  const walk: Walk = {
    root,
    real: realpathSync(root),
    limits,
    until: performance.now() + limits.ms,
    files: [],
    bytes: 0,
    reached: new Set(),
  };
  readdirSync(root);
  // Breadth first: where a limit ends it, what lies on top has been seen.
  let level = [''];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > limits.depth) {
      walk.reached.add(`folders more than ${limits.depth} deep were not looked at`);
      break;
    }
    level = level.flatMap((folder) => readFolder(walk, folder));
  }
  return { root, files: walk.files, limits: [...walk.reached] };
}

interface Walk {
  readonly root: string;
  readonly real: string;
  readonly limits: WalkLimits;
  readonly until: number;
  readonly files: ProjectFile[];
  bytes: number;
  readonly reached: Set<string>;
}

/** Reads the files of one folder; returns the folders in it. */
function readFolder(walk: Walk, folder: string): string[] {
  let entries: Dirent[];
  try {
    entries = readdirSync(join(walk.root, folder), { withFileTypes: true });
  } catch {
    walk.reached.add(`${folder || '.'} may not be read by this user`);
    return [];
  }
  const folders: string[] = [];
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) {
      if (isLookedAt(walk, path, entry.name)) folders.push(path);
    } else if (isFile(walk, path, entry)) readOne(walk, path);
  }
  return folders;
}

function isLookedAt(walk: Walk, path: string, name: string): boolean {
  if (PASSED_OVER.has(name)) return false;
  if (name.startsWith('.') && !HIDDEN_LOOKED_AT.has(name)) return false;
  // A virtualenv by any name.
  try {
    lstatSync(join(walk.root, path, 'pyvenv.cfg'));
    return false;
  } catch {
    return true;
  }
}

/** A symlink counts where it leads to a file inside the project: that one is read under its own name, too, but only once. */
function isFile(walk: Walk, path: string, entry: Dirent): boolean {
  if (entry.isFile()) return true;
  if (!entry.isSymbolicLink()) return false;
  try {
    const full = join(walk.root, path);
    const target = realpathSync(full);
    // Links like .env → /etc/bot/.env are how releases share settings.
    return statSync(full).isFile() && !target.startsWith(walk.real + sep);
  } catch {
    return false;
  }
}

function readOne(walk: Walk, path: string): void {
  const { limits } = walk;
  if (walk.files.length >= limits.files) {
    walk.reached.add(`only the first ${limits.files} files were looked at`);
    return;
  }
  if (performance.now() > walk.until || walk.bytes > limits.totalBytes) {
    walk.reached.add(`looking ended after ${walk.files.length} files: there is too much here`);
    return;
  }
  const full = join(walk.root, path);
  if (isLog(path)) {
    const text = readEnds(full);
    walk.bytes += text?.length ?? 0;
    walk.files.push({ path, text, mode: 0 });
    return;
  }
  if (!TEXTUAL.test(path)) return;
  let stat: ReturnType<typeof statSync>;
  try {
    stat = statSync(full);
  } catch {
    return;
  }
  const mode = Number(stat.mode) & 0o7777;
  const read = Number(stat.size) <= limits.fileBytes && !TELLS_NOTHING.test(path) ? readTextFile(full) : null;
  const text = read?.kind === 'text' && !read.text.includes('\0') ? read.text : null;
  if (read === null && !TELLS_NOTHING.test(path) && !isAside(path))
    walk.reached.add(`${path} is too big to be looked at`);
  if (read?.kind === 'unreadable') walk.reached.add(`${path}: ${read.problem}`);
  walk.bytes += text?.length ?? 0;
  walk.files.push({ path, text, mode });
}
