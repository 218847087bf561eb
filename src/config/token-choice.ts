/**
 * What the token search means for the command at hand: needed, or not (deploy mode), or not wanted (sandbox).
 */
import { needs } from './command-scope.ts';
import type { CommandName } from './config.ts';
import type { ConfigError } from './config-error.ts';
import { type EnvFileLayer, type Findings, resolvePath, showPath, type TomlLayer } from './config-files.ts';
import type { ReadOptions } from './read-options.ts';
import { findToken, TOKEN_VARIABLES, type TokenSearch } from './token.ts';

export interface TokenContext {
  readonly toml: TomlLayer | null;
  readonly envFile: EnvFileLayer | null;
  readonly cwd: string;
  readonly filesRead: boolean;
  readonly polling: boolean;
}

export function chooseToken(
  request: { readonly command: CommandName; readonly env: Readonly<Record<string, string | undefined>> },
  { values, found, wrong }: ReadOptions,
  { toml, envFile, cwd, filesRead, polling }: TokenContext,
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
  const unknown = !filesRead || wrong.has('tokenFile') || wrong.has('tokenEnv') || search.errors.length > 0;
  if (search.found === null && !unknown && needs(request.command).token) {
    findings.errors.push(noToken(envFile, cwd));
  }
  return search;
}

function ignoredForSandbox(
  search: TokenSearch,
  found: ReadOptions['found'],
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
