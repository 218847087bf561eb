/**
 * `restart` reads env file, TOML and token file again. What the next worker is given is taken over: variables, command, a rotated token,
 * limits of the worker. What can't change within a run is named, and stays.
 */
import { type Config, loadConfig } from '../config/load.ts';
import { longFlag, type OptionName, optionRow } from '../config/options.ts';
import type { Setting } from '../config/sources.ts';
import { maskText } from '../output/mask.ts';
import { plainCommand } from '../output/plain.ts';
import { openBotApi } from '../telegram/bot-api.ts';
import { shared } from '../turns.ts';
import { checkCommand, settingWords } from './announce.ts';
import type { Run } from './run.ts';
import { shownWords } from './status-document.ts';

/** These count from the next worker on. */
const LIVE: readonly OptionName[] = [
  ...(['envFile', 'tokenEnv', 'tokenFile', 'restart', 'backoff', 'maxRestarts'] as const),
  ...(['stopTimeout', 'startTimeout', 'maxMemory'] as const),
];

/** What has changed, in sentences. Rejects, and nothing has, where the next worker could not be started so. */
export type Reload = () => Promise<readonly string[]>;

/** One at a time: who asks meanwhile gets the same answer. `onChange`: something has changed. */
export function createReload(run: Run, onChange: () => void): Reload {
  return shared(async () => {
    const lines = await reload(run);
    if (lines.length > 0) onChange();
    return lines;
  });
}

async function reload(run: Run): Promise<readonly string[]> {
  const { config, flags, report, command, status } = run;
  if (config.sandbox) return [];
  const argvCommand = config.command?.source === 'command line' ? config.command.argv : [];
  const request = { command: 'start', flags, argvCommand, env: process.env, cwd: config.cwd } as const;
  const loaded = await loadConfig(request);
  if (!loaded.ok) throw new Error(`the configuration is wrong now: ${loaded.errors.join('; ')}`);
  const fresh = loaded.config;
  if (fresh.botId !== config.botId) throw new Error(`the token is that of another bot now: ${fresh.botId}`);
  if (fresh.polling !== config.polling)
    throw new Error('POLLING_ENABLED has changed, which takes another start');
  checkCommand(fresh);
  const lines = [...variableLines(config, fresh), ...optionLines(config.settings, fresh.settings)];
  if (fresh.token !== config.token) lines.push(await rotate(run, fresh));
  const argv = fresh.command?.argv ?? [];
  if (argv.join('\0') !== command.join('\0')) lines.push(`the worker is now: ${plainCommand(argv)}`);
  command.splice(0, command.length, ...argv);
  status.note({ kind: 'command', command: shownWords(argv) });
  const { envFileVars, tokenVariables, token, tokenSource } = fresh;
  const live = LIVE.map((name) => name + optionRow(name).unit) as (keyof Config)[];
  Object.assign(config, {
    ...{ envFileVars, tokenVariables, token, tokenSource, command: fresh.command },
    ...Object.fromEntries(live.map((name) => [name, fresh[name]])),
    settings: [...config.settings.filter(isFixed), ...fresh.settings.filter((it) => !isFixed(it))],
  });
  run.readPolicy();
  for (const line of lines) report.line('config', line);
  return lines;
}

const isFixed = ({ option }: Setting) => !LIVE.includes(option);

/** Names alone: a value may be a secret. What the environment sets goes before the file. */
function variableLines(old: Config, fresh: Config): string[] {
  const [before, now] = [old.envFileVars, fresh.envFileVars];
  const names = [...new Set([...Object.keys(before), ...Object.keys(now)])].filter(
    (name) =>
      process.env[name] === undefined && before[name] !== now[name] && !fresh.tokenVariables.includes(name),
  );
  const what = (name: string) => (!(name in now) ? 'gone' : name in before ? 'changed' : 'new');
  const parts = names.map((name) => `${name} is ${what(name)}`);
  return parts.length > 0 ? [`in the env file ${parts.join(', ')}`] : [];
}

function optionLines(old: readonly Setting[], fresh: readonly Setting[]): string[] {
  const valueIn = (settings: readonly Setting[], name: OptionName) =>
    JSON.stringify(settings.find(({ option }) => option === name)?.value);
  const names = new Set([...old, ...fresh].map(({ option }) => option));
  return [...names]
    .filter((name) => valueIn(old, name) !== valueIn(fresh, name))
    .map((name) => {
      const set = fresh.find(({ option }) => option === name);
      const now = set ? settingWords(set) : `${longFlag(name)} is as by default again`;
      return LIVE.includes(name) ? now : `${now}: not in this run; singlepoll start --takeover takes it over`;
    });
}

/** The lock of the new token is held as well from now on, before a worker gets it. */
async function rotate({ api, hold }: Run, fresh: Config): Promise<string> {
  const token = fresh.token as string;
  if (api) {
    const asked = openBotApi(fresh.apiRoot, token);
    const reply = await asked.call('getMe').finally(() => asked.close());
    if (reply.kind === 'refused')
      throw new Error(`Telegram refuses the new token: ${maskText(reply.description, [token])}`);
    await hold.adopt(token);
  }
  return `the token was rotated (${fresh.tokenSource})`;
}
