/** From what is known of a project to the text of its singlepoll.toml. Pure. */

import { parseEnvFile } from '../config/files.ts';
import { TOKEN_VARIABLES } from '../config/token.ts';
import { STRAY_PATTERN } from '../config/values.ts';
import { tokensIn } from '../doctor/tokens.ts';
import { withoutComments } from '../project/code.ts';
import type { Facts } from '../project/facts.ts';
import { baseOf, folderOf, isExample } from '../project/files.ts';
import { isEnvFile, languageOf } from '../project/kinds.ts';
import type { Launch } from '../project/launches.ts';
import type { Run } from '../project/run.ts';

export interface Draft {
  readonly toml: string;
  /** Null: none was found; the file shows where to put it. */
  readonly command: readonly string[] | null;
  /** `worker: in Procfile`. */
  readonly commandFrom: string | null;
}

/** What the machine has, as far as the choice of a command depends on it. */
export interface Programs {
  /** In PATH; a path: there. */
  has(program: string): boolean;
  /** Path of the interpreter of the project's virtualenv, relative to it. */
  readonly venvPython: string | null;
}

interface Choice {
  readonly command: readonly string[];
  readonly from: string;
  /** What was changed, and why. */
  readonly remark: string | null;
}

/** `typed`: what the user answered when asked for a command; null where nobody was asked. */
export function draft(facts: Facts, programs: Programs, typed: readonly string[] | null): Draft {
  const choice = typed
    ? { command: typed, from: 'as you typed it', remark: null }
    : chooseCommand(facts, programs);
  const lines = [
    '# singlepoll: the only poller of this bot.  singlepoll start --dry-run shows what it would do; singlepoll start --help all options.',
    '',
    ...commandLines(choice),
    '',
    ...tokenLines(facts),
    ...strayLines(facts, choice),
    ...leaseLines(facts),
    '# From SIGTERM to SIGKILL. Platforms have their own: keep it below theirs (Docker 10s, Kubernetes and Heroku 30s).',
    '# stopTimeout = "15s"',
    '',
    '# More restarts than this are a crash loop: singlepoll gives up with the code of the bot.',
    '# maxRestarts = "10/5m"',
    '',
    '# The bot gets a token that is only good at singlepoll’s gateway.',
    '# sealed = true',
  ];
  return {
    toml: `${lines.join('\n')}\n`,
    command: choice?.command ?? null,
    commandFrom: choice?.from ?? null,
  };
}

function commandLines(choice: Choice | null): string[] {
  if (choice === null) {
    return [
      '# The bot, as you start it by hand. None was found in the project:',
      '# command = ["python", "bot.py"]',
    ];
  }
  const remark = choice.remark === null ? [] : [`# ${choice.remark}`];
  return [`# The bot: ${choice.from}.`, ...remark, `command = [${choice.command.map(tomlText).join(', ')}]`];
}

/** A basic string of TOML. */
export function tomlText(text: string): string {
  return JSON.stringify(text).replace(/\u007f/g, '\\u007F');
}

/** Strongest first: what production runs, before what somebody types, before what only looks as if it could be run. */
const PREFERENCE = [
  'procfile',
  'systemd',
  'supervisord',
  'docker',
  'compose',
  'fly',
  'render',
  'railway',
  'heroku',
  'digitalocean',
  'kubernetes',
  'npm',
  'make',
  'shell',
];
const NAMES = ['worker', 'bot', 'start', 'web'];

export function chooseCommand(facts: Facts, programs: Programs): Choice | null {
  const rank = ({ manager, name, polls, development }: Launch): number =>
    (polls ? 0 : 1_000) +
    (development ? 100 : 0) +
    PREFERENCE.indexOf(manager) * 5 +
    (NAMES.includes(name) ? NAMES.indexOf(name) : NAMES.length);
  const usable = facts.launches
    .filter(
      ({ manager, runs }) => PREFERENCE.includes(manager) && runs.length > 0 && runs.at(-1)!.target !== null,
    )
    .filter(({ polls }) => polls !== null || facts.polls.length === 0)
    .sort((a, b) => rank(a) - rank(b));
  for (const launch of usable) {
    const run =
      launch.runs.find(({ target, way }) => target !== null && facts.reach.polls(target, way)) ??
      launch.runs.at(-1)!;
    const choice = fromRun(run, launch, programs);
    if (choice) return choice;
  }
  return fromSource(facts, programs);
}

function fromRun(run: Run, launch: Launch, programs: Programs): Choice | null {
  const inFolder =
    run.target !== null &&
    launch.folder !== '' &&
    !run.words.some((word) => word.startsWith(`${launch.folder}/`));
  // A command of another folder would not find its files from here.
  if (inFolder) return null;
  let words = run.watcher === null ? [...run.words] : plainly(run);
  let remark = run.watcher === null ? null : `Without ${run.watcher}: singlepoll starts it again by itself.`;
  if (/^(gunicorn|uvicorn|hypercorn|granian)$/.test(run.program)) {
    const single = oneWorker(words);
    if (single.join(' ') !== words.join(' ')) {
      words = single;
      remark = 'One worker: each of several would poll.';
    }
  }
  if (words.some((word) => /^\$/.test(word) || /\$\{?\w/.test(word))) {
    words = [
      'sh',
      '-c',
      `exec ${words.map((word) => (/^[\w$./:=@%+,{}-]+$/.test(word) ? word : `'${word}'`)).join(' ')}`,
    ];
    return { command: words, from: source(launch), remark };
  }
  return { command: interpreted(words, run.target, programs), from: source(launch), remark };
}

function source({ manager, file, name }: Launch): string {
  if (manager === 'procfile') return `${name}: in ${file}`;
  if (manager === 'npm') return `the script ${name} in ${file}`;
  if (manager === 'docker') return `CMD in ${file}`;
  return `${name} in ${file}`;
}

function plainly(run: Run): string[] {
  const file = run.target!;
  if (languageOf(file) === 'python') return ['python', file];
  return /\.[cm]?tsx?$/.test(file) ? ['npx', 'tsx', file] : ['node', file];
}

function oneWorker(words: readonly string[]): string[] {
  const kept: string[] = [];
  for (let at = 0; at < words.length; at++) {
    const word = words[at]!;
    if (/^(--workers|-w)$/.test(word)) at += 1;
    else if (!/^(--workers=|-w\d|--reload$)/.test(word)) kept.push(word);
  }
  return [...kept, '--workers=1'];
}

/** The project's own interpreter, and paths of a container as they are here. */
function interpreted(words: readonly string[], target: string | null, programs: Programs): string[] {
  const local = words.map((word) =>
    target !== null && word.startsWith('/') && word.endsWith(`/${target}`) ? target : word,
  );
  const [given = '', ...rest] = local;
  // A unit file names the interpreter of another machine.
  const program = given.startsWith('/') && !programs.has(given) ? baseOf(given) : given;
  if (/^(\/usr\/(local\/)?bin\/)?python[\d.]*$/.test(program)) {
    if (programs.venvPython !== null) return [programs.venvPython, ...rest];
    const name = baseOf(program);
    return [programs.has(name) ? name : programs.has('python3') ? 'python3' : name, ...rest];
  }
  if (programs.venvPython !== null && /^(gunicorn|uvicorn|hypercorn|flask)$/.test(program)) {
    return [programs.venvPython, '-m', program, ...rest];
  }
  if (!programs.has(program) && /^(tsx|ts-node|nodemon|bun)$/.test(program)) return ['npx', ...local];
  return [program, ...rest];
}

/** Nothing says how it is started: the file that polls, if it can be told which. */
function fromSource(facts: Facts, programs: Programs): Choice | null {
  const candidates = [...new Set(facts.polls.map(({ file }) => file))].filter(
    (file) => languageOf(file) !== 'other-code',
  );
  const entries = candidates
    .map((file) => ({ file, entry: entryFor(facts, file) }))
    .filter(({ entry }) => facts.reach.polls(entry, 'run') !== null)
    .sort((a, b) => weight(a.entry) - weight(b.entry));
  const found = entries[0]?.entry;
  // Several packages that poll are several bots: which of them is meant can't be told.
  if (found === undefined || new Set(entries.map(({ entry }) => packageOf(facts, entry))).size > 1)
    return null;
  const words =
    languageOf(found) === 'python'
      ? ['python', found]
      : /\.[cm]?tsx?$/.test(found)
        ? ['npx', 'tsx', found]
        : ['node', found];
  return { command: interpreted(words, found, programs), from: `${found}, which polls`, remark: null };
}

/** The folder with the manifest that a file belongs to. */
function packageOf(facts: Facts, path: string): string {
  for (let folder = folderOf(path); ; folder = folderOf(folder)) {
    const manifest = /^(package\.json|pyproject\.toml|requirements\.txt)$/;
    if (
      folder === '' ||
      facts.project.files.some((file) => folderOf(file.path) === folder && manifest.test(baseOf(file.path)))
    ) {
      return folder;
    }
  }
}

/** The program that imports the file that polls, where there is one. */
function entryFor(facts: Facts, file: string): string {
  const language = languageOf(file);
  const main = facts.project.files.find(
    ({ path }) =>
      path !== file &&
      languageOf(path) === language &&
      /^(main|__main__|app|bot|index|run|server)\.\w+$/.test(baseOf(path)) &&
      facts.reach.files(path).includes(file) &&
      facts.reach.polls(path, 'run') !== null,
  );
  return main?.path ?? file;
}

function weight(path: string): number {
  const name = baseOf(path).replace(/\.\w+$/, '');
  const known = ['bot', 'main', 'index', 'app', 'run', 'worker', '__main__'].indexOf(name);
  const old = /(^|[_-])(old|legacy|backup|copy|test|v\d|simple|working|production|new|tmp)([_-]|$)/i.test(
    name,
  )
    ? 50
    : 0;
  return path.split('/').length * 10 + (known < 0 ? 9 : known) + old;
}

/** A token under a name that singlepoll does not know by itself. */
function tokenLines(facts: Facts): string[] {
  const names = new Set<string>();
  let known = false;
  for (const { path, text } of facts.project.files) {
    if (text === null || !isEnvFile(path) || isExample(path) || path !== '.env') continue;
    for (const [name, value] of Object.entries(parseEnvFile(text).vars)) {
      if (tokensIn(value).length === 0) continue;
      if ((TOKEN_VARIABLES as readonly string[]).includes(name)) known = true;
      else names.add(name);
    }
  }
  const [only] = names;
  if (known || only === undefined) {
    return [
      '# The token is taken from TELEGRAM_BOT_TOKEN, BOT_TOKEN or TELEGRAM_TOKEN, in the environment or .env.',
      '# tokenEnv = "MY_BOT_TOKEN"',
      '',
    ];
  }
  return ['# The variable that holds the token, found in .env.', `tokenEnv = ${tomlText(only)}`, ''];
}

/** Other programs of the project that poll: a forgotten one of them is a stray. */
export function strayPatterns(facts: Facts, command: readonly string[]): string[] {
  const own = new Set(
    facts.project.files
      .map(({ path }) => path)
      .filter((path) => command.some((word) => word === path || word.endsWith(`/${path}`))),
  );
  const reached = new Set([...own].flatMap((path) => facts.reach.files(path)));
  const others = new Set(
    facts.polls
      .map(({ file }) => file)
      .filter((file) => !reached.has(file) && languageOf(file) !== 'other-code'),
  );
  return [...others]
    .filter((file) => facts.reach.polls(file, 'run') !== null)
    .filter((file) => !/^(index|main|app|__init__|__main__)\.\w+$/.test(baseOf(file)))
    .map((file) => `${baseOf(file).replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`)
    .filter((pattern) => STRAY_PATTERN.parse(pattern).ok)
    .slice(0, 8);
}

function strayLines(facts: Facts, choice: Choice | null): string[] {
  const patterns = strayPatterns(facts, choice?.command ?? []);
  const shown = patterns.length > 0 ? patterns : ['old_bot\\.py$'];
  return [
    patterns.length > 0
      ? '# Other programs of this project poll, too. As strays they are stopped where they run in this folder:'
      : '# Programs of this project that once polled, and are to be stopped where they still run in this folder:',
    `# stray = [${shown.map((pattern) => (/['\n]/.test(pattern) ? tomlText(pattern) : `'${pattern}'`)).join(', ')}]`,
    '',
  ];
}

/** Where several machines are near, and what they could share. */
function leaseLines(facts: Facts): string[] {
  const { files } = facts.project;
  const variable = (pattern: RegExp) => {
    for (const { path, text } of files) {
      if (
        text === null ||
        !(isEnvFile(path) || /compose[\w.-]*\.ya?ml$|render\.yaml$|fly\.toml$|app\.json$/.test(path))
      )
        continue;
      const match = pattern.exec(withoutComments('x.conf', text));
      if (match) return { name: match[1]!, path };
    }
    return null;
  };
  const kubernetes = files.find(
    ({ path, text }) =>
      /\.ya?ml$/.test(path) && text !== null && /^kind:\s*(Deployment|StatefulSet)\b/m.test(text),
  );
  const redis = variable(/\b(\w*(?:REDIS|VALKEY)_URL)\b/);
  const postgres = variable(/\b(DATABASE_URL|POSTGRES(?:QL)?_URL)\b/);
  const hint = redis
    ? { value: `env:${redis.name}`, why: `${redis.name} is named in ${redis.path}` }
    : kubernetes
      ? { value: 'k8s:', why: `${kubernetes.path} runs it in Kubernetes` }
      : postgres
        ? { value: `env:${postgres.name}`, why: `${postgres.name} is named in ${postgres.path}; PostgreSQL` }
        : null;
  return [
    hint
      ? `# Several machines or copies, and rolling deploys: one polls, the others stand by (${hint.why}).`
      : '# Several machines or copies, and rolling deploys: one polls, the others stand by. redis://, postgres://, etcd://, k8s:',
    `# lease = ${tomlText(hint?.value ?? 'env:LEASE_URL')}`,
    '',
  ];
}

/** How well the code takes its API root: the file that names TELEGRAM_API_ROOT, or null. */
export function readsApiRoot(facts: Facts): string | null {
  return (
    facts.project.files.find(
      ({ path, text }) => languageOf(path) !== null && text?.includes('TELEGRAM_API_ROOT'),
    )?.path ?? null
  );
}
