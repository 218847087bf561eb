/**
 * Just enough of the INI dialect of supervisord and circus: sections, keys, comments, and the files that an
 * `include` names. Unreadable files count as empty.
 */
import type { RespawnerContext } from './context.ts';

export type IniSections = Map<string, Map<string, string>>;

const MAX_FILES = 64;

/** Sections of a file and of those that it includes (a later one adds to an earlier one); keys in lower case. */
export function iniSections(
  path: string,
  ctx: Pick<RespawnerContext, 'readText' | 'listFolder'>,
): IniSections {
  const sections: IniSections = new Map();
  addFile(path, sections, ctx);
  const folder = path.slice(0, path.lastIndexOf('/'));
  const includes = sections.get('include')?.get('files') ?? sections.get('circus')?.get('include') ?? '';
  const files = includes
    .split(/\s+/)
    .flatMap((pattern) => (pattern === '' ? [] : expand(pattern, folder, ctx)));
  for (const file of files.slice(0, MAX_FILES)) addFile(file, sections, ctx);
  return sections;
}

function addFile(path: string, sections: IniSections, ctx: Pick<RespawnerContext, 'readText'>): void {
  const text = ctx.readText?.(path) ?? '';
  let current: Map<string, string> | null = null;
  let lastKey: string | null = null;
  for (const line of text.split('\n')) {
    if (/^\s*(?:[#;]|$)/.test(line)) continue;
    const title = /^\[([^\]]+)\]/.exec(line)?.[1];
    if (title !== undefined) {
      current = sections.get(title) ?? new Map();
      sections.set(title, current);
      lastKey = null;
    } else if (/^\s/.test(line) && lastKey !== null) {
      current?.set(lastKey, `${current.get(lastKey)} ${line.trim()}`);
    } else {
      const at = line.search(/[=:]/);
      if (at <= 0 || current === null) continue;
      lastKey = line.slice(0, at).trim().toLowerCase();
      current.set(
        lastKey,
        line
          .slice(at + 1)
          .replace(/\s+;.*$/, '')
          .trim(),
      );
    }
  }
}

/** Paths that a pattern with `*` in its last part names; `%(here)s` is the folder of the file. */
function expand(pattern: string, folder: string, ctx: Pick<RespawnerContext, 'listFolder'>): string[] {
  const filled = pattern.replaceAll('%(here)s', folder);
  const path = filled.startsWith('/') ? filled : `${folder}/${filled}`;
  const slash = path.lastIndexOf('/');
  const last = path.slice(slash + 1);
  if (!last.includes('*')) return [path];
  const wanted = new RegExp(
    `^${last
      .split('*')
      .map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
      .join('.*')}$`,
  );
  const names = ctx.listFolder?.(path.slice(0, slash)) ?? [];
  return names.filter((name) => wanted.test(name)).map((name) => `${path.slice(0, slash)}/${name}`);
}
