/**
 * Joins flags, environment, env file, TOML file and defaults (in this order of strength) into one frozen Config, and reports
 * every mistake at once. Reads files, changes nothing, waits for nothing, asks nobody.
 */
import { join, resolve } from 'node:path';
import {
  checkTogether,
  findAdminChat,
  type PollingGate,
  pollingGate,
  unknownTomlKeys,
  unknownVariables,
} from './checks.ts';
import { parseEnvFile, parseProcfile, parseToml, readTextFile } from './files.ts';
import {
  type EnvFileLayer,
  interpret,
  type Layers,
  lookUp,
  type ReadOptions,
  readOptions,
  type Setting,
  showPath,
  type TomlLayer,
  tomlWhere,
} from './layers.ts';
import { type Findings, showValue } from './messages.ts';
import {
  type CommandName,
  longFlag,
  NEEDS,
  type OptionName,
  type OptionValues,
  optionsOf,
  type RawFlags,
} from './options.ts';
import { type AlertConfig, chooseAlerts, chooseLease, type LeaseConfig, secretFlags } from './targets.ts';
import { findToken, holdsTokenShape, TOKEN_VARIABLES, type TokenSearch } from './token.ts';
import { DEFAULT_API_ROOT } from './values.ts';

export interface WorkerCommand {
  /** Never empty. */
  readonly argv: readonly string[];
  /** `command line`, `command in singlepoll.toml`, `worker: in Procfile`. */
  readonly source: string;
}

/** What is found rather than given: by files, variables, or several options together. Paths are absolute. */
interface Found extends PollingGate {
  /** Null where the command at hand runs no worker, or the sandbox's sample bot is to run. */
  readonly command: WorkerCommand | null;
  readonly cwd: string;
  /** These three are null without a token. */
  readonly botId: number | null;
  readonly token: string | null;
  readonly tokenSource: string | null;
  /** Variables, of environment and env file, that are set to a bot token or to what should be one. */
  readonly tokenVariables: readonly string[];
  /** `default`, or where it was set. */
  readonly apiRootSource: string;
  /** A chat id or `@name`. */
  readonly adminChatId: string | null;
  readonly envFile: string | null;
  /** Everything the env file sets. For the worker, where its environment does not set it already. */
  readonly envFileVars: Readonly<Record<string, string>>;
  readonly configFile: string | null;
  /** `--no-wait` was given: also not for a lease. */
  readonly noWait: boolean;
  /** Null: no other machine shares this bot. Always null in deploy mode. */
  readonly lease: LeaseConfig | null;
  /** Null: nothing is sent to anybody. */
  readonly alerts: AlertConfig | null;
  readonly settings: readonly Setting[];
}

/**
 * What one invocation of singlepoll was asked to do: plain data, frozen, made here and nowhere else. `token` and `envFileVars`
 * hold secrets: never print or store a Config as a whole.
 */
export type Config = Readonly<Omit<OptionValues, keyof Found> & Found>;

export interface LoadRequest {
  readonly command: CommandName;
  /** Unparsed: see readFlags. */
  readonly flags: RawFlags;
  /** The words after the options or after `--`, as they are. */
  readonly argvCommand: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
}

export type Loaded =
  | { readonly ok: true; readonly config: Config; readonly warnings: readonly string[] }
  | { readonly ok: false; readonly errors: readonly string[]; readonly warnings: readonly string[] };

/** Loads the configuration for one command. Never throws for what a user did; see configFailure for the errors. */
export async function loadConfig(request: LoadRequest): Promise<Loaded> {
  const { command, env, flags } = request;
  const cwd = resolve(request.cwd);
  const isStart = NEEDS[command].scopes.includes('run');
  const errors: string[] = [];
  const warnings: string[] = [];
  const findings: Findings = {
    errors,
    warnings,
    mild: (message) => void (isStart ? errors : warnings).push(message),
  };

  const outer: Layers = { cwd, flags, environment: env, envFile: null, toml: null };
  const toml = await readToml(outer, findings);
  const envFile = readEnvFile({ ...outer, toml }, findings);
  const layers: Layers = { ...outer, toml, envFile };
  // With a file that could not be read, nobody can say that a token or a command is missing.
  const filesRead = errors.length === 0;
  warnings.push(...unknownVariables(layers));
  if (toml) for (const message of unknownTomlKeys(toml)) findings.mild(message);

  const options = readOptions(optionsOf(command), layers, findings);
  const { values, found, settings } = options;
  const whereSet = (name: string): string | null => found.get(name as OptionName)?.where ?? null;
  checkTogether(values, whereSet, findings);
  const gate = pollingGate(layers);
  const token = chooseToken(request, options, layers, { filesRead, polling: gate.polling }, findings);
  const context = {
    environment: env,
    envFileVars: envFile?.vars ?? {},
    polling: gate.polling,
    whereSet,
  };
  for (const { name } of secretFlags(flags))
    if (found.has(name))
      warnings.push(
        `the password or secret in ${longFlag(name)} shows in process lists; ${longFlag(name)} env:NAME reads the URL from a variable`,
      );
  const lease = chooseLease(values, context, findings);
  const adminChatId = findAdminChat(
    layers,
    (message) => void (command === 'ping' ? errors : warnings).push(message),
  );
  const hasBot = token.found !== null || values.sandbox;
  const alerts = chooseAlerts(values, hasBot ? adminChatId : null, context, findings);
  const worker = isStart ? findCommand(request, values, layers, filesRead, findings) : null;
  if (errors.length > 0) return { ok: false, errors, warnings };

  const config: Config = {
    ...values,
    ...gate,
    command: worker,
    cwd,
    botId: token.found?.botId ?? null,
    token: token.found?.token ?? null,
    tokenSource: token.found?.source ?? null,
    tokenVariables: token.variables,
    apiRoot: values.sandbox ? DEFAULT_API_ROOT : values.apiRoot,
    apiRootSource: (values.sandbox ? null : whereSet('apiRoot')) ?? 'default',
    adminChatId,
    envFile: envFile?.path ?? null,
    envFileVars: envFile?.vars ?? {},
    configFile: toml?.path ?? null,
    noWait: !values.wait && found.has('wait'),
    lease,
    gateway: gate.polling && values.gateway,
    alerts,
    settings,
  };
  return { ok: true, config: freezeDeep(config), warnings };
}

/** A configuration that was checked stays what was checked. */
function freezeDeep<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const part of Object.values(value)) freezeDeep(part);
  return Object.freeze(value);
}

/**
 * Finds and reads one of the two files that hold options. One that was named must be there; a default one may be missing. `.env`
 * may also be a folder (some name their virtualenv so): that is passed over. `report` is told of one that can't be read.
 */
function readOptionFile(
  name: 'config' | 'envFile',
  usual: string,
  layers: Layers,
  { errors, warnings }: Findings,
  report: (message: string) => void,
): { readonly path: string; readonly shown: string; readonly text: string } | null {
  const { cwd } = layers;
  const found = lookUp(name, layers);
  const answer = found && interpret(name, found, layers);
  if (answer && !answer.ok) {
    errors.push(...answer.errors);
    return null;
  }
  const path = answer ? String(answer.value) : resolve(cwd, usual);
  const shown = showPath(path, cwd);
  const file = readTextFile(path);
  if (file.kind === 'text') return { path, shown, text: file.text };
  if (file.kind === 'unreadable') report(`${shown}: ${file.problem}`);
  else if (found) {
    const tilde = /(^|\/)~\//.test(path) ? ' (~ is not expanded here)' : '';
    const problem = file.kind === 'missing' ? `there is no such file${tilde}` : file.problem;
    errors.push(`${found.where} is ${showValue(shown)}: ${problem}`);
  } else if (file.kind === 'irregular') warnings.push(`${shown} is not read: ${file.problem}`);
  return null;
}

async function readToml(layers: Layers, findings: Findings): Promise<TomlLayer | null> {
  const file = readOptionFile('config', 'singlepoll.toml', layers, findings, findings.mild);
  if (!file) return null;
  const { path, shown, text } = file;
  const read = await parseToml(text);
  if (read.ok) return { ...read.toml, path, shown };
  findings.mild(`${shown}: ${read.problem}`);
  return null;
}

/** Lines that are no assignments are passed over with a warning. */
function readEnvFile(layers: Layers, findings: Findings): EnvFileLayer | null {
  const { errors, warnings } = findings;
  const file = readOptionFile('envFile', '.env', layers, findings, (message) => void errors.push(message));
  if (!file) return null;
  const { path, shown, text } = file;
  const parsed = parseEnvFile(text, layers.environment);
  const rows = parsed.problems.map(({ line, problem }) => `${shown} line ${line}: ${problem}`);
  warnings.push(...rows.slice(0, 5));
  if (rows.length > 5) warnings.push(`${shown}: ${rows.length - 5} more lines like that`);
  return { ...parsed, path, shown };
}

/** What the token search means for the command at hand: needed, or not (deploy mode), or not wanted (sandbox). */
function chooseToken(
  { command, env }: LoadRequest,
  { values, found, wrong }: ReadOptions,
  { cwd, envFile }: Layers,
  { filesRead, polling }: { readonly filesRead: boolean; readonly polling: boolean },
  { errors, warnings }: Findings,
): TokenSearch {
  const { tokenFile, tokenEnv, sandbox } = values;
  const whereSet = (name: OptionName) => found.get(name)?.where ?? '';
  const search = findToken({
    tokenFile:
      tokenFile !== null && !sandbox
        ? { shown: showPath(tokenFile, cwd), where: whereSet('tokenFile'), file: readTextFile(tokenFile) }
        : null,
    tokenEnv: tokenEnv !== null ? { name: tokenEnv, where: whereSet('tokenEnv') } : null,
    environment: env,
    envFile,
  });
  if (sandbox) {
    const given = [whereSet('tokenFile'), whereSet('tokenEnv'), search.variables.join(', ')].filter(Boolean);
    if (given.length > 0)
      warnings.push(`--sandbox has a bot of its own: the token given (${given.join(', ')}) is not used`);
    if (whereSet('apiRoot') !== '')
      warnings.push(`--sandbox is its own Bot API: ${whereSet('apiRoot')} is not used`);
    return { ...search, found: null };
  }
  warnings.push(...search.warnings);
  // Deploy mode asks Telegram nothing: a token that is wrong or missing must not keep the worker down.
  (polling ? errors : warnings).push(...search.errors);
  const isUnknown = !filesRead || wrong.has('tokenFile') || wrong.has('tokenEnv') || search.errors.length > 0;
  if (polling && !search.found && !isUnknown && NEEDS[command].token) {
    const file = envFile ? `nor in ${envFile.shown}` : `and there is no .env in ${showPath(cwd, '')}`;
    errors.push(
      [
        `no bot token: ${TOKEN_VARIABLES.join(', ')} are not set in the environment, ${file}. Give one by`,
        '  BOT_TOKEN=… in .env, or in the environment',
        '  --token-file PATH, --token-env NAME',
        'or try without one: singlepoll start --sandbox',
      ].join('\n'),
    );
  }
  return search;
}

/**
 * The worker's command: the words on the command line, else `command` of the TOML file, else a line of the Procfile. The words are
 * kept as they are; only a Procfile line goes through a shell. A start outside the sandbox that has none is a mistake.
 */
function findCommand(
  { argvCommand, command }: LoadRequest,
  { sandbox }: OptionValues,
  { toml, cwd }: Layers,
  filesRead: boolean,
  { errors, warnings }: Findings,
): WorkerCommand | null {
  const before = errors.length;
  const typed = argvCommand.length > 0 ? { argv: [...argvCommand], source: 'command line' } : null;
  const written = toml && commandInToml(toml, errors);
  const procfile = typed || written || errors.length > before ? null : commandInProcfile(cwd);
  // A mistake in the file is told even where the command line makes it harmless today.
  for (const it of [typed, written]) {
    const problem = it && wrongWords(it.argv);
    if (it && problem) errors.push(`${it.source}: ${problem}`);
  }
  const found = typed ?? written ?? procfile?.found ?? null;
  if (!found && filesRead && errors.length === before && NEEDS[command].command && !sandbox)
    errors.push(noCommand(procfile?.note ?? null));
  if (found?.argv.some(holdsTokenShape))
    warnings.push(
      `the command (${found.source}) holds a bot token, which any user can read in the process list; ` +
        'the worker gets TELEGRAM_BOT_TOKEN in its environment',
    );
  return found;
}

function commandInToml(toml: TomlLayer, errors: string[]): WorkerCommand | null {
  const { command } = toml.values;
  if (command === undefined) return null;
  const source = tomlWhere('command', toml);
  if (Array.isArray(command) && command.every((word) => typeof word === 'string'))
    return { argv: command, source };
  errors.push(`${source}: it is not an array of texts, such as command = ["node", "bot.js"]`);
  return null;
}

/** `note`: what was found and could not be used, for the error that shows how to give a command. */
function commandInProcfile(cwd: string): { found: WorkerCommand | null; note: string | null } {
  const file = readTextFile(join(cwd, 'Procfile'));
  if (file.kind === 'missing') return { found: null, note: null };
  if (file.kind !== 'text') return { found: null, note: `the Procfile cannot be used: ${file.problem}` };
  const lines = parseProcfile(file.text);
  const name = ['worker', 'bot', 'web'].find((it) => lines.has(it));
  if (name !== undefined)
    return { found: { argv: ['sh', '-c', lines.get(name)!], source: `${name}: in Procfile` }, note: null };
  const names = [...lines.keys()].slice(0, 8).map((it) => `${it}:`);
  const note = `the Procfile has no worker:, bot: or web: line (it has ${names.join(', ') || 'no lines at all'})`;
  return { found: null, note };
}

function wrongWords([program, ...more]: readonly string[]): string | null {
  if (program === undefined) return 'it is empty';
  if (program.trim() === '') return 'its first word, the program, is empty';
  return [program, ...more].some((word) => word.includes('\0')) ? 'it holds a NUL' : null;
}

function noCommand(note: string | null): string {
  return [
    `no command to run${note === null ? '' : ` (${note})`}. Three ways to give one:`,
    '  singlepoll start -- node bot.js       on the command line',
    '  command = ["node", "bot.js"]          in singlepoll.toml',
    '  worker: node bot.js                   in a Procfile',
  ].join('\n');
}
