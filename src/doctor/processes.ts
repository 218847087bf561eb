/** Every process that the project's files say is started, and whether it polls. A table says which file tells it, and where. */
import { basename } from 'node:path';
import { type Evidence, readCode } from './code.ts';
import { createRuns, type Run } from './commands.ts';
import {
  at,
  commandText,
  type Document,
  environmentOf,
  pathsOf,
  readDocuments,
  rowsOf,
  stepsOf,
  table,
  text,
} from './documents.ts';
import { folderOf, isBotName, isForDevelopment, isKind, joinPath, lineAt, type Project } from './files.ts';

/**
 * Manager, its file, steps to each process or a pattern of lines with its name and its command, keys of its command (`=`: the value
 * itself, `-`: none), and what else is to know: `when` this key is there; where `name` and `folder` stand; `root`: its folder is another machine's; `line`: of the command, not of the
 * process; `run`: the program in front of the command; `of`: these only say how many there are of the processes of that manager.
 */
const PLACES = rowsOf(String.raw`
npm           package\.json                                 scripts>*                        =
compose       (docker-)?compose[\w.-]*\.ya?ml               services>*                       entrypoint command     folder=build>context
kubernetes    .*\.ya?ml                                     spec>template>spec>containers>*  command args           name=metadata>name root
kubernetes    .*\.ya?ml         spec>jobTemplate>spec>template>spec>containers>*             command args           name=metadata>name root
autoscaler    .*\.ya?ml                                     spec>scaleTargetRef              -                      of=kubernetes
helm          values(\.[\w-]+)?\.ya?ml                      >                                -
systemd       .*\.service                                   Service                          ExecStart              line root
supervisord   .*\.(conf|ini)                                program:*                        command                line root
pm2           (ecosystem|pm2|process)[\w.-]*\.(json|ya?ml)|.*\.config\.c?js  apps>*             script                 run=node folder=cwd
fly           fly([.-][\w-]+)?\.toml                        processes>*                      =
fly           fly([.-][\w-]+)?\.toml                        app                              -                      name=app
render        render\.yaml                                  services>*                       startCommand dockerCommand
railway       railway\.(json|toml)                          deploy                           startCommand           line
heroku        heroku\.yml                                   run>*                            = command
formation     app\.json                                     formation>*                      -                      of=procfile
digitalocean  \.do/\w+\.ya?ml                               services>*                       run_command            root
digitalocean  \.do/\w+\.ya?ml                               workers>*                        run_command            root
appengine     app\.ya?ml                                    >                                entrypoint             when=runtime name=service line
workflow      \.github/workflows/[^/]+\.ya?ml               jobs>*>steps>*                   run                    line root
singlepoll    singlepoll\.toml                              >                                command                run=singlepoll+start+-- line
procfile      Procfile(\.[\w-]+)?                           /^[ \t]*([\w-]+)[ \t]*:[ \t]*(.+)$/  command
docker        ([Dd]ockerfile|Containerfile)([.-][\w.-]+)?|.*\.[Dd]ockerfile  /^[ \t]*(ENTRYPOINT|CMD)[ \t]+(?![\s\S]*^[ \t]*FROM\b)(.*)$/  command
make          (GNUm|[Mm])akefile                             /(?<=^([\w.-]+)\s*:(?!=).*\n(?:\t.*\n){0,50})\t[@-]*(.*)$/  command
shell         .*\.(sh|bash)                                  /^()(?!\s*#)(.*\b(?:gunicorn|uvicorn|hypercorn|flask|fastapi|python|node|nodemon|npm|pm2|tsx|watchmedo|singlepoll)\b.*)$/  command
cron          crontab|.*\.cron                               /^[ \t]*((?:[\d*\/,-]+[ \t]+){4}[\w*\/,-]+|@\w+)[ \t]+(?:root[ \t]+)?(.*)$/  command  root`).map(
  ({ columns: [manager = '', file, place = '', keys = '', rest = ''] }) => {
    const more = Object.fromEntries(rest.split(' ').map((it) => it.split('='))) as Record<string, string>;
    const lines = place.startsWith('/') ? RegExp(place.slice(1, -1), 'gim') : null;
    const steps = lines ? [] : stepsOf(place);
    return { manager, file: RegExp(`(^|/)(${file})$`), lines, steps, keys: keys.split(' '), more };
  },
);

type Said = ReturnType<typeof processesIn>[number];
export type Process = ReturnType<typeof judge>;
export type Facts = ReturnType<typeof studyProject>;
type Studied = ReturnType<typeof studyCode>;
type Texts = ReadonlyMap<string, string>;

export function studyProject(project: Project) {
  const known = studyCode(project);
  const placed = known.files.flatMap(({ path, text }) => processesIn(path, text, known.texts));
  const said = placed.filter(({ of }) => of === undefined);
  const own = said.map((it) => judge(it, said, known));
  const counted = placed.flatMap((it) => {
    const meant = own.find(({ manager, name }) => manager === it.of && name === it.name);
    return meant ? [{ ...meant, ...it }] : [];
  });
  return { ...known, processes: [...own, ...counted] };
}

function studyCode(project: Project) {
  const texts = new Map(project.files.map(({ path, text }) => [path, text]));
  // What runs in production.
  const files = project.files.filter(({ path }) => !isKind('aside', path));
  const code = readCode(texts);
  const polls = files.flatMap(({ path }) => code.calls('poll', path));
  const webhooks = files.flatMap(({ path }) => code.calls('hook', path));
  const isMtproto = files.some(({ text }) => /^\s*(from|import)\s+(telethon|pyrogram)\b/m.test(text));
  const lease = files.some(
    ({ path, text }) =>
      (basename(path) === 'singlepoll.toml' || (isKind('env', path) && !isKind('example', path))) &&
      /^\s*(export\s+)?(SINGLEPOLL_LEASE|lease)\s*=\s*\S/m.test(text),
  );
  return {
    ...{ project, texts, files, code },
    runs: createRuns(texts, code, lease),
    /** Every place that polls, or sets a webhook. */
    ...{ polls, webhooks },
    /** There is Telegram code, and none of it polls. */
    isForWebhook: polls.length === 0 && (webhooks.length > 0 || isMtproto),
    /** The project says that it shares one. */
    lease,
  };
}

function processesIn(file: string, content: string, texts: Texts) {
  const places = PLACES.filter((place) => place.file.test(file));
  const documents = places.some(({ lines }) => !lines) ? readDocuments(file, content) : [];
  return places.flatMap(({ manager, lines, steps, keys, more }, index) =>
    (lines ? linesIn(file, content, manager, lines) : documents).flatMap((document) => {
      const root = document.value;
      // A file of fly.io names its app, and may name its processes.
      const isSaid = index > 0 && keys[0] === '-' && pathsOf(root, places[index - 1]!.steps).length > 0;
      if (isSaid || (more.when !== undefined && at(root, [more.when]) === undefined)) return [];
      return pathsOf(root, steps).map((path) => {
        const value = at(root, path);
        const inside = stepsOf(more.folder ?? '-');
        const said = text(at(value, inside)) ?? text(at(value, inside.slice(0, 1))) ?? '.';
        const folder = 'root' in more ? '' : (joinPath(folderOf(file), said) ?? folderOf(file));
        const words = keys.map((key) => commandText(key === '=' ? value : at(value, [key])) ?? '');
        const line = words
          .join(' ')
          .trim()
          .replace(/^[-@:+!]+(?=\/)/, '');
        const chart = /^name:\s*(\S+)/m.exec(texts.get(joinPath(folder, 'Chart.yaml')!) ?? '')?.[1];
        const key = (manager === 'workflow' ? path[1] : path.at(-1))?.toString().replace(/^program:/, '');
        const named = more.name ? stepsOf(more.name) : [...path, 'name'];
        const name = text(at(root, named)) ?? key ?? chart ?? 'app';
        const isServer = manager === 'systemd' || manager === 'cron';
        return {
          ...{ manager, file, name, folder, document, path, of: more.of },
          line: document.lineOf('line' in more ? [...path, keys[0]!] : path),
          /** The line of shell; empty where the file leaves it to the image or the platform. */
          command: line && `${more.run?.replaceAll('+', ' ') ?? ''} ${line}`.trim(),
          isForDevelopment: !isServer && [file, name].some(isForDevelopment),
        };
      });
    }),
  );
}

/** Each line of a file that says a process, as a document. */
function linesIn(file: string, content: string, manager: string, pattern: RegExp): Document[] {
  const whole = content.replace(/\\\r?\n/g, (it) => ' '.repeat(it.length));
  const matches = [...(manager === 'docker' ? whole : content).matchAll(pattern)];
  const found = matches.map(({ 1: name, 2: command = '', index }) => ({
    value: { name: name || basename(file), command: command.trim() },
    lineOf: () => lineAt(content, index),
  }));
  if (manager !== 'docker') return found;
  // An image runs CMD, after ENTRYPOINT where that is an array.
  const [entry, cmd] = [/^E/i, /^C/i].map((kind) => found.findLast(({ value }) => kind.test(value.name)));
  const both = [entry, entry && !entry.value.command.startsWith('[') ? undefined : cmd].filter((it) => !!it);
  const words = both.map(({ value: { command: it } }) =>
    it.startsWith('[') ? commandText(readDocuments('', it)[0]?.value) : it,
  );
  return both.slice(-1).map((it) => ({ ...it, value: { name: 'CMD', command: words.join(' ').trim() } }));
}

const INFRASTRUCTURE =
  /^(?:[\w.:-]+\/)*(postgres|postgresql|mysql|mariadb|mongo|redis|valkey|nginx|traefik|caddy|rabbitmq|kafka|zookeeper|elasticsearch|grafana|prometheus|minio|memcached|adminer|pgadmin4?|certbot|vault|etcd|busybox|alpine|telegram-bot-api)(?:[:@-]|$)/;
/** Where these say no command, the image or the platform has one. */
const BY_IMAGE = /^(compose|kubernetes|fly|render|railway|digitalocean|appengine)$/;

function judge(said: Said, all: readonly Said[], facts: Studied) {
  const { manager, command, name, document, path } = said;
  const { lease, isForWebhook } = facts;
  const value = at(document.value, path);
  const image = text(table(value).image) ?? text(at(value, ['image', 'repository'])) ?? '';
  const isOthers = INFRASTRUCTURE.test(image);
  const meant = command === '' && !isOthers && BY_IMAGE.test(manager) ? impliedBy(said, all) : said;
  const set = command.match(/\b(FLASK_\w+|WEB_CONCURRENCY)=\S+/g) ?? [];
  const runs = facts.runs(meant.command, meant.folder).map((run) => ({
    ...run,
    /** For the rules about commands. */
    text: [...run.words, ...set, ...(run.watcher ? [`WATCHED_BY=${run.watcher}`] : [])].join(' '),
    polls: pollsOf(run, facts),
  }));
  const environment = [document.value, value].map(environmentOf).join();
  const { name: title, script } = table(value);
  const names = [name, title, script, table(document.value).app, image.split(/[/:@]/).join(' ')];
  const hasToken = /BOT_?TOKEN|TELEGRAM\w*TOKEN|\bTG_\w*TOKEN/i.test(environment);
  const isLikely =
    !(runs.at(-1)?.target || isOthers || isForWebhook || /^(cron|workflow)$/.test(manager)) &&
    (hasToken || isBotName(names.join(' ')));
  const isLeased =
    environment.includes('SINGLEPOLL_LEASE') ||
    runs.some((it) => it.isLeased) ||
    (lease && runs.length === 0);
  const polls = runs.find((it) => it.polls !== null)?.polls ?? null;
  // It polls, or is likely to, and no lease keeps its copies apart.
  return { ...said, runs, polls, isSuspect: (polls !== null || isLikely) && !isLeased };
}

/** nodemon alone starts the project itself; Django loads every app, and polling stands in some apps.py. */
function pollsOf({ program, words, target, way }: Run, { code, files, polls }: Studied): Evidence | null {
  if (target === null) {
    const isProject = /^(nodemon|air|gow|pm2.*)$/.test(program);
    return (isProject && !/test|jest|mocha|lint|tsc|build|check/.test(words.join(' ')) && polls[0]) || null;
  }
  const apps = files.filter(({ path }) => words.includes('runserver') && basename(path) === 'apps.py');
  const found = [code.polls(target, way), ...apps.map(({ path }) => code.polls(path, 'import'))];
  return found.find((it) => it !== null) ?? null;
}

/**
 * An image without a command runs what the Dockerfile says that it is built from, else the project's only one; App Engine runs gunicorn
 * where there is none.
 */
function impliedBy(said: Said, all: readonly Said[]): { command: string; folder: string } {
  const { build } = table(at(said.document.value, said.path));
  const name = joinPath(said.folder, text(table(build).dockerfile) ?? 'Dockerfile');
  const images = all.filter((it) => it.manager === 'docker');
  const own = images.filter((it) => build !== undefined && it.file === name);
  const [image, ...others] = own.length > 0 ? own : images.filter((it) => !it.isForDevelopment);
  if (image && others.length === 0) return image;
  return said.manager === 'appengine' ? { command: 'gunicorn main:app', folder: said.folder } : said;
}
