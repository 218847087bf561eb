/**
 * Joins flags, environment, env file, TOML file and defaults (in this order of strength) into one frozen Config, and reports
 * every mistake at once. Reads files, changes nothing, waits for nothing, asks nobody.
 */
import { resolve } from 'node:path';
import { needs, optionsOf } from './command-scope.ts';
import type { CommandName, Config, Setting, WorkerCommand } from './config.ts';
import type { ConfigError } from './config-error.ts';
import {
  type EnvFileLayer,
  type Findings,
  readEnvFile,
  readToml,
  resolvePath,
  showPath,
  type TomlLayer,
} from './config-files.ts';
import { contradictions, doubts } from './contradictions.ts';
import { freezeDeep } from './freeze.ts';
import { interpret } from './interpret.ts';
import { OPTION_NAMES, type OptionName, type OptionValues, optionRow } from './options.ts';
import { pollingGate } from './polling-gate.ts';
import { holdsTokenShape, showValue } from './show-value.ts';
import { type Layers, lookUp, type RawFlags, type RawValue } from './sources.ts';
import { findToken, TOKEN_VARIABLES, type TokenSearch } from './token.ts';
import { unknownTomlKeys, unknownVariables } from './unknown-names.ts';
import { findCommand, noCommand } from './worker-command.ts';

export interface LoadRequest {
  readonly command: CommandName;
  /** Of commander, unparsed: see readFlags in cli-options.ts. */
  readonly flags: RawFlags;
  /** The words after the options or after `--`, as they are. */
  readonly argvCommand: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
}

export type Loaded =
  | { readonly ok: true; readonly config: Config; readonly warnings: readonly string[] }
  | { readonly ok: false; readonly errors: readonly ConfigError[]; readonly warnings: readonly string[] };

/** Loads the configuration for one command. Never throws for what a user did; see configFailure for the errors. */
export async function loadConfig(request: LoadRequest): Promise<Loaded> {
  const { command, env } = request;
  const cwd = resolve(request.cwd);
  const findings: Findings = { errors: [], warnings: [] };
  const { scopes } = needs(command);
  const lenient = !scopes.includes('run');

  const outer: Layers = { flags: request.flags, environment: env, envFile: null, toml: null };
  const toml = await readToml(outer, cwd, lenient, findings);
  const envFile = readEnvFile({ ...outer, toml }, toml, cwd, findings);
  const layers: Layers = { ...outer, toml, envFile };
  findings.warnings.push(...unknownVariables(layers));
  if (toml) {
    const unknown = unknownTomlKeys(toml);
    if (lenient) findings.warnings.push(...unknown.map((error) => error.message));
    else findings.errors.push(...unknown);
  }

  const options = readOptions(optionsOf(command), layers, findings);
  const { values, found, settings } = options;
  const whereSet = (name: OptionName): string | null => found.get(name)?.where ?? null;
  findings.errors.push(...contradictions(values, whereSet));
  findings.warnings.push(...doubts(values, whereSet));

  const gate = pollingGate(env, envFile);
  const token = searchToken(request, options, { toml, envFile, cwd, polling: gate.polling }, findings);
  const admin = findAdmin(request, envFile, findings);
  const worker = lenient ? null : searchCommand(request, values, toml, cwd, findings);
  if (findings.errors.length > 0) return { ok: false, errors: findings.errors, warnings: findings.warnings };

  const config: Config = {
    command: worker,
    cwd,
    botId: token.found?.botId ?? null,
    token: token.found?.token ?? null,
    tokenSource: token.found?.source ?? null,
    tokenVariables: token.variables,
    apiRoot: values.apiRoot,
    apiRootSource: whereSet('apiRoot') ?? 'default',
    polling: gate.polling,
    pollingLooksLikeYes: gate.looksLikeYes,
    pollingValue: gate.value,
    pollingSource: gate.source,
    adminChatId: admin,
    envFile: envFile?.path ?? null,
    envFileVars: envFile?.vars ?? {},
    configFile: toml?.path ?? null,
    stray: values.stray,
    strayScope: values.strayScope,
    dryRun: values.dryRun,
    dropPending: values.dropPending,
    keepWebhook: values.keepWebhook,
    takeover: values.takeover,
    wait: values.wait,
    restart: values.restart,
    backoffMinMs: values.backoff.minMs,
    backoffMaxMs: values.backoff.maxMs,
    maxRestarts: values.maxRestarts.count,
    maxRestartsPeriodMs: values.maxRestarts.periodMs,
    stopTimeoutMs: values.stopTimeout,
    heartbeatMs: values.heartbeat,
    logFormat: values.logFormat,
    sandbox: values.sandbox,
    settings,
  };
  return { ok: true, config: freezeDeep(config), warnings: findings.warnings };
}

interface ReadOptions {
  readonly values: OptionValues;
  /** Where each option that is set was found. */
  readonly found: ReadonlyMap<OptionName, RawValue>;
  readonly settings: readonly Setting[];
}

/** Every option of the command; one that is wrong or that the command does not have keeps its default. */
function readOptions(names: readonly OptionName[], layers: Layers, findings: Findings): ReadOptions {
  const values: Record<string, unknown> = {};
  for (const name of OPTION_NAMES) values[name] = optionRow(name).initial;
  const found = new Map<OptionName, RawValue>();
  const settings: Setting[] = [];
  for (const name of names) {
    const raw = lookUp(name, layers);
    if (!raw) continue;
    const answer = interpret(optionRow(name), raw);
    if (answer.ok) {
      values[name] = answer.value;
      found.set(name, raw);
      settings.push({ option: name, value: answer.shown, from: raw.where });
    } else if (name !== 'config' && name !== 'envFile') {
      // Those two were reported when their file was looked for.
      findings.errors.push(...answer.errors);
    }
  }
  return { values: values as unknown as OptionValues, found, settings };
}

interface TokenContext {
  readonly toml: TomlLayer | null;
  readonly envFile: EnvFileLayer | null;
  readonly cwd: string;
  readonly polling: boolean;
}

function searchToken(
  request: LoadRequest,
  { values, found }: ReadOptions,
  { toml, envFile, cwd, polling }: TokenContext,
  findings: Findings,
): TokenSearch {
  const tokenFileSet = found.get('tokenFile');
  const tokenEnvSet = found.get('tokenEnv');
  const filePath =
    values.tokenFile !== null && tokenFileSet
      ? resolvePath(values.tokenFile, tokenFileSet.layer, cwd, toml)
      : null;
  const search = findToken({
    tokenFile:
      filePath !== null && tokenFileSet && !values.sandbox
        ? { path: filePath, shown: showPath(filePath, cwd), where: tokenFileSet.where }
        : null,
    tokenEnv:
      values.tokenEnv !== null && tokenEnvSet ? { name: values.tokenEnv, where: tokenEnvSet.where } : null,
    environment: request.env,
    envFile,
  });
  if (values.sandbox) return ignoredForSandbox(search, found, findings);
  findings.warnings.push(...search.warnings);
  if (!polling) {
    // Deploy mode asks Telegram nothing: a token that is wrong or missing must not keep the worker down.
    findings.warnings.push(...search.errors.map((error) => error.message));
    return search;
  }
  findings.errors.push(...search.errors);
  const given = tokenFileSet !== undefined || tokenEnvSet !== undefined;
  if (search.found === null && search.errors.length === 0 && !given && needs(request.command).token) {
    findings.errors.push(noToken(envFile, cwd));
  }
  return search;
}

function ignoredForSandbox(
  search: TokenSearch,
  found: ReadonlyMap<OptionName, RawValue>,
  findings: Findings,
): TokenSearch {
  const given = [found.get('tokenFile')?.where, found.get('tokenEnv')?.where, search.variables.join(', ')];
  const tokens = given.filter((where) => where !== undefined && where !== '');
  if (tokens.length > 0) {
    findings.warnings.push(
      `--sandbox has a bot of its own: the token given (${tokens.join(', ')}) is not used`,
    );
  }
  const root = found.get('apiRoot');
  if (root) findings.warnings.push(`--sandbox is its own Bot API: ${root.where} is not used`);
  return { ...search, found: null };
}

/** The error of a command that needs a token and found none. */
function noToken(envFile: EnvFileLayer | null, cwd: string): ConfigError {
  const file = envFile ? `nor in ${envFile.shown}` : `and there is no .env in ${showPath(cwd, '')}`;
  const message = [
    `no bot token: ${TOKEN_VARIABLES.join(', ')} are not set in the environment, ${file}. Give one by`,
    '  BOT_TOKEN=… in .env, or in the environment',
    '  --token-file PATH, --token-env NAME',
    'or try without one: singlepoll start --sandbox',
  ].join('\n');
  return { where: 'environment', message };
}

function findAdmin(request: LoadRequest, envFile: EnvFileLayer | null, findings: Findings): string | null {
  for (const [vars, place] of [
    [request.env, 'the environment'],
    [envFile?.vars ?? {}, envFile?.shown ?? ''],
  ] as const) {
    for (const name of ['ASSISTANT_ADMIN_TELEGRAM_ID', 'TELEGRAM_ADMIN_CHAT_ID']) {
      const text = vars[name]?.trim();
      if (text === undefined || text === '') continue;
      if (/^-?[1-9]\d{0,15}$|^@[A-Za-z]\w{3,31}$/.test(text)) return text;
      const message = `${name} in ${place} is ${showValue(text)}: it is neither a chat id (a number) nor a @name`;
      if (request.command === 'ping') findings.errors.push({ where: `${name} in ${place}`, message });
      else findings.warnings.push(message);
      return null;
    }
  }
  return null;
}

function searchCommand(
  request: LoadRequest,
  values: OptionValues,
  toml: TomlLayer | null,
  cwd: string,
  findings: Findings,
): WorkerCommand | null {
  const search = findCommand(request.argvCommand, toml, cwd);
  findings.errors.push(...search.errors);
  if (
    search.command === null &&
    search.errors.length === 0 &&
    needs(request.command).command &&
    !values.sandbox
  ) {
    findings.errors.push(noCommand(search.note));
  }
  if (search.command?.argv.some(holdsTokenShape)) {
    findings.warnings.push(
      `the command (${search.command.source}) holds a bot token, which any user can read in the process list; ` +
        'the worker gets TELEGRAM_BOT_TOKEN in its environment',
    );
  }
  return search.command;
}
