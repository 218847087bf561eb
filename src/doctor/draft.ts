/** From what is known of a project to the text of its singlepoll.toml, and to the line that points its library at the gateway. */
import { parseEnvFile } from '../config/files.ts';
import { TOKEN_VARIABLES } from '../config/token.ts';
import { STRAY_PATTERN } from '../config/values.ts';
import { languageOf, withoutComments } from './code.ts';
import { withoutOptions } from './commands.ts';
import { baseOf, lineAt } from './files.ts';
import type { Facts, Process } from './processes.ts';
import { tokensIn } from './tokens.ts';

/** What the machine has, as far as the choice of a command depends on it. */
export interface Programs {
  /** In PATH; a path: there. */
  has(program: string): boolean;
  /** Path of the interpreter of the project's virtualenv, relative to it. */
  readonly venvPython: string | null;
}

interface Choice {
  readonly command: readonly string[];
  /** `worker: in Procfile`. */
  readonly from: string;
  /** What was changed, and why; empty where nothing was. */
  readonly remark: string;
}

/** `typed`: what the user answered when asked for a command; null where nobody was asked. */
export function draft(facts: Facts, programs: Programs, typed: readonly string[] | null) {
  const typedChoice = typed && { command: typed, from: 'as you typed it', remark: '' };
  const choice = typedChoice ?? chooseCommand(facts, programs);
  const toml = `\
# singlepoll: the only poller of this bot.  singlepoll start --dry-run shows what it would do; singlepoll start --help all options.

${commandLines(choice)}

${tokenLines(facts)}

${strayLines(facts, choice?.command ?? [])}

${leaseLines(facts)}

# From SIGTERM to SIGKILL. Platforms have their own: keep it below theirs (Docker 10s, Kubernetes and Heroku 30s).
# stopTimeout = "15s"

# More restarts than this are a crash loop: singlepoll gives up with the code of the bot.
# maxRestarts = "10/5m"

# The bot gets a token that is only good at singlepoll’s gateway.
# sealed = true
`;
  return { toml, command: choice?.command ?? null, commandFrom: choice?.from ?? null };
}

function commandLines(choice: Choice | null): string {
  if (choice === null)
    return '# The bot, as you start it by hand. None was found in the project:\n# command = ["python", "bot.py"]';
  const remark = choice.remark === '' ? '' : `\n# ${choice.remark}`;
  return `# The bot: ${choice.from}.${remark}\ncommand = [${choice.command.map(tomlText).join(', ')}]`;
}

/** A basic string of TOML. */
const tomlText = (text: string): string => JSON.stringify(text).replace(/\u007f/g, '\\u007F');

/** Strongest first: what production runs, before what somebody types. */
const MANAGERS =
  'procfile systemd supervisord docker compose fly render railway heroku digitalocean kubernetes npm make shell';
const NAMES = ['worker', 'bot', 'start', 'web'];

export function chooseCommand(facts: Facts, programs: Programs): Choice | null {
  const rank = ({ manager, name, isForDevelopment }: Process): number =>
    (isForDevelopment ? 1_000 : 0) + MANAGERS.indexOf(manager) + ((NAMES.indexOf(name) + 5) % 5) / 10;
  const isKnown = facts.polls.length > 0;
  const usable = facts.processes.filter(
    ({ manager, command, polls, runs }) =>
      MANAGERS.includes(manager) && command !== '' && runs.at(-1)?.target && (polls || !isKnown),
  );
  const choices = usable.sort((a, b) => rank(a) - rank(b)).map((it) => fromProcess(it, programs));
  const sources = programsThatPoll(facts).map((file) => ({
    ...{ command: localWords(plainly(file), '', programs), from: `${file}, which polls`, remark: '' },
  }));
  return [...choices, ...sources].find((it) => it !== null) ?? null;
}

function fromProcess({ manager, file, name, folder, runs }: Process, programs: Programs): Choice | null {
  const { words: given, program, target, watcher } = runs.find(({ polls }) => polls) ?? runs.at(-1)!;
  // A command of another folder would not find its files from here.
  if (folder !== '' && !given.some((word) => word.startsWith(`${folder}/`))) return null;
  const isServer = /^(gunicorn|uvicorn|hypercorn|granian)$/.test(program);
  const other = given.filter((word) => word !== '--reload');
  const single = isServer ? [...withoutOptions(other, ['--workers', '-w']), '--workers=1'] : given;
  const words = watcher === null ? single : plainly(target!);
  const several = single.join(' ') === given.join(' ') ? '' : 'One worker: each of several would poll.';
  const remark = watcher === null ? several : `Without ${watcher}: singlepoll starts it again by itself.`;
  const named = manager === 'npm' ? `the script ${name}` : manager === 'procfile' ? `${name}:` : name;
  const quoted = words.map((word) => (/^[\w$./:=@%+,{}-]+$/.test(word) ? word : `'${word}'`)).join(' ');
  const isShell = words.some((word) => /\$\{?\w/.test(word));
  const command = isShell ? ['sh', '-c', `exec ${quoted}`] : localWords(words, target ?? '', programs);
  return { command, from: `${named} in ${file}`, remark };
}

/** How a source file is run. */
function plainly(file: string): string[] {
  if (languageOf(file) === 'python') return ['python', file];
  return /\.[cm]?tsx?$/.test(file) ? ['npx', 'tsx', file] : ['node', file];
}

/** The paths and interpreters of this machine instead of those of another one. */
function localWords(words: readonly string[], target: string, { has, venvPython }: Programs): string[] {
  const local = words.map((word) =>
    target !== '' && word.startsWith('/') && word.endsWith(`/${target}`) ? target : word,
  );
  const [given = '', ...rest] = local;
  const program = given.startsWith('/') && !has(given) ? baseOf(given) : given;
  if (/^python[\d.]*$/.test(program))
    return [venvPython ?? [program, 'python3'].find(has) ?? program, ...rest];
  if (venvPython !== null && /^(gunicorn|uvicorn|hypercorn|flask)$/.test(program))
    return [venvPython, '-m', program, ...rest];
  return !has(program) && /^(tsx|ts-node|nodemon|bun)$/.test(program)
    ? ['npx', ...local]
    : [program, ...rest];
}

/** Source files that poll when they are run, the likeliest first. One in a deeper folder belongs to a package of its own. */
function programsThatPoll({ files, code }: Facts): string[] {
  const usual = ['bot', 'main', 'index', 'app', 'run', 'worker', '__main__'];
  const weight = (path: string) => {
    const name = baseOf(path).replace(/\.\w+$/, '');
    const isOld = /(^|[_-])(old|legacy|backup|copy|test|v\d|simple|working|production|new|tmp)([_-]|$)/i.test(
      name,
    );
    return path.split('/').length * 10 + (usual.includes(name) ? usual.indexOf(name) : 9) + (isOld ? 50 : 0);
  };
  const isProgram = (path: string) =>
    /^([^/]+\/)?[^/]+\.(py|[cm]?[jt]sx?)$/.test(path) && code.polls(path, 'run') !== null;
  const found = files.map(({ path }) => path).filter(isProgram);
  return found.sort((a, b) => weight(a) - weight(b));
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
  const own = facts.files
    .map(({ path }) => path)
    .filter((path) => command.some((word) => `/${word}`.endsWith(`/${path}`)));
  const reached = new Set(own.flatMap((path) => facts.code.reached(path)));
  const patterns = programsThatPoll(facts)
    .filter((path) => facts.polls.some(({ file }) => file === path) && !reached.has(path))
    .filter((path) => !/(^|\/)(index|main|app|__init__|__main__)\.\w+$/.test(path))
    .map((path) => `${baseOf(path).replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`)
    .filter((pattern) => STRAY_PATTERN.parse(pattern).ok && !pattern.includes("'"))
    .slice(0, 8);
  return patterns.length > 0
    ? `# Other programs of this project poll, too. As strays they are stopped where they run in this folder:\n# stray = ['${patterns.join("', '")}']`
    : "# Programs of this project that once polled, and are to be stopped where they still run in this folder:\n# stray = ['old_bot\\.py$']";
}

/** Where several machines are near, and what they could share. */
function leaseLines({ files }: Facts): string {
  const settings = /(^|\/)\.?env[^/]*$|\.env$|(compose[\w.-]*\.ya?ml|render\.yaml|fly\.toml|app\.json)$/;
  const find = (file: RegExp, pattern: RegExp) =>
    files.flatMap(({ path, text }) => {
      const name = file.test(path) && pattern.exec(withoutComments('x.conf', text))?.[0];
      return name ? [{ value: `env:${name}`, why: `${name} is named in ${path}`, path }] : [];
    });
  const pods = find(/\.ya?ml$/, /^kind:\s*(Deployment|StatefulSet)\b/m);
  const [hint] = [
    ...find(settings, /\b\w*(?:REDIS|VALKEY)_URL\b/),
    ...pods.map(({ path }) => ({ value: 'k8s:', why: `${path} runs it in Kubernetes` })),
    ...find(settings, /\b(DATABASE_URL|POSTGRES(?:QL)?_URL)\b/),
  ];
  const known = hint ? ` (${hint.why}).` : '. redis://, postgres://, etcd://, k8s:';
  return `\
# Several machines or copies, and rolling deploys: one polls, the others stand by${known}
# lease = ${tomlText(hint?.value ?? 'env:LEASE_URL')}`;
}

/** Name, in manifests, in the source, and the line that points it at the gateway: those of the libraries' documentation. */
const LIBRARIES = String.raw`
grammY                 grammy                    ["'\`/](grammy|@grammyjs/)      new Bot(token, { client: { apiRoot: process.env.TELEGRAM_API_ROOT } })
Telegraf               telegraf                  ["'\`]telegraf["'\`/]           new Telegraf(token, { telegram: { apiRoot: process.env.TELEGRAM_API_ROOT } })
node-telegram-bot-api  node-telegram-bot-api     ["'\`]node-telegram-bot-api     new TelegramBot(token, { polling: true, baseApiUrl: process.env.TELEGRAM_API_ROOT })
GramIO                 gramio                    ["'\`]gramio["'\`/]             new Bot(token, { api: { baseURL: process.env.TELEGRAM_API_ROOT + "/bot" } })
aiogram                aiogram                   ^\s*(from|import)\s+aiogram\b   Bot(token, session=AiohttpSession(api=TelegramAPIServer.from_base(os.environ["TELEGRAM_API_ROOT"])))
python-telegram-bot    python-telegram-bot       ^\s*(from|import)\s+telegram\b  ApplicationBuilder().token(token).base_url(root + "/bot").base_file_url(root + "/file/bot")   # root = os.environ["TELEGRAM_API_ROOT"]
pyTelegramBotAPI       pytelegrambotapi          ^\s*(from|import)\s+telebot\b   telebot.apihelper.API_URL = os.environ["TELEGRAM_API_ROOT"] + "/bot{0}/{1}"
Telethon               telethon                  ^\s*(from|import)\s+telethon\b
Pyrogram               (pyrogram|kurigram|pyrofork)  ^\s*(from|import)\s+pyrogram\b
Go telebot             gopkg\.in/(tucnak/)?telebot\S*  "gopkg\.in/(tucnak/)?telebot  tele.NewBot(tele.Settings{Token: token, URL: os.Getenv("TELEGRAM_API_ROOT")})
Go telegram-bot-api    github\.com/go-telegram-bot-api/\S+  "github\.com/go-telegram-bot-api/  tgbotapi.NewBotAPIWithAPIEndpoint(token, os.Getenv("TELEGRAM_API_ROOT")+"/bot%s/%s")
go-telegram/bot        github\.com/go-telegram/bot  "github\.com/go-telegram/bot"  bot.New(token, bot.WithServerURL(os.Getenv("TELEGRAM_API_ROOT")))`
  .trim()
  .split('\n')
  .map((row) => {
    const [name = '', declared = '', imported = '', ...line] = row.split(/ {2,}/);
    const pattern = `(?<![\\w./-])${declared}(?![\\w-])`;
    const inSource = RegExp(imported.replaceAll('\\`', '`'), 'm');
    return { name, inManifest: RegExp(pattern, 'im'), inSource, apiRoot: line.join('   ') || null };
  });

const MANIFEST = /(^|\/)(package\.json|requirements[\w.-]*|pyproject\.toml|Pipfile|go\.mod)$/;

/** The library that the project declares or imports, with the place where that is said. `apiRoot` is null where it speaks MTProto. */
export function findLibrary({ files }: Facts) {
  const places = files.flatMap(({ path: file, text }) => {
    const key = MANIFEST.test(file) ? 'inManifest' : languageOf(file) === null ? null : 'inSource';
    return LIBRARIES.flatMap((it) => {
      const match = key && it[key].exec(text);
      return match ? [{ ...it, key, file, line: lineAt(text, match.index + match[0].search(/\S/)) }] : [];
    });
  });
  return places.find(({ key }) => key === 'inManifest') ?? places[0] ?? null;
}
