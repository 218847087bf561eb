/**
 * Joins flags, environment, env file, TOML file and defaults (in this order of strength) into one frozen Config, and reports
 * every mistake at once. Reads files, changes nothing, waits for nothing, asks nobody.
 */
import { resolve } from 'node:path';
import { findAdminChat } from './admin-chat.ts';
import { chooseAlerts } from './alert-choice.ts';
import { DEFAULT_API_ROOT } from './api-root.ts';
import { needs, optionsOf } from './command-scope.ts';
import type { CommandName, Config, WorkerCommand } from './config.ts';
import type { ConfigError } from './config-error.ts';
import { type Findings, readEnvFile, readToml, resolvePath } from './config-files.ts';
import { contradictions, doubts } from './contradictions.ts';
import { freezeDeep } from './freeze.ts';
import { chooseLease } from './lease-option.ts';
import type { OptionName, OptionValues } from './options.ts';
import { pollingGate } from './polling-gate.ts';
import { readOptions } from './read-options.ts';
import { holdsTokenShape } from './show-value.ts';
import type { Layers, RawFlags } from './sources.ts';
import { chooseToken, type TokenContext } from './token-choice.ts';
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
  // With a file that could not be read, nobody can say that a token or a command is missing.
  const filesRead = findings.errors.length === 0;
  findings.warnings.push(...unknownVariables(layers));
  if (toml) {
    const unknown = unknownTomlKeys(toml);
    if (lenient) findings.warnings.push(...unknown.map((error) => error.message));
    else findings.errors.push(...unknown);
  }

  const options = readOptions(optionsOf(command), layers, lenient, findings);
  const { values, found, settings } = options;
  const whereSet = (name: OptionName): string | null => found.get(name)?.where ?? null;
  findings.errors.push(...contradictions(values, whereSet));
  findings.warnings.push(...doubts(values, whereSet));

  const gate = pollingGate(env, envFile);
  const token = chooseToken(
    request,
    options,
    { toml, envFile, cwd, filesRead, polling: gate.polling },
    findings,
  );
  const leased: Findings = { errors: [], warnings: findings.warnings };
  const lease = chooseLease(values, { environment: env, envFile, polling: gate.polling, whereSet }, leased);
  if (lenient && found.get('lease')?.layer !== 'flag')
    findings.warnings.push(...leased.errors.map(({ message }) => message));
  else findings.errors.push(...leased.errors);
  const admin = findAdminChat(request, envFile, findings);
  const pathOf = (name: OptionName, path: string) =>
    resolvePath(path, found.get(name)?.layer ?? 'flag', cwd, toml);
  const alerts = chooseAlerts(
    values,
    {
      ...{ environment: env, envFile, cwd, whereSet, resolve: pathOf },
      ...{ adminChatId: admin, hasToken: token.found !== null || values.sandbox, polling: gate.polling },
    },
    findings,
  );
  const worker = lenient ? null : searchCommand(request, values, { toml, cwd, filesRead }, findings);
  if (findings.errors.length > 0) return { ok: false, errors: findings.errors, warnings: findings.warnings };

  const config: Config = {
    command: worker,
    cwd,
    botId: token.found?.botId ?? null,
    token: token.found?.token ?? null,
    tokenSource: token.found?.source ?? null,
    tokenVariables: token.variables,
    apiRoot: values.sandbox ? DEFAULT_API_ROOT : values.apiRoot,
    apiRootSource: (values.sandbox ? null : whereSet('apiRoot')) ?? 'default',
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
    noWait: !values.wait && found.has('wait'),
    lease,
    gateway: gate.polling && !values.noGateway,
    gatewayPort: values.gatewayPort,
    sealed: values.sealed,
    onRival: values.onRival,
    rivalAfterMs: values.rivalAfter,
    deafAfterMs: values.deafAfter,
    requireGateway: values.requireGateway,
    allowSetWebhook: values.allowSetWebhook,
    restart: values.restart,
    backoffMinMs: values.backoff.minMs,
    backoffMaxMs: values.backoff.maxMs,
    maxRestarts: values.maxRestarts.count,
    maxRestartsPeriodMs: values.maxRestarts.periodMs,
    stopTimeoutMs: values.stopTimeout,
    heartbeatMs: values.heartbeat,
    detach: values.detach,
    startTimeoutMs: values.startTimeout,
    logFile: values.logFile === null ? null : pathOf('logFile', values.logFile),
    logMaxBytes: values.logSize,
    logKeep: values.logKeep,
    http: values.http,
    readyInStandby: values.readyInStandby === 'yes',
    alerts,
    logFormat: values.logFormat,
    sandbox: values.sandbox,
    settings,
  };
  return { ok: true, config: freezeDeep(config), warnings: findings.warnings };
}

/** The worker's command; a start outside the sandbox that has none is a mistake. */
function searchCommand(
  request: LoadRequest,
  values: OptionValues,
  { toml, cwd, filesRead }: Omit<TokenContext, 'envFile' | 'polling'>,
  findings: Findings,
): WorkerCommand | null {
  const search = findCommand(request.argvCommand, toml, cwd);
  findings.errors.push(...search.errors);
  const unknown = !filesRead || search.errors.length > 0;
  if (search.command === null && !unknown && needs(request.command).command && !values.sandbox) {
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
