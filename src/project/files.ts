/**
 * The files of somebody's project, as `doctor` and `init` see them. Read once, bounded, by walk.ts; everything behind this
 * is pure. Paths are relative to the project's folder, with slashes.
 */

export interface ProjectFile {
  readonly path: string;
  /** Null: not read, because it is too big, binary, or of no kind that matters. */
  readonly text: string | null;
  /** Permission bits. */
  readonly mode: number;
}

export interface Project {
  /** Absolute. */
  readonly root: string;
  readonly files: readonly ProjectFile[];
  /** Why not everything was looked at; empty where it was. */
  readonly limits: readonly string[];
}

export const baseOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

/** The folder of a path; empty for the project's own. */
export const folderOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));

/** Joins and resolves `.` and `..`; null where it leads out of the project. */
export function joinPath(folder: string, path: string): string | null {
  if (path.startsWith('/')) return null;
  const parts: string[] = [];
  for (const part of `${folder}/${path}`.split('/')) {
    if (part === '' || part === '.') continue;
    if (part === '..') {
      if (parts.pop() === undefined) return null;
    } else parts.push(part);
  }
  return parts.join('/');
}

/** Line (from 1) of an offset. */
export function lineAt(text: string, offset: number): number {
  let line = 1;
  for (let at = text.indexOf('\n'); at >= 0 && at < offset; at = text.indexOf('\n', at + 1)) line += 1;
  return line;
}

/** Code and settings that do not run in production: tests, examples, documentation. */
export function isAside(path: string): boolean {
  return (
    /(^|\/)(tests?|__tests__|spec|specs|e2e|examples?|docs?|documentation|fixtures|samples?|demos?)\//i.test(
      path,
    ) ||
    // What a compiler made of the source.
    /(^|\/)(dist|build|out)\/.*\.[cm]?jsx?$/.test(path) ||
    /(^|\/)(test_[^/]*|conftest)\.py$|[._-](test|tests|spec)\.[a-z]+$/i.test(path)
  );
}

/** Files of example settings, which people copy and fill in. */
export function isExample(path: string): boolean {
  return /(^|[._-])(example|sample|template|dist|defaults?|schema)([._-]|$)/i.test(baseOf(path));
}
