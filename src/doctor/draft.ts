/** From what is known of a project to the text of its singlepoll.toml. */
import { basename } from 'node:path';
import { parseEnvFile } from '../config/files.ts';
import { TOKEN_VARIABLES } from '../config/token.ts';
import { STRAY_PATTERN } from '../config/values.ts';
import { singleQuote } from '../shell.ts';
import { languageOf } from './code.ts';
import type { Facts, Process } from './processes.ts';
import { tokensIn } from './tokens.ts';

/** What the machine has, as far as the choice of a command depends on it. */
export interface Programs {
  /** In PATH; a path: there. */
  has(program: string): boolean;
  /** Path of the interpreter of the project's virtualenv, relative to it. */
  readonly venvPython: string | null;
}

export function draft(facts: Facts, programs: Programs) {
  const choice = chooseCommand(facts, programs);
  const { command, from, remark } = choice ?? { command: null, from: null, remark: '' };
  const note = remark === '' ? '' : `\n# ${remark}`;
  const toml = `\
# singlepoll: the only poller of this bot.  singlepoll start --dry-run shows what it would do; singlepoll start --help all options.

${
  command === null
    ? '# The bot, as you start it by hand. None was found in the project:\n# command = ["python", "bot.py"]'
    : `# The bot: ${from}.${note}\ncommand = [${command.map(tomlText).join(', ')}]`
}

${tokenLines(facts)}

${strayLines(facts, command ?? [])}

${leaseLines(facts)}

# From SIGTERM to SIGKILL. Platforms have their own: keep it below theirs (Docker 10s, Kubernetes and Heroku 30s).
# stopTimeout = "15s"

# More restarts than this are a crash loop: singlepoll gives up with the code of the bot.
# maxRestarts = "10/5m"

# The bot gets a token that is only good at singlepoll’s gateway.
# sealed = true
`;
  return { toml, command, commandFrom: from };
}

/** A basic string of TOML. */
const tomlText = (text: string): string => JSON.stringify(text).replace(/\u007f/g, '\\u007F');

/** Strongest first: what production runs, before what somebody types. */
const MANAGERS =
  'procfile systemd supervisord docker compose fly render railway heroku digitalocean kubernetes npm make shell';
const NAMES = ['worker', 'bot', 'start', 'web'];

function chooseCommand(facts: Facts, programs: Programs) {
  const rank = ({ manager, name, isForDevelopment }: Process): number =>
    (isForDevelopment ? 1_000 : 0) + MANAGERS.indexOf(manager) + ((NAMES.indexOf(name) + 5) % 5) / 10;
  const choices = facts.processes
    .filter(({ manager }) => MANAGERS.includes(manager))
    .sort((a, b) => rank(a) - rank(b))
    .map((it) => (it.polls || facts.polls.length === 0 ? fromProcess(it, programs) : null));
  const [source] = programsThatPoll(facts);
  const choice = choices.find((it) => it !== null);
  if (choice || source === undefined) return choice;
  return { command: localWords(plainly(source), programs), from: `${source}, which polls`, remark: '' };
}

/** `from` is such as `worker: in Procfile`; `remark` says what was changed, and why. */
function fromProcess({ manager, file, name, folder, runs }: Process, programs: Programs) {
  const { words: given, program, target, watcher } = runs.find(({ polls }) => polls) ?? runs.at(-1) ?? {};
  // A command of another folder would not find its files from here.
  if (!given || !target || (folder !== '' && !given.some((word) => word.startsWith(`${folder}/`))))
    return null;
  const entry = manager === 'npm' ? `the script ${name}` : manager === 'procfile' ? `${name}:` : name;
  const from = file.endsWith(name) ? file : `${entry} in ${file}`;
  if (watcher) {
    const remark = `Without ${watcher}: singlepoll starts it again by itself.`;
    return { command: localWords(plainly(target), programs), from, remark };
  }
  const isServer = /^(gunicorn|uvicorn|hypercorn|granian)$/.test(program ?? '');
  const line = given.join('\0').replace(/\0(--reload|(--workers|-w)[\0=]?\d+)(?=\0|$)/g, '');
  const single = isServer ? [...line.split('\0'), '--workers=1'] : given;
  const remark = single.join(' ') === given.join(' ') ? '' : 'One worker: each of several would poll.';
  // The path of another machine.
  const words = single.map((word) => (word.startsWith('/') && word.endsWith(`/${target}`) ? target : word));
  if (!words.some((word) => /\$\{?\w/.test(word)))
    return { command: localWords(words, programs), from, remark };
  const quoted = words.map((word) => (/^[\w$./:=@%+,{}-]+$/.test(word) ? word : singleQuote(word))).join(' ');
  return { command: ['sh', '-c', `exec ${quoted}`], from, remark };
}

/** How a source file is run. */
function plainly(file: string): string[] {
  if (languageOf(file) === 'python') return ['python', file];
  return /\.[cm]?tsx?$/.test(file) ? ['npx', 'tsx', file] : ['node', file];
}

/** With the interpreter of this machine instead of that of another one. */
function localWords([given = '', ...rest]: readonly string[], { has, venvPython }: Programs): string[] {
  const program = given.startsWith('/') && !has(given) ? basename(given) : given;
  if (/^python[\d.]*$/.test(program))
    return [venvPython ?? [program, 'python3'].find(has) ?? program, ...rest];
  if (venvPython !== null && /^(gunicorn|uvicorn|hypercorn|flask)$/.test(program))
    return [venvPython, '-m', program, ...rest];
  return !has(program) && /^(tsx|ts-node|nodemon|bun)$/.test(program)
    ? ['npx', given, ...rest]
    : [program, ...rest];
}

/** Source files that poll when they are run, the likeliest first. One in a deeper folder belongs to a package of its own. */
function programsThatPoll({ files, code }: Facts): string[] {
  const usual = ['bot', 'main', 'index', 'app', 'run', 'worker', '__main__', ''];
  const old = /(^|[_-])(old|legacy|backup|copy|test|v\d|simple|working|production|new|tmp)([_-]|$)/i;
  const weight = (path: string) => {
    const name = basename(path).replace(/\.\w+$/, '');
    return path.split('/').length * 10 + ((usual.indexOf(name) + 8) % 8) + (old.test(name) ? 50 : 0);
  };
  return files
    .map(({ path }) => path)
    .filter((path) => /^([^/]+\/)?[^/]+\.(py|[cm]?[jt]sx?)$/.test(path) && code.polls(path, 'run') !== null)
    .sort((a, b) => weight(a) - weight(b));
}

/** A token under a name that singlepoll does not know by itself. */
function tokenLines({ texts }: Facts): string {
  const { vars } = parseEnvFile(texts.get('.env') ?? '');
  const names = Object.keys(vars).filter((name) => tokensIn(vars[name]!).length > 0);
  const isKnown = names.some((name) => (TOKEN_VARIABLES as readonly string[]).includes(name));
  return isKnown || names.length === 0
    ? '# The token is taken from TELEGRAM_BOT_TOKEN, BOT_TOKEN or TELEGRAM_TOKEN, in the environment or .env.\n# tokenEnv = "MY_BOT_TOKEN"'
    : `# The variable that holds the token, found in .env.\ntokenEnv = ${tomlText(names[0]!)}`;
}

/** Other programs of the project that poll: a forgotten one of them is a stray. */
function strayLines(facts: Facts, command: readonly string[]): string {
  const own = facts.files.filter(({ path }) => command.some((word) => `/${word}`.endsWith(`/${path}`)));
  const reached = own.flatMap(({ path }) => facts.code.reached(path));
  const patterns = programsThatPoll(facts)
    .filter((path) => facts.polls.some(({ file }) => file === path) && !reached.includes(path))
    .filter((path) => !/(^|\/)(index|main|app|__init__|__main__)\.\w+$/.test(path))
    .map((path) => `${basename(path).replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`)
    .filter((pattern) => STRAY_PATTERN.parse(pattern).ok && !pattern.includes("'"))
    .slice(0, 8);
  return patterns.length > 0
    ? `# Other programs of this project poll, too. As strays they are stopped where they run in this folder:\n# stray = ['${patterns.join("', '")}']`
    : "# Programs of this project that once polled, and are to be stopped where they still run in this folder:\n# stray = ['old_bot\\.py$']";
}

/** Writes the lines about a lease: with an engine whose URL is set somewhere in the project, or with Kubernetes. */
function leaseLines({ files, code }: Facts): string {
  const find = (kinds: RegExp, pattern: RegExp) =>
    files
      .map(({ path }) => ({ path, name: kinds.test(path) ? pattern.exec(code.of(path))?.[0] : undefined }))
      .find(({ name }) => name !== undefined);
  const settings = /(^|\/)\.?env[^/]*$|\.env$|(compose[\w.-]*\.ya?ml|render\.yaml|fly\.toml|app\.json)$/;
  const redis = find(settings, /\b\w*(?:REDIS|VALKEY)_URL\b/);
  const pods = redis ? undefined : find(/\.ya?ml$/, /^kind:\s*(Deployment|StatefulSet)\b/m);
  const named = redis ?? find(settings, /\b(DATABASE_URL|POSTGRES(?:QL)?_URL)\b/);
  const [value, known] = pods
    ? ['k8s:', ` (${pods.path} runs it in Kubernetes).`]
    : named
      ? [`env:${named.name}`, ` (${named.name} is named in ${named.path}).`]
      : ['env:LEASE_URL', '. redis://, postgres://, etcd://, k8s:'];
  return `\
# Several machines or copies, and rolling deploys: one polls, the others stand by${known}
# lease = ${tomlText(value)}`;
}
