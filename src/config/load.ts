/**
 * Joins flags, environment, env file, TOML file and defaults (in this order of strength) into one frozen Config, and reports
 * every mistake at once. It only reads files.
 */
import { dirname, join, resolve } from 'node:path';
import {
  checkNames,
  checkTogether,
  chooseAlerts,
  chooseLease,
  findAdminChat,
  pollingGate,
} from './checks.ts';
import { parseEnvFile, parseProcfile, parseToml, readTextFile } from './files.ts';
import { findToken } from './find-token.ts';
import { collectFindings, type Findings, showValue } from './messages.ts';
import { type CommandName, longFlag, NEEDS, optionsOf, type RawFlags } from './options.ts';
import {
  interpret,
  lookUp,
  type Reading,
  readOptions,
  type Setting,
  type Source,
  showPath,
  sourceOf,
} from './sources.ts';
import { secretFlags } from './targets.ts';
import { holdsTokenShape } from './token.ts';
import { DEFAULT_API_ROOT } from './values.ts';

interface WorkerCommand {
  /** The words of the command, at least one. */
  readonly argv: readonly string[];
  /** `command line`, `command in singlepoll.toml`, `worker: in Procfile`. */
  readonly source: string;
}

export interface LoadRequest {
  readonly command: CommandName;
  /** Unparsed: see readFlags. */
  readonly flags: RawFlags;
  /** The words after the options or after `--`, unchanged. */
  readonly argvCommand: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
}

/**
 * The configuration of one invocation of singlepoll: plain data, made only here. `token` and `envFileVars` hold secrets, so a
 * Config must never be printed or stored as a whole.
 */
export type Config = Readonly<Extract<Awaited<ReturnType<typeof loadConfig>>, { ok: true }>['config']>;

/** Loads the configuration for one command. Never throws for a user's mistakes; see configFailure for the errors. */
export async function loadConfig(request: LoadRequest) {
  const { command, env, flags } = request;
  const cwd = resolve(request.cwd);
  const { scopes, token: needsToken } = NEEDS[command];
  const isStart = (scopes as readonly string[]).includes('run');
  const findings = collectFindings(isStart);
  const { errors, warnings, warning } = findings;

  const typed = [sourceOf('flag', flags, cwd), sourceOf('environment', env, cwd)];
  const toml = await readOptionFile('config', typed, cwd, env, findings);
  const envFile = await readOptionFile('envFile', toml ? [...typed, toml] : typed, cwd, env, findings);
  const sources = [...typed, envFile, toml].filter((it) => it !== null);
  // A token or a command may be in a file that could not be read, so it is not reported as missing then.
  const areFilesRead = errors.length === 0;
  checkNames(sources, findings);

  const reading = readOptions(optionsOf(command), sources, findings);
  const { values, whereSet } = reading;
  checkTogether(reading);
  const gate = pollingGate(reading);
  const { found, variables } = findToken(reading, cwd, gate.polling, areFilesRead && needsToken);
  if (values.sandbox && whereSet('apiRoot') !== null)
    warning(`--sandbox is its own Bot API: ${whereSet('apiRoot')} is not used`);
  for (const flag of secretFlags(flags).map(({ name }) => longFlag(name)))
    warning(
      `the password or secret in ${flag} shows in process lists; ${flag} env:NAME reads the URL from a variable`,
    );
  const lease = chooseLease(reading);
  const adminChatId = findAdminChat(sources, command === 'ping' ? findings.error : warning);
  const chat = gate.polling && (found || values.sandbox) ? adminChatId : null;
  const alerts = chooseAlerts(reading, chat);
  const worker = isStart ? findCommand(request, reading, areFilesRead) : null;
  if (errors.length > 0) return { ok: false, errors, warnings } as const;

  // These are found rather than set by options. Paths are absolute.
  const config = {
    ...values,
    ...gate,
    /** Null: this command runs no worker, or the sandbox's sample bot is to run. */
    command: worker,
    cwd,
    /** These three are null without a token. */
    botId: found?.botId ?? null,
    token: found?.token ?? null,
    tokenSource: found?.source ?? null,
    /** Variables of environment and env file that hold a bot token or should hold one. */
    tokenVariables: variables as readonly string[],
    apiRoot: values.sandbox ? DEFAULT_API_ROOT : values.apiRoot,
    /** The place where it was set, or `default`. */
    apiRootSource: (values.sandbox ? null : whereSet('apiRoot')) ?? 'default',
    /** A chat id or `@name`. */
    adminChatId,
    envFile: envFile?.path ?? null,
    /** All variables of the env file. The worker gets those that its environment does not set already. */
    envFileVars: (envFile?.values ?? {}) as Readonly<Record<string, string>>,
    configFile: toml?.path ?? null,
    /** `--no-wait` was given: do not wait for a lease either. */
    noWait: !values.wait && whereSet('wait') !== null,
    /** Null: no lease, as always in deploy mode. */
    lease: gate.polling ? lease : null,
    gateway: gate.polling && values.gateway,
    /** Null: no alerts are sent. */
    alerts,
    settings: reading.settings as readonly Setting[],
  };
  return { ok: true, config, warnings } as const;
}

/**
 * Finds and reads one of the two files that hold options. A named one must exist; a default one may be missing. `.env` may also
 * be a folder (some people name their virtualenv so), which is ignored. Lines of an env file that are no assignments are, too.
 */
async function readOptionFile(
  name: 'config' | 'envFile',
  sources: readonly Source[],
  cwd: string,
  env: LoadRequest['env'],
  { error, warning, mild }: Findings,
): Promise<Source | null> {
  const isToml = name === 'config';
  const report = isToml ? mild : error;
  const found = lookUp(name, sources);
  const answer = found && interpret(name, found);
  answer?.errors.forEach(error);
  if (answer && answer.errors.length > 0) return null;
  const path = answer ? String(answer.value) : resolve(cwd, isToml ? 'singlepoll.toml' : '.env');
  const shown = showPath(path, cwd);
  const file = readTextFile(path);
  if (file.kind === 'text' && isToml) {
    const read = await parseToml(file.text);
    if (read.ok) return sourceOf('toml', read.values, dirname(path), { path, shown, lineOf: read.lineOf });
    report(`${shown}: ${read.problem}`);
  } else if (file.kind === 'text') {
    const { vars, lineOf, problems } = parseEnvFile(file.text, env);
    for (const { line, problem } of problems.slice(0, 5)) warning(`${shown} line ${line}: ${problem}`);
    if (problems.length > 5) warning(`${shown}: ${problems.length - 5} more lines like that`);
    return sourceOf('envFile', vars, cwd, { path, shown, lineOf });
  } else if (file.kind === 'unreadable') report(`${shown}: ${file.problem}`);
  else if (found) {
    const tilde = path.includes('/~/') ? ' (~ is not expanded here)' : '';
    const problem = file.kind === 'missing' ? `there is no such file${tilde}` : file.problem;
    error(`${found.where} is ${showValue(shown)}: ${problem}`);
  } else if (file.kind === 'irregular') warning(`${shown} is not read: ${file.problem}`);
  return null;
}

/**
 * The worker's command: the words on the command line, otherwise `command` of the TOML file, otherwise a line of the Procfile.
 * Words are not changed; only a Procfile line is run by a shell. A start outside the sandbox needs a command.
 */
function findCommand(
  { argvCommand, command, cwd }: LoadRequest,
  { sources, values, error, warning }: Reading,
  areFilesRead: boolean,
): WorkerCommand | null {
  const toml = sources.find(({ layer }) => layer === 'toml');
  const given: { argv: unknown; source: string }[] = [];
  if (argvCommand.length > 0) given.push({ argv: argvCommand, source: 'command line' });
  if (toml?.values.command !== undefined)
    given.push({ argv: toml.values.command, source: toml.where('command') });
  // A mistake in the file is reported even if a command line replaces it today.
  const problems = given.map(({ argv, source }) => ({ source, problem: wrongWords(argv) }));
  const wrong = problems.filter(({ problem }) => problem !== null);
  for (const { source, problem } of wrong) error(`${source}: ${problem}`);
  if (wrong.length > 0) return null;
  const procfile = given.length > 0 ? null : commandInProcfile(cwd);
  const found = (given[0] as WorkerCommand | undefined) ?? procfile?.found ?? null;
  if (!found && areFilesRead && NEEDS[command].command && !values.sandbox)
    error(noCommand(procfile?.note ?? ''));
  if (found?.argv.some(holdsTokenShape))
    warning(
      `the command (${found.source}) holds a bot token, which any user can read in the process list; ` +
        'the worker gets TELEGRAM_BOT_TOKEN in its environment',
    );
  return found;
}

function wrongWords(words: unknown): string | null {
  if (!Array.isArray(words) || !words.every((word) => typeof word === 'string'))
    return 'it is not an array of texts, such as command = ["node", "bot.js"]';
  if (words.join('').includes('\0')) return 'it holds a NUL';
  return words[0]?.trim() ? null : 'its first word, the program, is missing or empty';
}

/** `note`: why a Procfile can't be used, for the error that shows how to give a command. */
function commandInProcfile(cwd: string): { found: WorkerCommand | null; note: string } {
  const file = readTextFile(join(cwd, 'Procfile'));
  if (file.kind === 'missing') return { found: null, note: '' };
  if (file.kind !== 'text') return { found: null, note: ` (the Procfile cannot be used: ${file.problem})` };
  const lines = parseProcfile(file.text);
  const name = ['worker', 'bot', 'web'].find((it) => lines.has(it));
  if (name === undefined) return { found: null, note: ' (the Procfile has no worker:, bot: or web: line)' };
  return { found: { argv: ['sh', '-c', lines.get(name)!], source: `${name}: in Procfile` }, note: '' };
}

function noCommand(note: string): string {
  return [
    `no command to run${note}. Three ways to give one:`,
    '  singlepoll start -- node bot.js       on the command line',
    '  command = ["node", "bot.js"]          in singlepoll.toml',
    '  worker: node bot.js                   in a Procfile',
  ].join('\n');
}
