/**
 * What to run as the worker: the words on the command line, else `command` of the TOML file, else a line of the Procfile in
 * the working folder. The words are kept as they are; only a Procfile line goes through a shell.
 */
import { join } from 'node:path';
import type { WorkerCommand } from './config.ts';
import type { ConfigError } from './config-error.ts';
import { parseProcfile } from './procfile.ts';
import { readTextFile } from './read-file.ts';
import { type Layers, tomlWhere } from './sources.ts';

export interface CommandSearch {
  readonly command: WorkerCommand | null;
  readonly errors: readonly ConfigError[];
  /** What was found and could not be used, for the error that shows how to give a command. */
  readonly note: string | null;
}

export function findCommand(argv: readonly string[], toml: Layers['toml'], cwd: string): CommandSearch {
  // A mistake in the file is told even where the command line makes it harmless today.
  const written = inToml(toml);
  if (argv.length > 0) {
    const typed = checked(argv, 'command line');
    return { ...typed, errors: [...typed.errors, ...(written?.errors ?? [])] };
  }
  return written ?? inProcfile(join(cwd, 'Procfile'));
}

function inToml(toml: Layers['toml']): CommandSearch | null {
  const value = toml?.values.command;
  if (!toml || value === undefined) return null;
  const where = tomlWhere('command', toml);
  if (!Array.isArray(value) || !value.every((word) => typeof word === 'string')) {
    return refused(where, 'it is not an array of texts, such as command = ["node", "bot.js"]');
  }
  return checked(value, where);
}

function inProcfile(path: string): CommandSearch {
  const file = readTextFile(path);
  if (file.kind === 'missing') return { command: null, errors: [], note: null };
  if (file.kind !== 'text')
    return { command: null, errors: [], note: `the Procfile cannot be used: ${file.problem}` };
  const { command, processes } = parseProcfile(file.text);
  if (command) {
    return checked(command.argv, `${command.process}: in Procfile`);
  }
  const names = processes.slice(0, 8).map((name) => `${name}:`);
  const note = `the Procfile has no worker:, bot: or web: line (it has ${names.join(', ') || 'no lines at all'})`;
  return { command: null, errors: [], note };
}

function checked(argv: readonly string[], source: string): CommandSearch {
  if (argv.length === 0) return refused(source, 'it is empty');
  if (argv[0]!.trim() === '') return refused(source, 'its first word, the program, is empty');
  if (argv.some((word) => word.includes('\0'))) return refused(source, 'it holds a NUL');
  return { command: { argv: [...argv], source }, errors: [], note: null };
}

function refused(where: string, problem: string): CommandSearch {
  return { command: null, errors: [{ where, message: `${where}: ${problem}` }], note: null };
}

/** The error of a start without a command; shows the three ways to give one. */
export function noCommand(note: string | null): ConfigError {
  const message = [
    `no command to run${note === null ? '' : ` (${note})`}. Three ways to give one:`,
    '  singlepoll start -- node bot.js       on the command line',
    '  command = ["node", "bot.js"]          in singlepoll.toml',
    '  worker: node bot.js                   in a Procfile',
  ].join('\n');
  return { where: 'command line', message };
}
