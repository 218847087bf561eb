/**
 * Which commands know which options, and what they cannot do without. `status` and its like must work beside a broken
 * singlepoll.toml, so a mistake in an option that a command does not use is only a warning there.
 */
import type { CommandName } from './config.ts';
import { OPTION_NAMES, type OptionName, type OptionScope, optionRow } from './options.ts';

interface Needs {
  readonly scopes: readonly OptionScope[];
  /** A command to run as the worker; `reset` can take that of the last start. */
  readonly command: boolean;
  readonly token: boolean;
}

const FULL: readonly OptionScope[] = ['bot', 'strays', 'lease', 'run'];

const NEEDS: Readonly<Record<CommandName, Needs>> = {
  start: { scopes: FULL, command: true, token: true },
  reset: { scopes: FULL, command: false, token: true },
  install: { scopes: FULL, command: true, token: true },
  stop: { scopes: ['bot'], command: false, token: false },
  restart: { scopes: ['bot'], command: false, token: false },
  status: { scopes: ['bot', 'strays', 'lease'], command: false, token: false },
  who: { scopes: ['bot', 'strays', 'lease'], command: false, token: true },
  ping: { scopes: ['bot'], command: false, token: true },
  logs: { scopes: ['bot'], command: false, token: false },
};

export function needs(command: CommandName): Needs {
  return NEEDS[command];
}

/** The options that a command has, in the order of the table. */
export function optionsOf(command: CommandName): readonly OptionName[] {
  return OPTION_NAMES.filter((name) => NEEDS[command].scopes.includes(optionRow(name).scope));
}
