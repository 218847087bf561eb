/** `singlepoll config`: what `start` would use here, each with its place. Asks nobody; shows no secret. */

import { flagOf, OPTION_NAMES, optionRow } from '../config/options.ts';
import { showPath } from '../config/sources.ts';
import { stateDirPath } from '../config/state-dir.ts';
import { EXIT } from '../errors.ts';
import { plain, plainCommand } from '../output/plain.ts';
import { painter } from '../output/words.ts';
import { configure, type Invocation, warn } from './context.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { config, warnings } = await configure(invocation);
  const { botId, tokenSource, command, cwd, envFile, configFile, polling, adminChatId } = config;
  const settings = OPTION_NAMES.map((name) => {
    const { kind, initial, defaultText } = optionRow(name);
    const set = config.settings.find(({ option }) => option === name);
    const unset = kind === 'value' && initial !== null ? defaultText : initial;
    return { option: flagOf(name), key: name, value: set ? set.value : unset, from: set?.from ?? null };
  });
  const head = {
    bot: botId,
    token: tokenSource,
    command: command && { argv: command.argv.map((word) => plain(word, 1_000)), from: command.source },
    ...{ cwd, envFile, configFile, stateDir: stateDirPath(process.env), polling, adminChat: adminChatId },
  };
  if (invocation.own.json === true) {
    process.stdout.write(`${JSON.stringify({ ...head, settings })}\n`);
    return EXIT.ok;
  }
  warn(warnings);
  settings.sort((a, b) => Number(a.from === null) - Number(b.from === null));
  const paint = await painter(process.stdout);
  const place = (path: string | null) => (path === null ? 'none' : plain(showPath(path, cwd)));
  const rows: readonly (readonly [string, string, string | null])[] = [
    ['bot', String(botId ?? 'no token'), tokenSource],
    ['worker', command ? plainCommand(command.argv) : 'none', command?.source ?? null],
    ['working folder', plain(cwd), null],
    ['state folder', plain(head.stateDir), process.env.SINGLEPOLL_DIR ? 'SINGLEPOLL_DIR' : null],
    ['env file', place(envFile), null],
    ['config file', place(configFile), null],
    ['admin chat', adminChatId ?? 'none', null],
    ['polling', polling ? 'yes' : 'no: deploy mode, nobody polls', polling ? null : 'POLLING_ENABLED'],
    ...settings.map(({ option, key, value, from }) => {
      const text =
        typeof value === 'boolean' ? (value ? 'yes' : 'no') : [value ?? []].flat().map(String).join('  ');
      return [option, plain(text || optionRow(key).defaultText, 100), from ?? 'default'] as const;
    }),
  ];
  const lines = rows.map(([name, value, from]) => {
    const line = `${name.padEnd(19)} ${from === null ? value : `${value.padEnd(24)}  ${from}`}`;
    return from === 'default' ? paint('tag', line) : line;
  });
  process.stdout.write(`${lines.join('\n')}\n`);
  return EXIT.ok;
}
