/** The processes that the project's files start, the source file that each runs in the end, and whether that polls. */
import { basename } from 'node:path';
import { languageOf, studyCode } from './code.ts';
import { at, commandText, environmentOf, pathsOf, readDocuments, stepsOf, text } from './documents.ts';
import { folderOf, isKind, joinPath, lineAt, type Project, pathsInProject } from './files.ts';

/**
 * Columns: the manager; its file; the steps to each process in it, or a pattern of lines with the name and the command of one; the keys of
 * its command (`=`: the value itself, `-`: none); and what else is to know:
 * `when`, `unless`: only where the document has this key, or has it not. `name`, `folder`: where these stand.
 * `root`: it runs in the folder of the project, as a folder that the file names is another machine's.
 * `line`: findings name the line of the command. `run`: the program in front of the command.
 * `of`: the file says only how many there are of this manager's processes.
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

export type Process = Facts['processes'][number];
export type Facts = ReturnType<typeof studyProject>;

export function studyProject(project: Project) {
  const known = studyCode(project);
  const runsOf = createRuns(known);
  const placed = known.files.flatMap(({ path, text }) => processesIn(path, text, known.texts));
  const said = placed.filter(({ of }) => of === undefined);
  const own = said.map((it) => {
    const isOthers = INFRASTRUCTURE.test(it.image);
    const meant = it.command === '' && !isOthers && BY_IMAGE.test(it.manager) ? impliedBy(it) : it;
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

  /** What an image without a command runs: what its Dockerfile says, else the project's only one; on App Engine gunicorn. */
  function impliedBy(it: (typeof said)[number]): { command: string; folder: string } {
    const build = at(it.value, ['build']);
    const path = build && joinPath(it.folder, text(at(build, ['dockerfile'])) ?? 'Dockerfile');
    const images = said.filter(({ manager }) => manager === 'docker');
    const usual = images.filter((image) => !image.isForDevelopment);
    const image = images.find(({ file }) => file === path) ?? (usual.length === 1 ? usual[0] : null);
    return image ?? (it.manager === 'appengine' ? { ...it, command: 'gunicorn main:app' } : it);
  }
}

function processesIn(file: string, content: string, texts: ReadonlyMap<string, string>) {
  const places = PLACES.filter((place) => place.file.test(file));
  const documents = places.some(({ lines }) => !lines) ? readDocuments(file, content) : [];
  const lineAsDocument = ({ 1: name, 2: command = '', index }: RegExpExecArray) => ({
    value: { name: name || basename(file), command: command.trim() },
    lineOf: () => lineAt(content, index),
  });
  return places.flatMap(({ manager, lines, steps, keys, more }) =>
    (lines ? [...content.matchAll(lines)].map(lineAsDocument) : documents).flatMap((document) => {
      const root = document.value;
      const { when, unless } = more;
      if ((when && at(root, [when]) === undefined) || (unless && at(root, [unless]) !== undefined)) return [];
      return pathsOf(root, steps).map((path) => {
        const value = at(root, path);
        const textAt = (steps: string) => text(at(value, stepsOf(steps)));
        // Compose takes the folder as `build`, too.
        const inside = more.folder ?? '-';
        const said = textAt(inside) ?? textAt(inside.replace(/>.*/, '')) ?? '.';
        const folder = 'root' in more ? '' : (joinPath(folderOf(file), said) ?? folderOf(file));
        const words = keys.map((key) => commandText(key === '=' ? value : at(value, [key])) ?? '');
        const line = words.join(' ').trim();
        const chart = /^name:\s*(\S+)/m.exec(texts.get(joinPath(folder, 'Chart.yaml')!) ?? '')?.[1];
        const key = (manager === 'workflow' ? path[1] : path.at(-1))?.toString().replace(/^program:/, '');
        const name =
          text(at(root, more.name ? stepsOf(more.name) : [...path, 'name'])) ?? key ?? chart ?? 'app';
        const image = textAt('image') ?? textAt('image>repository') ?? '';
        const { name: title, script } = Object(value);
        const names = [name, title, script, at(root, ['app']), image.replace(/[/:@]/g, ' ')].join(' ');
        const environment = environmentOf(root) + environmentOf(value);
        return {
          ...{ manager, file, name, folder, document, path, value, image, of: more.of },
          line: document.lineOf('line' in more ? [...path, keys[0]!] : path),
          /** The line of shell; empty where the file leaves it to the image or the platform. */
          command:
            line && `${more.run?.replaceAll('+', ' ') ?? ''} ${line.replace(/^[-@:+!]+(?=\/)/, '')}`.trim(),
          isForDevelopment:
            !/^(systemd|cron)$/.test(manager) && [file, name].some((it) => isKind('development', it)),
          /** By its environment and its names a bot. */
          isLikely: HAS_TOKEN.test(environment) || isKind('bot', names),
          isLeased: environment.includes('SINGLEPOLL_LEASE'),
        };
      });
    }),
  );
}

const HAS_TOKEN = /BOT_?TOKEN|TELEGRAM\w*TOKEN|\bTG_\w*TOKEN/i;
const INFRASTRUCTURE =
  /^(?:[\w.:-]+\/)*(postgres|postgresql|mysql|mariadb|mongo|redis|valkey|nginx|traefik|caddy|rabbitmq|kafka|zookeeper|elasticsearch|grafana|prometheus|minio|memcached|adminer|pgadmin4?|certbot|vault|etcd|busybox|alpine|telegram-bot-api)(?:[:@-]|$)/;
const BY_IMAGE = /^(compose|kubernetes|fly|render|railway|digitalocean|appengine)$/;

const SERVER = /^(gunicorn|uvicorn|hypercorn|daphne|granian|waitress-serve|uwsgi|flask|fastapi|litestar)$/;
const PYTHON = /^python[\d.]*$/;
const SCRIPTING = /^(node|tsx|ts-node|bun|deno|nodemon|ts-node-dev|tsnd|pm2(-\w+)?)$/;
const WATCHER =
  /(?<=^|[\s/])(?:(nodemon|node-dev|ts-node-dev|tsnd|watchmedo|watchfiles|hupper|watchexec|entr|reflex|air|supervisor|onchange|gow)|(node|bun|tsx|deno)\b.*? (--watch|--hot|(?<=tsx )watch)(?:-path)?)(?=[\s=]|$)/;
const RUNS_LINES = /^((ba|da|a|z)?sh|concurrently|run-p|npm-run-all)$/;
/** Scripts may start each other in a circle. */
const DEPTH_MAX = 8;

const isWatcher = (word: string): boolean => !/\s/.test(word) && WATCHER.test(word);
const isProgram = (word: string): boolean =>
  !isWatcher(word) && [SERVER, PYTHON, SCRIPTING].some((it) => it.test(basename(word)));

/** `A=1 exec x -f "y z" > log && cd z` → [['exec', 'x', '-f', 'y z'], ['cd', 'z']]. Variables stay as `$NAME`. */
export function commandsOf(line: string): string[][] {
  const plain = line
    .replace(/\\\r?\n/g, ' ')
    // ${NAME:-4}: the default is what runs unless somebody says otherwise.
    .replace(/\$\{\w+:?-([\w./-]*)\}/g, '$1')
    .replace(/(?<=^|\s)#.*|\d?>{1,2}\s*&?\S+|<\s*\S+/gm, ' ');
  const commands = plain.match(/(?:"(?:\\.|[^"])*"|'[^']*'|[^;&|\n"'])+/g) ?? [];
  return commands.flatMap((command) => {
    const words = command.match(/(?:"(?:\\.|[^"])*"|'[^']*'|[^\s"'])+/g) ?? [];
    const from = words.findIndex(
      (word) => !/^[A-Za-z_]\w*=|^(exec|env|then|do|else|if|while|!|@|-)$/.test(word),
    );
    return from < 0 ? [] : [words.slice(from).map((word) => word.replace(/"([^"]*)"|'([^']*)'/g, '$1$2'))];
  });
}

function createRuns({ texts, files, polls, lease, source, pollsOf }: ReturnType<typeof studyCode>) {
  type Run = ReturnType<typeof runOf>;

  /** `before`: the words that start this line. */
  function runsOf(line: string, folder: string, before: readonly string[] = [], depth = 0): Run[] {
    let here = folder;
    return commandsOf(line).flatMap((all) => {
      if (all[0] === 'cd') here = joinPath(here, all[1] ?? '') ?? here;
      if (all[0] === 'cd' || depth > DEPTH_MAX) return [];
      const whole = [...before, ...all.filter((word) => !/\s/.test(word))];
      const inner = shellIn(all, here).flatMap((it) => runsOf(it, here, whole, depth + 1));
      const found = inner.filter(({ target }) => target !== null);
      return found.length > 0 ? found : runOf(all, whole, here);
    });
  }

  function runOf(all: readonly string[], whole: readonly string[], folder: string) {
    const first = all.findIndex(isProgram);
    const from = Math.max(0, first < 0 ? all.findIndex(isWatcher) : first);
    // From the program on, as what stands in front (env, tini, poetry run …) only runs it. Of `python -m gunicorn …` it is the module.
    const words = all.slice(all[from + 1] === '-m' && SERVER.test(all[from + 2] ?? '') ? from + 2 : from);
    const program = basename(words[0]!);
    const target = targetOf(words, program, folder);
    const line = whole.join(' ');
    const [, alone = null, runner, flag] = WATCHER.exec(line) ?? [];
    const watcher = runner ? `${runner} ${flag}` : alone;
    // `singlepoll start … --` stands in front.
    const isLeased = /(^|[\s/])singlepoll /.test(line) && (lease || / --lease[ =]/.test(line));
    const isTool = /test|jest|mocha|lint|tsc|build|check/.test(words.join(' '));
    // nodemon alone starts the project itself; Django loads every app, and polling stands in some apps.py.
    const project = /^(nodemon|air|gow|pm2.*)$/.test(program) && !isTool ? polls : [];
    const apps = files.filter(({ path }) => words.includes('runserver') && basename(path) === 'apps.py');
    const ways = target
      ? [pollsOf(target, !SERVER.test(program)), ...apps.map((it) => pollsOf(it.path, false))]
      : project;
    return { words, program, target, watcher, isLeased, polls: ways.find((it) => it !== null) ?? null };
  }

  /** The lines of shell that a command runs: those in quotes, of an npm script, of a shell script. */
  function shellIn(words: readonly string[], folder: string): string[] {
    const runsLines = words.some((it) => RUNS_LINES.test(basename(it)) || isWatcher(it));
    const quoted = runsLines ? words.filter((it) => /\s/.test(it)) : [];
    const npm = words.findIndex((it) => /^(npm|yarn|pnpm|bun)$/.test(it));
    const script = words.slice(npm + 1).find((it) => !/^(-.*|run(-script)?)$/.test(it)) ?? '';
    const named = npm < 0 ? null : text(at(manifestOf(folder), ['scripts', script]));
    const files = words.filter((it) => /\.(ba)?sh$|^\.\//.test(it) && languageOf(it) === null);
    const scripts = files.map((it) => pathsInProject(it, folder).find((path) => texts.has(path)));
    return [...quoted, named ?? '', ...scripts.map((it) => texts.get(it ?? '') ?? '')];
  }

  /** The package.json that counts in a folder. */
  function manifestOf(folder: string): unknown {
    const path = joinPath(folder, 'package.json')!;
    if (!texts.has(path) && folder !== '') return manifestOf(folderOf(folder));
    return readDocuments(path, texts.get(path) ?? '')[0]?.value;
  }

  /** The source file that the words lead to; `app.main:app` and `-m bot` are modules, and Flask and FastAPI know usual names. */
  function targetOf(words: readonly string[], program: string, folder: string): string | null {
    const root = / --(?:chdir|app-dir|pythonpath)[= ](\S+)/.exec(words.join(' '))?.[1];
    const here = joinPath(folder, root ?? '.') ?? folder;
    const usual = /^(flask|fastapi)$/.test(program) ? ['app', 'wsgi', 'main', 'app.main'] : [];
    const apps = SERVER.test(program) ? words.filter((it) => /^[\w.]+:/.test(it)) : [];
    const found = [...apps, ...words, ...usual].flatMap((word, index, all) => {
      const isModule = all[index - 1] === '-m' && PYTHON.test(program);
      const main = word === '.' && index > 0 ? (text(at(manifestOf(folder), ['main'])) ?? 'index.js') : word;
      const name = main.replace(/^--app=/, '').replace(/:.*/, '');
      // Node does not ask for an ending.
      const isScript = SCRIPTING.test(program) && index > 0 && languageOf(name) !== 'python';
      const language = isModule || SERVER.test(program) ? 'python' : isScript ? 'js' : languageOf(name);
      if (/^-|^\d*$|^gunicorn/.test(name) || language === null) return [];
      const module = isModule ? source(`${name}.__main__`, here, language) : null;
      return module ?? source(name, here, language) ?? [];
    });
    return found[0] ?? null;
  }

  return runsOf;
}
