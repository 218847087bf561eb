/** The command line: commands made of their table, help, and the only place that sets the exit code. */
import { Command, CommanderError } from 'commander';
import { COMMANDS, type CommandRow } from './commands/table.ts';
import {
  addOptions,
  type CommandName,
  NEEDS,
  OPTIONS_EPILOGUE,
  type OptionScope,
  readFlags,
} from './config/options.ts';
import { maskTokens } from './config/token.ts';
import { EXIT, SinglepollError } from './errors.ts';
import { journalMarks } from './output/journal.ts';
import { OWNED_VARIABLE } from './service/messages.ts';
import { VERSION } from './version.ts';

/** What is left open after an error gets this long to end by itself. */
const LINGER_MS = 1_000;

/** `word` is the first: where it names a command, only that one is made. `exit` is told the exit code of the command that was run. */
function build(word: string | undefined, exit: (code: number) => void): Command {
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
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'singlepoll: ')) })
    .configureHelp({ showGlobalOptions: false })
    .addHelpText(
      'after',
      '\nExamples:\n  singlepoll start --sandbox            # try it: no token, no network\n  singlepoll start -- python bot.py     # the real thing\n',
    );
  const asked = COMMANDS.filter(
    ({ name, aliases = [] }) => name.split(' ', 1)[0] === word || aliases.includes(word ?? ''),
  );
  for (const row of asked.length > 0 ? asked : COMMANDS) addCommand(program, row, exit);
  return program;
}

function addCommand(program: Command, row: CommandRow, exit: (code: number) => void): void {
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
  if (scopes.length > 0) addOptions(it, name as CommandName);
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
      exit(await row.run({ command: name as CommandName, flags, own: it.opts(), words: it.args }));
    });
}

/**
 * Others (the look for strays of another singlepoll, `reset`) know us by our name in the process list, which a symlink or
 * a copy of another name would hide.
 */
function showName(script: string): void {
  if (!/(?:^|\/)singlepoll(?:\.js)?$/.test(script)) process.title = 'singlepoll';
}

/** `logs -20`, as `tail -20`. */
const asTail = (word: string): string => word.replace(/^-(\d+)$/, '-n$1');

/** Parses and runs; returns the exit code. */
async function main(argv: readonly string[]): Promise<number> {
  showName(argv[1] ?? '');
  let exitCode: number = EXIT.ok;
  const program = build(argv[2], (code) => {
    exitCode = code;
  });
  if (argv.length <= 2) {
    program.outputHelp({ error: true });
    return EXIT.usage;
  }
  try {
    if (argv[2] === '__complete')
      return await (await import('./commands/completion.ts')).complete(program, argv.slice(3));
    await program.parseAsync(argv[2] === 'logs' ? argv.map(asTail) : [...argv]);
    return exitCode;
  } catch (error) {
    if (!(error instanceof CommanderError)) return tell(error);
    if (error.exitCode === 0) return EXIT.ok;
    if (OWNED_VARIABLE in process.env) {
      const { openOwner } = await import('./service/link.ts');
      await openOwner().end(error.message.replace(/^error: /, ''));
    }
    return EXIT.usage;
  }
}

/** Says why it ends, and returns the exit code. Whatever went into a message, a token does not come out with it. */
function tell(error: unknown): number {
  const mark = journalMarks()('error');
  const say = (text: string) => process.stderr.write(`${mark}${maskTokens(text)}\n`);
  if (error instanceof SinglepollError) {
    say(`singlepoll: ${error.message}`);
    if (error.hint) say(error.hint.replace(/^/gm, '  → '));
    return error.exitCode;
  }
  say(
    `singlepoll: a bug in singlepoll ${VERSION} (node ${process.version}, ${process.platform}); please report this:\n` +
      `${(error instanceof Error && error.stack) || String(error)}`,
  );
  return EXIT.bug;
}

process.on('uncaughtException', (error: NodeJS.ErrnoException) => {
  // Whoever read our output has gone, as with `| head`: what was asked for is done all the same, and the exit code tells of it.
  if (error.code === 'EPIPE' && error.syscall === 'write') return;
  // A supervisor and a live screen have listeners of their own, and something to put in order first.
  if (process.listenerCount('uncaughtException') === 1) process.exit(tell(error));
});
main(process.argv).then((code) => {
  process.exitCode = code;
  // An error may have left something open that would keep this process, and what it holds, alive. (The streams of a process on Linux
  // and macOS are written at once, or by the sinks that were waited for.)
  if (code !== EXIT.ok) setTimeout(() => process.exit(), LINGER_MS).unref();
});
