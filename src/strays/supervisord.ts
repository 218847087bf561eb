/**
 * supervisord: what it calls a stray, by its own status, by what it leaves in the environment, or by its configuration, in this
 * order: one of them is known also when the stray has just ended. Never a command that would stop other programs, too.
 * Facts: supervisord.org configuration, supervisor 4.2 options.py (search path), process.py (environment).
 */
import {
  accountOf,
  answer,
  ask,
  type Found,
  type ManagerEdges,
  markOf,
  programOf,
  type Search,
  type Verdict,
} from './manager-search.ts';
import type { Proc } from './process.ts';

const FILES_MAX = 64;

type Sections = ReadonlyMap<string, ReadonlyMap<string, string>>;

export async function nameSupervisord({ manager, child }: Found, search: Search): Promise<Verdict> {
  const { edges } = search;
  const path = configOf(manager, edges);
  const sections: Sections = path === null ? new Map() : readSections(path, edges);
  const url = markOf(search, 'SUPERVISOR_SERVER_URL');
  const isUsable = path !== null && (sections.size === 0 || sections.has('supervisorctl') || url === null);
  const reach = isUsable ? ['-c', path] : url === null ? [] : ['-s', url];
  // 3 says that some program is not running; the list is complete all the same.
  const status = (await ask(search, ['supervisorctl', ...reach, 'status'], 3)) ?? '';
  const row = status.split('\n').find((line) => Number(/\bpid (\d+),/.exec(line)?.[1]) === child.pid);
  const [shown = null, state] = row?.split(/\s+/) ?? [];
  const name = shown ?? markedName(search) ?? configuredName(sections, child);
  if (state === 'STOPPING' || (name !== null && !restarts(sections, name))) return 'not-restarted';
  const account = accountOf(search, manager.uid);
  const supervisorctl = (...words: string[]) => [{ words: ['supervisorctl', ...reach, ...words] }];
  if (name !== null) return answer(search, 'supervisord', name, supervisorctl('stop', name), { account });
  const remark = `shows its name there; then: supervisorctl ${[...reach, 'stop'].join(' ')} NAME`;
  return answer(search, 'supervisord', programOf(child), supervisorctl('status'), { account, remark });
}

/** `group:process`, or the short form where both are the same. */
function markedName(search: Search): string | null {
  const process = markOf(search, 'SUPERVISOR_PROCESS_NAME');
  return process === null ? null : joined(markOf(search, 'SUPERVISOR_GROUP_NAME') ?? process, process);
}

function joined(group: string, process: string): string {
  return group === process ? process : `${group}:${process}`;
}

/** The only program, or the only one whose command the child runs. */
function configuredName(sections: Sections, { argv }: Proc): string | null {
  const bare = (text: string) =>
    text
      .replace(/["'\\]/g, '')
      .replace(/\s+/g, ' ')
      .trim();
  const runs = bare(argv.join(' '));
  const programs = [...sections].filter(([title]) => title.startsWith('program:'));
  const same = programs.filter(
    ([, keys]) => keys.has('command') && runs.includes(bare(keys.get('command')!)),
  );
  const [title, keys] = (programs.length === 1 ? programs : same.length === 1 ? same : [])[0] ?? [];
  if (!title || !keys) return null;
  const program = title.slice('program:'.length);
  const groups = [...sections].filter(([it]) => it.startsWith('group:'));
  const members = (text = '') => text.split(',').map((it) => it.trim());
  const group = groups.find(([, it]) => members(it.get('programs')).includes(program))?.[0].slice(6);
  // Several processes of one command: all of them poll.
  return keys.has('process_name') ? `${group ?? program}:*` : joined(group ?? program, program);
}

/** False only where the configuration says autorestart=false for that program. */
function restarts(sections: Sections, name: string): boolean {
  const parts = name.split(':');
  const program = [...sections].find(
    ([title]) =>
      title.startsWith('program:') &&
      parts.some((part) => part === title.slice(8) || part.startsWith(`${title.slice(8)}_`)),
  );
  return !/^(?:false|no|off|0)$/i.test(program?.[1].get('autorestart') ?? '');
}

/** Without -c supervisord takes the supervisord.conf of its working folder before that of the machine. */
function configOf({ argv, cwd }: Proc, edges: ManagerEdges): string | null {
  const at = argv.findIndex((word) => word === '-c' || word === '--configuration');
  const given = at < 0 ? argv.find((word) => /^--configuration=/.test(word))?.split('=')[1] : argv[at + 1];
  if (given !== undefined) return resolveIn(cwd, given);
  const near = resolveIn(cwd, 'supervisord.conf');
  return near !== null && edges.readText(near) !== null ? near : null;
}

/** A path as another process means it; null where its working folder is unknown. */
function resolveIn(cwd: string | null, path: string): string | null {
  if (path.startsWith('/')) return path;
  return cwd === null ? null : new URL(path, `file://${encodeURI(cwd)}/`).pathname;
}

/** Sections of a configuration file and of those that it includes; keys in lower case. Unreadable files count as empty. */
function readSections(path: string, edges: ManagerEdges): Sections {
  const sections = new Map<string, Map<string, string>>();
  const folder = path.slice(0, path.lastIndexOf('/'));
  addFile(path);
  const patterns = (sections.get('include')?.get('files') ?? '').split(/\s+/).filter(Boolean);
  for (const file of patterns.flatMap(expand).slice(0, FILES_MAX)) addFile(file);
  return sections;

  function addFile(file: string): void {
    // A line that begins with a space goes on with the one before.
    const text = (edges.readText(file) ?? '').replace(/^[#;].*\n/gm, '').replace(/\n[ \t]+(?=\S)/g, ' ');
    for (const [, title = '', lines = ''] of text.matchAll(/^\[([^\]]+)\](.*(?:\n(?!\[).*)*)/gm)) {
      const keys = sections.get(title) ?? new Map<string, string>();
      sections.set(title, keys);
      for (const [, key = '', value = ''] of lines.matchAll(/^(\w+)\s*[=:]\s*(.*?)(?:\s+;.*)?$/gm))
        keys.set(key.toLowerCase(), value);
    }
  }

  /** Files that a pattern with `*` in its last part names; `%(here)s` is the folder of the file. */
  function expand(pattern: string): string[] {
    const filled = pattern.replaceAll('%(here)s', folder);
    const whole = filled.startsWith('/') ? filled : `${folder}/${filled}`;
    const slash = whole.lastIndexOf('/');
    const [head = '', ...tails] = whole.slice(slash + 1).split('*');
    if (tails.length === 0) return [whole];
    return edges
      .listFolder(whole.slice(0, slash))
      .filter((name) => name.startsWith(head) && name.endsWith(tails.at(-1)!))
      .map((name) => `${whole.slice(0, slash)}/${name}`);
  }
}
