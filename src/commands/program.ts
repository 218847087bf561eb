/** The command line, made of the tables of commands and options: parsing and help. */
import { Command } from 'commander';
import {
  addOptions,
  type CommandName,
  NEEDS,
  OPTIONS_EPILOGUE,
  type OptionScope,
  readFlags,
} from '../config/options.ts';
import { maskTokens } from '../config/token.ts';
import { VERSION } from '../errors.ts';
import type { Invocation } from './context.ts';
import { COMMANDS, type CommandRow } from './table.ts';

type RunCommand = (row: CommandRow, invocation: Invocation) => Promise<void>;

/** `words` stand behind `singlepoll`. If the first names a command, only that one is made, which saves time. `run` does what was typed. */
export function buildProgram(words: readonly string[], run: RunCommand): Command {
  const [word = ''] = words;
  const program = new Command('singlepoll');
  program
    .description('Guarantees that exactly one process polls a Telegram bot.')
    .version(
      `${VERSION} (node ${process.version}, ${process.platform} ${process.arch})`,
      '-V, --version',
      'print the version, and those of node and platform',
    )
    .enablePositionalOptions()
    .showHelpAfterError('  → singlepoll --help')
    .exitOverride()
    .configureOutput({
      outputError: (text, write) => write(maskTokens(text).replace(/^error: /, 'singlepoll: ')),
    })
    // The option names of `start` leave 36 of 80 columns, at which commander would not wrap any more.
    .configureHelp({ showGlobalOptions: false, minWidthToWrap: 20 })
    .addHelpText(
      'after',
      '\nExamples:\n  singlepoll start --sandbox            # try it: no token, no network\n  singlepoll start -- python bot.py     # the real thing\n',
    );
  const asked = COMMANDS.filter(
    ({ name, aliases = [] }) => name.split(' ', 1)[0] === word || aliases.includes(word),
  );
  // The list of commands says which of them take options, but not what these are.
  const isList = words.length === 1 && word.startsWith('-');
  for (const row of asked.length > 0 ? asked : COMMANDS) addCommand(program, row, isList, run);
  return program;
}

function addCommand(program: Command, row: CommandRow, isListed: boolean, run: RunCommand): void {
  const [name = '', argument] = row.name.split(' ', 2);
  const it = program
    .command(name)
    .aliases(row.aliases ?? [])
    .summary(row.summary)
    .description(row.description ?? row.summary);
  const scopes: readonly OptionScope[] = NEEDS[name as CommandName]?.scopes ?? [];
  const isRun = scopes.includes('run');
  for (const [flags, help, accepts] of row.options ?? []) {
    const option = it.createOption(flags, help);
    if (accepts === 'many')
      option.argParser((text: string, before: readonly string[] = []) => [...before, text]);
    else if (accepts) option.choices(accepts);
    if (isRun) option.helpGroup(`Options of ${name}:`);
    it.addOption(option);
  }
  if (scopes.length > 0) addOptions(it, name as CommandName, isListed ? 1 : undefined);
  if (argument !== undefined) {
    const words = it.createArgument(argument, row.argument);
    it.addArgument(row.choices ? words.choices(row.choices) : words);
    if (words.variadic) it.passThroughOptions();
  }
  const examples = `Examples:\n${row.examples.map((line) => `  ${line}\n`).join('')}`;
  const texts = [isRun ? `${OPTIONS_EPILOGUE}\n` : '', row.note ? `${row.note}\n` : '', examples];
  it.addHelpText('after', `\n${texts.filter(Boolean).join('\n')}`)
    .showHelpAfterError(`  → singlepoll ${name} --help`)
    .action(async () => {
      const flags = scopes.length > 0 ? readFlags(it) : {};
      await run(row, { command: name as CommandName, flags, own: it.opts(), words: it.args });
    });
}
