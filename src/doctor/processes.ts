/** Every process that the project's files say is started, and whether it polls. A table says which file tells it, and where. */
import { basename } from 'node:path';
import { studyCode } from './code.ts';
import { createRuns } from './commands.ts';
import {
  at,
  commandText,
  type Document,
  environmentOf,
  type Path,
  pathsOf,
  readDocuments,
  stepsOf,
  text,
} from './documents.ts';
import { folderOf, isBotName, isForDevelopment, joinPath, lineAt, type Project } from './files.ts';

/**
 * Manager, its file, steps to each process or a pattern of lines with its name and its command, keys of its command (`=`: the value
 * itself, `-`: none), and what else is to know: `when` a key is there, `unless` one is; where `name` and `folder` stand; `root`: its folder is another machine's; `line`: of the command, not of the
 * process; `run`: the program in front of the command; `of`: these only say how many there are of the processes of that manager.
 */
const PLACES = String.raw`
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
fly           fly([.-][\w-]+)?\.toml                        app                              -                      name=app unless=processes
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
docker        ([Dd]ockerfile|Containerfile)([.-][\w.-]+)?|.*\.[Dd]ockerfile  >           command
make          (GNUm|[Mm])akefile                             /(?<=^([\w.-]+)\s*:(?!=).*\n(?:\t.*\n){0,50})\t[@-]*(.*)$/  command
shell         .*\.(sh|bash)                                  /^()(?!\s*#)(.*\b(?:gunicorn|uvicorn|hypercorn|flask|fastapi|python|node|nodemon|npm|pm2|tsx|watchmedo|singlepoll)\b.*)$/  command
cron          crontab|.*\.cron                               /^[ \t]*((?:[\d*\/,-]+[ \t]+){4}[\w*\/,-]+|@\w+)[ \t]+(?:root[ \t]+)?(.*)$/  command  root`
  .trim()
  .split('\n')
  .map((row) => {
    const [manager = '', file, place = '', keys = '', rest = ''] = row.split(/ {2,}/);
    const more = Object.fromEntries(rest.split(' ').map((it) => it.split('='))) as Record<string, string>;
    const lines = place.startsWith('/') ? RegExp(place.slice(1, -1), 'gim') : null;
    const steps = lines ? [] : stepsOf(place);
    return { manager, file: RegExp(`(^|/)(${file})$`), lines, steps, keys: keys.split(' '), more };
  });

type Said = ReturnType<typeof processesIn>[number];
export type Process = Facts['processes'][number];
export type Facts = ReturnType<typeof studyProject>;

export function studyProject(project: Project) {
  const known = studyCode(project);
  const runsOf = createRuns(known);
  const placed = known.files.flatMap(({ path, text }) => processesIn(path, text, known.texts));
  const said = placed.filter(({ of }) => of === undefined);
  const own = said.map((it) => {
    const isOthers = INFRASTRUCTURE.test(it.image);
    const meant = it.command === '' && !isOthers && BY_IMAGE.test(it.manager) ? impliedBy(it, said) : it;
    const runs = runsOf(meant.command, meant.folder);
    const polls = runs.find((run) => run.polls !== null)?.polls ?? null;
    const isKnown = isOthers || known.isForWebhook || /^(cron|workflow)$/.test(it.manager);
    const isLikely = it.isLikely && !isKnown && !runs.at(-1)?.target;
    const isLeased = it.isLeased || runs.some((run) => run.isLeased) || (known.lease && runs.length === 0);
    // It polls, or is likely to, and no lease keeps its copies apart.
    return { ...it, runs, polls, isSuspect: (polls !== null || isLikely) && !isLeased };
  });
  const counted = placed.flatMap((it) => {
    const meant = own.find(({ manager, name }) => manager === it.of && name === it.name);
    return meant ? [{ ...meant, ...it }] : [];
  });
  return { ...known, processes: [...own, ...counted] };
}

function processesIn(file: string, content: string, texts: ReadonlyMap<string, string>) {
  const places = PLACES.filter((place) => place.file.test(file));
  const documents = places.some(({ lines }) => !lines) ? readDocuments(file, content) : [];
  return places.flatMap(({ manager, lines, steps, keys, more }) =>
    (lines ? linesIn(file, content, lines) : documents).flatMap((document) => {
      const root = document.value;
      const { when, unless } = more;
      if ((when && at(root, [when]) === undefined) || (unless && at(root, [unless]) !== undefined)) return [];
      return pathsOf(root, steps).map((path) => {
        const value = at(root, path);
        const textAt = (steps: Path) => text(at(value, steps));
        const inside = stepsOf(more.folder ?? '-');
        const said = textAt(inside) ?? textAt(inside.slice(0, 1)) ?? '.';
        const folder = 'root' in more ? '' : (joinPath(folderOf(file), said) ?? folderOf(file));
        const words = keys.map((key) => commandText(key === '=' ? value : at(value, [key])) ?? '');
        const line = words.join(' ').trim();
        const chart = /^name:\s*(\S+)/m.exec(texts.get(joinPath(folder, 'Chart.yaml')!) ?? '')?.[1];
        const key = (manager === 'workflow' ? path[1] : path.at(-1))?.toString().replace(/^program:/, '');
        const name =
          text(at(root, more.name ? stepsOf(more.name) : [...path, 'name'])) ?? key ?? chart ?? 'app';
        const image = textAt(['image']) ?? textAt(['image', 'repository']) ?? '';
        const names = [
          name,
          textAt(['name']),
          textAt(['script']),
          text(at(root, ['app'])),
          image.split(/[/:@]/).join(' '),
        ];
        const environment = [root, value].map(environmentOf).join();
        return {
          ...{ manager, file, name, folder, document, path, value, image, of: more.of },
          line: document.lineOf('line' in more ? [...path, keys[0]!] : path),
          /** The line of shell; empty where the file leaves it to the image or the platform. */
          command:
            line && `${more.run?.replaceAll('+', ' ') ?? ''} ${line.replace(/^[-@:+!]+(?=\/)/, '')}`.trim(),
          isForDevelopment: !/^(systemd|cron)$/.test(manager) && [file, name].some(isForDevelopment),
          /** By its environment and its names a bot. */
          isLikely: HAS_TOKEN.test(environment) || isBotName(names.join(' ')),
          isLeased: environment.includes('SINGLEPOLL_LEASE'),
        };
      });
    }),
  );
}

/** Each line of a file that says a process, as a document. */
const linesIn = (file: string, content: string, pattern: RegExp): Document[] =>
  [...content.matchAll(pattern)].map(({ 1: name, 2: command = '', index }) => ({
    value: { name: name || basename(file), command: command.trim() },
    lineOf: () => lineAt(content, index),
  }));

const HAS_TOKEN = /BOT_?TOKEN|TELEGRAM\w*TOKEN|\bTG_\w*TOKEN/i;
const INFRASTRUCTURE =
  /^(?:[\w.:-]+\/)*(postgres|postgresql|mysql|mariadb|mongo|redis|valkey|nginx|traefik|caddy|rabbitmq|kafka|zookeeper|elasticsearch|grafana|prometheus|minio|memcached|adminer|pgadmin4?|certbot|vault|etcd|busybox|alpine|telegram-bot-api)(?:[:@-]|$)/;
/** Where these say no command, the image or the platform has one. */
const BY_IMAGE = /^(compose|kubernetes|fly|render|railway|digitalocean|appengine)$/;

/**
 * An image without a command runs what the Dockerfile says that it is built from, else the project's only one; App Engine runs gunicorn
 * where there is none.
 */
function impliedBy(said: Said, all: readonly Said[]): { command: string; folder: string } {
  const name = joinPath(said.folder, text(at(said.value, ['build', 'dockerfile'])) ?? 'Dockerfile');
  const images = all.filter((it) => it.manager === 'docker');
  const own = images.filter((it) => at(said.value, ['build']) !== undefined && it.file === name);
  const [image, ...others] = own.length > 0 ? own : images.filter((it) => !it.isForDevelopment);
  if (image && others.length === 0) return image;
  return said.manager === 'appengine' ? { command: 'gunicorn main:app', folder: said.folder } : said;
}
