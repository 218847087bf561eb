/** `singlepoll init`: a commented singlepoll.toml for the project in the working folder, from what its files say. */
import { constants, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseEnvFile } from '../config/files.ts';
import { TOKEN_VARIABLES } from '../config/token.ts';
import { STRAY_PATTERN } from '../config/values.ts';
import { findLibrary, languageOf } from '../doctor/code.ts';
import { commandText } from '../doctor/documents.ts';
import { readProject } from '../doctor/files.ts';
import { type Facts, type Process, studyProject } from '../doctor/processes.ts';
import { tokensIn } from '../doctor/tokens.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { isUsableFolder, writeWhole } from '../files.ts';
import { plain, plainCommand } from '../output/plain.ts';
import { findExecutable } from '../supervisor/executable.ts';
import { workingFolder } from './context.ts';

const NAME = 'singlepoll.toml';
const PRINT = 'singlepoll init --print    # shows what would be written';
const FORCE = 'singlepoll init --force    # overwrites it';

export function run({ print, force }: Readonly<Record<string, unknown>>): number {
  const folder = workingFolder();
  const path = join(folder, NAME);
  const has = (program: string) => findExecutable(program, folder, process.env.PATH).ok;
  const venvPython = ['.venv/bin/python', 'venv/bin/python', 'env/bin/python'].find(has) ?? null;
  const facts = studyProject(readProject(folder));
  const { toml, command, from } = draft(facts, { venvPython, has });
  try {
    if (print) process.stdout.write(toml);
    else if (force) writeWhole(path, toml, 0o644);
    else writeFileSync(path, toml, { flag: 'wx' });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const isThere = code === 'EEXIST';
    const problem = isThere ? 'is there already; nothing was written' : `can’t be written here (${code})`;
    const hint = isThere && isUsableFolder(folder, constants.W_OK) ? `${PRINT}\n${FORCE}` : PRINT;
    throw new SinglepollError(EXIT.config, `${NAME} ${problem}`, hint);
  }
  const told = command
    ? [`command: ${plainCommand(command)}   (${plain(from ?? '')})`]
    : ['no command was found: fill in `command`, or give it to singlepoll start -- …'];
  if (command && !has(command[0]!))
    told.push(`  ${plain(command[0]!)} is not here: install it, or write its path`);
  const next = 'next: singlepoll doctor, singlepoll start --dry-run';
  const lines = [...(print ? [] : [`${NAME} written`]), ...told, ...tellLibrary(facts, command?.[0]), next];
  (print ? process.stderr : process.stdout).write(`${lines.join('\n')}\n`);
  return EXIT.ok;
}

/** How its calls come to the gateway. */
function tellLibrary({ files }: Facts, program: string | undefined): string[] {
  const found = findLibrary(files);
  const ready = files.find(({ path, text }) => languageOf(path) && text.includes('TELEGRAM_API_ROOT'));
  if (ready) return [`TELEGRAM_API_ROOT: ${plain(ready.path)} reads it already`];
  if (found === null)
    return ['no Telegram library was recognized: `start` says whether its calls come through the gateway'];
  if (found.apiRoot === null)
    return [`${found.name} speaks MTProto, not the Bot API: the gateway does not see it`];
  const isLed =
    found.language === 'go' || program === 'deno'
      ? 'its calls come through singlepoll’s gateway with `intercept = "proxy"`, or with this line'
      : 'its calls come through singlepoll’s gateway as it is; should `start` say that they do not, this line helps';
  return [`${found.name} (${plain(found.file)}:${found.line}): ${isLed}:`, `  ${found.apiRoot}`];
}

/** `has`: a program is in PATH, or a path is there. `venvPython`: the interpreter of the project's virtualenv, relative to it. */
type Programs = { has(program: string): boolean; venvPython: string | null };

export function draft(facts: Facts, programs: Programs) {
  const { words, from, remark } = chooseCommand(facts) ?? { words: null, from: null, remark: '' };
  const command = words && localWords(words, programs);
  const said = command
    ? `# The bot: ${from}.${remark && `\n# ${remark}`}\ncommand = [${command.map(tomlText).join(', ')}]`
    : '# The bot, as you start it by hand. None was found in the project:\n# command = ["python", "bot.py"]';
  const toml = `\
# singlepoll: the only poller of this bot.  singlepoll start --dry-run shows what it would do; singlepoll start --help all options.

${said}

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
  return { toml, command, from };
}

/** A basic string of TOML. */
const tomlText = (text: string): string => JSON.stringify(text).replace(/\u007f/g, '\\u007F');

/** Strongest first: what production runs, before what somebody types. */
const MANAGERS =
  'procfile systemd supervisord docker compose fly render railway heroku digitalocean kubernetes npm make shell';
const NAMES = ['worker', 'bot', 'start', 'web'];

function chooseCommand(facts: Facts) {
  const rank = ({ manager, name, isForDevelopment }: Process): number =>
    (isForDevelopment ? 1_000 : 0) + MANAGERS.indexOf(manager) + ((NAMES.indexOf(name) + 5) % 5) / 10;
  const [choice] = facts.processes
    .filter(({ manager, polls }) => MANAGERS.includes(manager) && (polls || facts.polls.length === 0))
    .sort((a, b) => rank(a) - rank(b))
    .flatMap((it) => fromProcess(it) ?? []);
  const [source] = programsThatPoll(facts);
  return choice ?? (source ? { words: plainly(source), from: `${source}, which polls`, remark: '' } : null);
}

/** `from` is such as `worker: in Procfile`; `remark` says what was changed, and why. */
function fromProcess({ manager, file, name, folder, runs }: Process) {
  const { words: given = [], program, target, watcher } = runs.find((it) => it.polls) ?? runs.at(-1) ?? {};
  // A command of another folder would not find its files from here.
  if (!target || (folder !== '' && !given.some((word) => word.startsWith(`${folder}/`)))) return null;
  const entry = manager === 'npm' ? `the script ${name}` : manager === 'procfile' ? `${name}:` : name;
  const from = file.endsWith(name) ? file : `${entry} in ${file}`;
  const unwatched = `Without ${watcher}: singlepoll starts it again by itself.`;
  if (watcher) return { words: plainly(target), from, remark: unwatched };
  const isServer = /^(gunicorn|uvicorn|hypercorn|granian)$/.test(program ?? '');
  const line = given.join('\0').replace(/\0(--reload|(--workers|-w)[\0=]?\d+)(?=\0|$)/g, '');
  const single = isServer ? [...line.split('\0'), '--workers=1'] : given;
  const remark = single.join(' ') === given.join(' ') ? '' : 'One worker: each of several would poll.';
  // The path of another machine.
  const words = single.map((word) => (word.startsWith('/') && word.endsWith(`/${target}`) ? target : word));
  const hasVariables = words.some((word) => /\$\{?\w/.test(word));
  return { words: hasVariables ? ['sh', '-c', `exec ${commandText(words)}`] : words, from, remark };
}

/** How a source file is run. */
const plainly = (file: string): string[] =>
  languageOf(file) === 'python' ? ['python', file] : [/\.[cm]?tsx?$/.test(file) ? 'tsx' : 'node', file];

/** With the interpreter of this machine instead of that of another one. */
function localWords([given = '', ...rest]: readonly string[], { has, venvPython }: Programs): string[] {
  const program = given.startsWith('/') && !has(given) ? basename(given) : given;
  if (/^python[\d.]*$/.test(program))
    return [venvPython ?? [program, 'python3'].find(has) ?? program, ...rest];
  if (venvPython !== null && /^(gunicorn|uvicorn|hypercorn|flask)$/.test(program))
    return [venvPython, '-m', program, ...rest];
  const isOfNpm = !has(program) && /^(tsx|ts-node|nodemon|bun)$/.test(program);
  return isOfNpm ? ['npx', given, ...rest] : [program, ...rest];
}

/** Source files that poll when they are run, the likeliest first. One in a deeper folder belongs to a package of its own. */
function programsThatPoll({ files, pollsOf }: Facts): string[] {
  const usual = ['bot', 'main', 'index', 'app', 'run', 'worker', '__main__', ''];
  const weight = (path: string) =>
    path.split('/').length * 10 + ((usual.indexOf(basename(path).replace(/\.\w+$/, '')) + 8) % 8);
  return files
    .map(({ path }) => path)
    .filter((path) => /^([^/]+\/)?[^/]+\.(py|[cm]?[jt]sx?)$/.test(path) && pollsOf(path, true) !== null)
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
  const reached = own.flatMap(({ path }) => facts.reached(path));
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

/** Names that show which engine could hold a lease; the first one that is found is proposed. */
const ENGINES = [
  /\b\w*(?:REDIS|VALKEY)_URL\b/,
  /^kind:\s*(Deployment|StatefulSet)\b/m,
  /\b(DATABASE_URL|POSTGRES(?:QL)?_URL)\b/,
];

function leaseLines({ files, codeOf }: Facts): string {
  const [found] = ENGINES.flatMap((engine) =>
    files.map(({ path }) => ({ path, name: engine.exec(codeOf(path))?.[0] })).filter(({ name }) => name),
  );
  const { path, name = 'LEASE_URL' } = found ?? {};
  const isPods = name.startsWith('kind');
  const near = isPods ? `${path} runs it in Kubernetes` : `${name} is named in ${path}`;
  const known = found ? ` (${near}).` : '. redis://, postgres://, etcd://, k8s:';
  return `\
# Several machines or copies, and rolling deploys: one polls, the others stand by${known}
# lease = ${tomlText(isPods ? 'k8s:' : `env:${name}`)}`;
}
