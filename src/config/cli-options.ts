/**
 * Puts the option table on a commander command and reads the raw values back. commander itself is imported by the caller;
 * values are not parsed here, so that a wrong flag is reported together with every other mistake.
 */
import type { Command } from 'commander';
import { optionsOf } from './command-scope.ts';
import type { CommandName } from './config.ts';
import { longFlag, OPTION_NAMES, type OptionName, optionRow } from './options.ts';
import type { RawFlags } from './sources.ts';

/** Taken by install, which gives them a meaning of its own, or none: not worth a line there. */
const NOT_FOR_INSTALL: readonly OptionName[] = ['dryRun', 'detach', 'startTimeout'];

/** Adds every option that `name` has; flags also get a hidden `--no-…`, to take back what a file or variable says. */
export function addOptions(command: Command, name: CommandName): Command {
  for (const option of optionsOf(name)) {
    const row = optionRow(option);
    const hidden = name === 'install' && NOT_FOR_INSTALL.includes(option);
    const short = row.short === undefined ? '' : `-${row.short}, `;
    const long = longFlag(option);
    if (row.kind === 'flag') {
      const flag = command.createOption(`${short}${long}`, `${row.description} (default: off)`);
      command.addOption(hidden ? flag.hideHelp() : flag);
      if (!long.startsWith('--no-')) {
        command.addOption(
          command
            .createOption(`--no-${long.slice(2)}`)
            .hideHelp()
            .default(undefined),
        );
      }
      continue;
    }
    const described = command.createOption(
      `${short}${long} <${row.placeholder}>`,
      `${row.description} (default: ${row.defaultText})`,
    );
    if (row.kind === 'list') {
      described.argParser((text: string, before: readonly string[] | undefined) => [...(before ?? []), text]);
    }
    command.addOption(hidden ? described.hideHelp() : described);
  }
  return command;
}

/** The flags that were typed, unparsed. */
export function readFlags(command: Command): RawFlags {
  const flags: { [K in OptionName]?: string | readonly string[] | boolean } = {};
  for (const name of OPTION_NAMES) {
    const long = longFlag(name);
    const negated = long.startsWith('--no-');
    // commander keeps --no-x as `x`, false.
    const attribute = negated ? name.charAt(2).toLowerCase() + name.slice(3) : name;
    if (command.getOptionValueSource(attribute) !== 'cli') continue;
    const value = command.getOptionValue(attribute) as string | readonly string[] | boolean;
    flags[name] = negated ? value === false : value;
  }
  return flags;
}

/** Said below the options in --help. */
export const OPTIONS_EPILOGUE = `Times: 500ms, 15s, 1m30s, 2h; a number alone is seconds.
Every long option has a twin in the environment and the env file (--stop-timeout: SINGLEPOLL_STOP_TIMEOUT) and in
singlepoll.toml (stopTimeout). The command line wins over the environment, the env file, the TOML file, the default.
A repeatable option is not merged: the strongest place counts; in a variable, one value per line.`;
