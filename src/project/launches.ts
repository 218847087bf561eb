/** Every way in which the project's files say that it is started: one row per process, with the place where it is said. */
import { baseOf, folderOf, isAside, joinPath, lineAt, type Project, type ProjectFile } from './files.ts';
import { isCompose, isDevelopmentName, isDockerfile, isForDevelopment, isProcfile } from './kinds.ts';
import type { Evidence } from './polling.ts';
import type { Reach } from './reach.ts';
import type { Run, Runs } from './run.ts';
import { assignmentsOf } from './shell-line.ts';
import { at, commandText, list, readToml, readYaml, type Structured, table, text } from './structured.ts';

export type Manager =
  | 'procfile'
  | 'npm'
  | 'docker'
  | 'compose'
  | 'kubernetes'
  | 'systemd'
  | 'supervisord'
  | 'fly'
  | 'render'
  | 'railway'
  | 'heroku'
  | 'appengine'
  | 'digitalocean'
  | 'make'
  | 'shell'
  | 'cron'
  | 'workflow'
  | 'singlepoll';

export interface Said {
  readonly manager: Manager;
  readonly file: string;
  readonly line: number;
  /** Of the process, service, script … */
  readonly name: string;
  /** The line of shell. */
  readonly command: string;
  /** The folder that it is run in. */
  readonly folder: string;
  readonly development: boolean;
}

export interface Launch extends Said {
  readonly runs: readonly Run[];
  readonly env: Readonly<Record<string, string>>;
  /** Where it polls, as far as the files tell. */
  readonly polls: Evidence | null;
  /** True where every part of the command was led to a file of the project. */
  readonly resolved: boolean;
}

export function findLaunches(project: Project, reach: Reach, runs: Runs): Launch[] {
  return project.files.flatMap((file) =>
    file.text === null || isAside(file.path)
      ? []
      : said(file, file.text, project).map((row) => resolve(row, reach, runs)),
  );
}

export function resolve(row: Said, reach: Reach, runs: Runs): Launch {
  const found = runs(row.command, row.folder);
  let polls: Evidence | null = null;
  for (const { target, way } of found) if (target !== null) polls ??= reach.polls(target, way);
  const last = found.at(-1);
  return {
    ...row,
    runs: found,
    env: assignmentsOf(row.command),
    polls,
    resolved: last !== undefined && last.target !== null,
  };
}

function said(file: ProjectFile, content: string, project: Project): Said[] {
  const { path } = file;
  const name = baseOf(path);
  const folder = folderOf(path);
  const row = (
    manager: Manager,
    line: number,
    process: string,
    command: string,
    more: Partial<Said> = {},
  ): Said => ({
    manager,
    file: path,
    line,
    name: process,
    command,
    folder,
    development: isForDevelopment(path) || isDevelopmentName(process),
    ...more,
  });
  if (isProcfile(path)) return procfile(content, row);
  if (name === 'package.json') return npmScripts(content, row);
  if (isDockerfile(path)) return dockerfile(content, row);
  if (isCompose(path)) return readYaml(content).flatMap((doc) => compose(doc, row, folder, project));
  if (name === 'fly.toml') return flyProcesses(content, row);
  if (name === 'singlepoll.toml') {
    const doc = readToml(content);
    const command = doc && commandText(table(doc.value).command);
    return doc && command
      ? [row('singlepoll', doc.lineOf(['command']), 'command', `singlepoll start -- ${command}`)]
      : [];
  }
  if (/\.service$/.test(name)) {
    return matches(content, /^ExecStart\s*=\s*[-@:+!]*(.+)$/gm).map(({ line, found }) =>
      row('systemd', line, name, found, { development: false, folder: '' }),
    );
  }
  if (/\.(conf|ini)$/.test(name) && /^\[program:/m.test(content)) return supervisord(content, row);
  if (name === 'render.yaml') {
    return readYaml(content).flatMap((doc) =>
      list(at(doc.value, ['services'])).flatMap((service, index) => {
        const command = text(table(service).startCommand) ?? text(table(service).dockerCommand);
        const process = text(table(service).name) ?? `service ${index + 1}`;
        return command === null ? [] : [row('render', doc.lineOf(['services', index]), process, command)];
      }),
    );
  }
  if (name === 'railway.json' || name === 'railway.toml') {
    const doc = name.endsWith('json') ? readYaml(content)[0] : readToml(content);
    const command = doc && text(at(doc.value, ['deploy', 'startCommand']));
    return doc && command ? [row('railway', doc.lineOf(['deploy', 'startCommand']), 'deploy', command)] : [];
  }
  if (name === 'heroku.yml') {
    return readYaml(content).flatMap((doc) =>
      Object.entries(table(at(doc.value, ['run']))).flatMap(([process, value]) => {
        const command = commandText(at(value, ['command'])) ?? commandText(value);
        return command === null ? [] : [row('heroku', doc.lineOf(['run', process]), process, command)];
      }),
    );
  }
  if (/(^|\/)\.do\/\w+\.ya?ml$/.test(path)) {
    return readYaml(content).flatMap((doc) =>
      ['services', 'workers'].flatMap((kind) =>
        list(at(doc.value, [kind])).flatMap((service, index) => {
          const command = text(table(service).run_command);
          return command === null
            ? []
            : [
                row('digitalocean', doc.lineOf([kind, index]), text(table(service).name) ?? kind, command, {
                  folder: '',
                }),
              ];
        }),
      ),
    );
  }
  if (/(^|\/)app\.ya?ml$/.test(path) && /^runtime\s*:/m.test(content)) {
    return readYaml(content).flatMap((doc) => {
      const command = text(table(doc.value).entrypoint);
      return command === null ? [] : [row('appengine', doc.lineOf(['entrypoint']), 'app', command)];
    });
  }
  if (/^(GNUm|M|m)akefile$/.test(name)) return makeTargets(content, row);
  if (/\.(sh|bash)$/.test(name)) return shellScript(content, row, name);
  if (/^crontab$|\.cron$/.test(name)) return crontab(content, row);
  if (/(^|\/)\.github\/workflows\/[^/]+\.ya?ml$/.test(path))
    return readYaml(content).flatMap((doc) => workflow(doc, row));
  if (/\.ya?ml$/.test(name) && /^kind\s*:/m.test(content))
    return readYaml(content).flatMap((doc) => kubernetes(doc, row));
  return [];
}

type Row = (manager: Manager, line: number, name: string, command: string, more?: Partial<Said>) => Said;

function matches(content: string, pattern: RegExp): { line: number; found: string }[] {
  return [...content.matchAll(pattern)].map((match) => ({
    line: lineAt(content, match.index + match[0].search(/\S/)),
    found: match[1]!,
  }));
}

function procfile(content: string, row: Row): Said[] {
  return content.split(/\r?\n/).flatMap((text, index) => {
    const match = /^\s*([A-Za-z0-9_-]+)\s*:\s*(\S.*)$/.exec(text);
    return match ? [row('procfile', index + 1, match[1]!, match[2]!)] : [];
  });
}

function npmScripts(content: string, row: Row): Said[] {
  return readYaml(content).flatMap((doc) =>
    Object.entries(table(at(doc.value, ['scripts']))).flatMap(([name, command]) =>
      typeof command === 'string' ? [row('npm', doc.lineOf(['scripts', name]), name, command)] : [],
    ),
  );
}

/** The command of the last stage: CMD, after ENTRYPOINT where both are arrays. */
export function dockerfile(content: string, row: Row): Said[] {
  const joined = content.replace(/\\\r?\n/g, (whole) => (whole.length === 2 ? '  ' : '   '));
  let entry: { line: number; words: string; array: boolean } | null = null;
  let command: { line: number; words: string; array: boolean } | null = null;
  for (const match of joined.matchAll(/^[ \t]*(FROM|CMD|ENTRYPOINT)[ \t]+(.*)$/gim)) {
    const kind = match[1]!.toUpperCase();
    if (kind === 'FROM') {
      entry = null;
      command = null;
      continue;
    }
    const here = { line: lineAtJoined(content, joined, match.index), ...dockerWords(match[2]!.trim()) };
    if (kind === 'CMD') command = here;
    else entry = here;
  }
  const words = [entry?.words, entry === null || entry.array ? command?.words : undefined]
    .filter(Boolean)
    .join(' ');
  const line = command?.line ?? entry?.line;
  return line === undefined || words === '' ? [] : [row('docker', line, 'CMD', words)];
}

function lineAtJoined(content: string, joined: string, offset: number): number {
  // Continued lines were joined: count how many breaks the original has before the same place.
  let line = 1;
  for (let at = 0; at < offset && at < joined.length; at++) if (content[at] === '\n') line += 1;
  return line;
}

function dockerWords(textOfIt: string): { words: string; array: boolean } {
  if (textOfIt.startsWith('[')) {
    try {
      const words = commandText(JSON.parse(textOfIt));
      if (words !== null) return { words, array: true };
    } catch {}
  }
  return { words: textOfIt, array: false };
}

function compose(doc: Structured, row: Row, folder: string, project: Project): Said[] {
  return Object.entries(table(at(doc.value, ['services']))).flatMap(([name, value]) => {
    const service = table(value);
    const entry = commandText(service.entrypoint);
    const command = commandText(service.command);
    const own = [entry, command].filter(Boolean).join(' ');
    const line = doc.lineOf(['services', name]);
    const context = buildContext(service.build, folder);
    const inside = context === null ? folder : context.folder;
    if (own !== '') return [row('compose', line, name, own, { folder: inside })];
    const built = context && project.files.find(({ path }) => path === context.dockerfile);
    if (!built?.text) return [];
    return dockerfile(built.text, row).map((found) => ({
      ...row('compose', line, name, found.command, { folder: inside }),
    }));
  });
}

function buildContext(build: unknown, folder: string): { folder: string; dockerfile: string } | null {
  if (build === undefined || build === null) return null;
  const context = typeof build === 'string' ? build : (text(table(build).context) ?? '.');
  const inside = joinPath(folder, context);
  if (inside === null) return null;
  const file = text(table(build).dockerfile) ?? 'Dockerfile';
  return { folder: inside, dockerfile: joinPath(inside, file) ?? file };
}

function kubernetes(doc: Structured, row: Row): Said[] {
  const { kind, containersPath, containers, name } = workload(doc);
  if (kind === null) return [];
  return containers.flatMap((container, index) => {
    const command = [commandText(container.command), commandText(container.args)].filter(Boolean).join(' ');
    return command === ''
      ? []
      : [row('kubernetes', doc.lineOf([...containersPath, index]), `${name}`, command, { folder: '' })];
  });
}

/** The workload that a Kubernetes document describes; kind null where it describes none. */
export function workload(doc: Structured): {
  kind: string | null;
  name: string;
  containersPath: (string | number)[];
  containers: readonly Readonly<Record<string, unknown>>[];
} {
  const kind = text(at(doc.value, ['kind']));
  const name = text(at(doc.value, ['metadata', 'name'])) ?? '';
  const containersPath =
    kind === 'CronJob'
      ? ['spec', 'jobTemplate', 'spec', 'template', 'spec', 'containers']
      : ['spec', 'template', 'spec', 'containers'];
  const containers = list(at(doc.value, containersPath)).map(table);
  const known = /^(Deployment|StatefulSet|DaemonSet|ReplicaSet|Service|CronJob|Job|Rollout)$/.test(
    kind ?? '',
  );
  return { kind: known && containers.length > 0 ? kind : null, name, containersPath, containers };
}

function flyProcesses(content: string, row: Row): Said[] {
  const doc = readToml(content);
  if (!doc) return [];
  return Object.entries(table(at(doc.value, ['processes']))).flatMap(([name, command]) =>
    typeof command === 'string' ? [row('fly', doc.lineOf(['processes', name]), name, command)] : [],
  );
}

function supervisord(content: string, row: Row): Said[] {
  const found: Said[] = [];
  let program = '';
  for (const [index, line] of content.split(/\r?\n/).entries()) {
    const section = /^\s*\[([^\]]*)\]/.exec(line)?.[1];
    if (section !== undefined) program = section.startsWith('program:') ? section.slice(8) : '';
    const command = /^\s*command\s*=\s*(.+)$/.exec(line)?.[1];
    if (program !== '' && command)
      found.push(row('supervisord', index + 1, program, command, { folder: '' }));
  }
  return found;
}

function makeTargets(content: string, row: Row): Said[] {
  const found: Said[] = [];
  let target = '';
  for (const [index, line] of content.split(/\r?\n/).entries()) {
    const name = /^([\w.-]+)\s*:(?!=)/.exec(line)?.[1];
    if (name !== undefined) target = name;
    else if (/^\t/.test(line) && target !== '')
      found.push(row('make', index + 1, target, line.trim().replace(/^[@-]+/, '')));
  }
  return found;
}

function shellScript(content: string, row: Row, name: string): Said[] {
  return content
    .split(/\r?\n/)
    .flatMap((line, index) =>
      /^\s*(#|$)/.test(line) ||
      !/\b(gunicorn|uvicorn|hypercorn|flask|fastapi|python|node|nodemon|npm|pm2|tsx|watchmedo|singlepoll)\b/.test(
        line,
      )
        ? []
        : [row('shell', index + 1, name, line.trim())],
    );
}

function crontab(content: string, row: Row): Said[] {
  return content.split(/\r?\n/).flatMap((line, index) => {
    const match = /^\s*((?:[\d*/,-]+\s+){4}[\w*/,-]+|@\w+)\s+(.*)$/.exec(line);
    return match
      ? [
          row('cron', index + 1, match[1]!, match[2]!.replace(/^root\s+/, ''), {
            folder: '',
            development: false,
          }),
        ]
      : [];
  });
}

function workflow(doc: Structured, row: Row): Said[] {
  return Object.entries(table(at(doc.value, ['jobs']))).flatMap(([job, value]) =>
    list(table(value).steps).flatMap((step, index) => {
      const command = text(table(step).run);
      const path = ['jobs', job, 'steps', index];
      const folder = text(table(step)['working-directory']) ?? '';
      return command === null
        ? []
        : command
            .split('\n')
            .filter((line) => line.trim() !== '')
            .map((line) =>
              row('workflow', doc.lineOf([...path, 'run']), job, line.trim(), {
                folder: folder.replace(/^\.\//, ''),
              }),
            );
    }),
  );
}
