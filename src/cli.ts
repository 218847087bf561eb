/**
 * The command line: commands, options, help; the only place that sets the exit code. Each command's code is loaded when it
 * is run, so that `--help` and `status` stay instant.
 */
import { Argument, Command, CommanderError, Option } from 'commander';
import type { Run } from './commands/invocation.ts';
import { addOptions, type CommandName, OPTIONS_EPILOGUE, readFlags } from './config/options.ts';
import { EXIT, SinglepollError } from './errors.ts';
import { OWNED_VARIABLE } from './owner/message.ts';
import { VERSION } from './version.ts';

/** What is left open after an error gets this long to end by itself. */
const LINGER_MS = 1_000;

const BOT_OPTION = [
  '--bot <id|@username>',
  'the bot, from any folder (default: the one whose token is configured here, else the only one that runs)',
] as const;

let exitCode: number = EXIT.ok;

function command(
  program: Command,
  name: CommandName,
  summary: string,
  examples: readonly [string, string],
  load: () => Promise<{ run: Run }>,
): Command {
  const it = program.command(name).summary(summary).description(summary);
  it.showHelpAfterError(`  → singlepoll ${name} --help`);
  addOptions(it, name);
  const epilogue =
    name === 'start' || name === 'reset' || name === 'install' ? `\n${OPTIONS_EPILOGUE}\n` : '';
  it.addHelpText('after', `${epilogue}\nExamples:\n${examples.map((line) => `  ${line}\n`).join('')}`);
  it.action(async () => {
    const { run } = await load();
    exitCode = await run({ command: name, flags: readFlags(it), own: it.opts(), words: it.args });
  });
  return it;
}

function build(): Command {
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
      // `--help | head` is no reason to complain.
      writeOut: (text) => void process.stdout.on('error', () => {}).write(text),
      outputError: (text, write) => write(text.replace(/^error: /, 'singlepoll: ')),
    })
    .configureHelp({ showGlobalOptions: false })
    .addHelpText(
      'after',
      '\nExamples:\n  singlepoll start --sandbox            # try it: no token, no network\n  singlepoll start -- python bot.py     # the real thing\n',
    );

  command(
    program,
    'start',
    'make this the only poller: lock, strays, webhook, worker; stays in the foreground, -d detaches',
    [
      'singlepoll start -- gunicorn app:app --workers=1',
      "singlepoll start -d --stray 'old_bot\\.py' -- node bot.js",
    ],
    () => import('./commands/start.ts'),
  )
    .argument(
      '[command...]',
      'the worker; else `command` of singlepoll.toml, else worker:, bot: or web: of a Procfile',
    )
    .passThroughOptions();
  command(
    program,
    'stop',
    'stop the supervisor of this bot and its whole worker tree',
    ['singlepoll stop', 'singlepoll stop --bot @my_bot'],
    () => import('./commands/stop.ts'),
  ).option(...BOT_OPTION);
  command(
    program,
    'restart',
    'replace the worker in place, gracefully; the supervisor and its lock stay',
    ['singlepoll restart', 'singlepoll restart --bot 123456'],
    () => import('./commands/restart.ts'),
  ).option(...BOT_OPTION);
  command(
    program,
    'reset',
    'the emergency: stop supervisor, worker and strays, clear the webhook, start again',
    ['singlepoll reset', 'singlepoll reset --no-start'],
    () => import('./commands/reset.ts'),
  )
    .option('--no-start', 'stop and clean up only (default: start again with the command of the last start)')
    .argument('[command...]', 'the worker to start instead of the last one')
    .passThroughOptions();
  installCommands(program);
  command(
    program,
    'status',
    'one screen: bot, supervisor, worker tree, polling, webhook, strays',
    ['singlepoll status --watch', 'singlepoll status --all --json'],
    () => import('./commands/status.ts'),
  )
    .option(...BOT_OPTION)
    .option('--all', 'list all bots that this user has run on this machine (default: off)')
    .option('--json', 'print one JSON document (default: off)')
    .option(
      '--watch',
      'show it live, with the last lines: r restarts the worker, q leaves; not on a terminal, or with --json: print it at each change (default: off)',
    );
  command(
    program,
    'who',
    'who polls this bot? evidence on this machine, graded, respawner named; on request a probe for others',
    ['singlepoll who --probe=40', "singlepoll who --json | jq '.strays[].pid'"],
    () => import('./commands/who.ts'),
  )
    .option('--json', 'print one JSON document (default: off)')
    .option(
      '--probe [time]',
      'also hold getUpdates for this long, 1s to 10m, to see who polls, here or elsewhere; it says first what that disturbs (default: off; 10s without a time)',
    );
  command(
    program,
    'logs',
    'output of a detached run, or of one with --log-file',
    ['singlepoll logs -f', 'singlepoll logs -n 100 --bot @my_bot'],
    () => import('./commands/logs.ts'),
  )
    .option(...BOT_OPTION)
    .option('-f, --follow', 'go on as it grows, across rotations, ends and starts (default: off)')
    .option('-n, --lines <number>', 'begin with this many of the last lines, or all (default: 10)');
  command(
    program,
    'ping',
    'send a message to the admin chat; prints its id and the round trip',
    ['singlepoll ping', 'singlepoll ping "deployed 1.4.2"'],
    () => import('./commands/ping.ts'),
  ).argument('[text]', 'the message (default: /ping)');
  sandboxCommand(program);
  doctorCommand(program);
  initCommand(program);
  completionCommand(program);
  return program;
}

function installCommands(program: Command): void {
  const kinds = ['systemd', 'cron'];
  const it = command(
    program,
    'install',
    'start at boot, as a service of systemd, or by cron; takes the options of start',
    [
      'singlepoll install --print -- python bot.py    # shows it, changes nothing',
      'sudo singlepoll install --now --run-as bot -- /srv/bot/venv/bin/python bot.py',
    ],
    () => import('./commands/install.ts'),
  )
    .optionsGroup('Options of install:')
    .addOption(
      new Option('--kind <kind>', 'what starts it (default: systemd where it runs, else cron)').choices(
        kinds,
      ),
    )
    .option('--system', 'for the whole machine, as root (default: for root)')
    .option('--user', 'for this user (default: for others)')
    .option('--run-as <user>', 'the user of a system unit of systemd (default: root)')
    .option('--name <name>', 'of the unit (default: singlepoll- and the name of the working folder)')
    .option(
      '--with-env <name>',
      'also keep this variable of the present environment; may be given many times (default: only those that are read)',
      (name: string, before: readonly string[] = []) => [...before, name],
    )
    .option('--now', 'also start it, or start it anew (default: off)')
    .option('--force', 'overwrite what install has not made (default: off)')
    .option('--print', 'print what would be installed, without secrets; change nothing (default: off)')
    .argument('[command...]', 'the worker, as for start')
    .passThroughOptions();
  it.addHelpText('after', '\nWhat the environment says goes into a file (0600), never into the unit.\n');
  program
    .command('uninstall')
    .summary('stop what install has made to start at boot, and remove it')
    .description('Stops what install has made to start at boot, and removes that and nothing else.')
    .option('--name <name>', 'of the unit (default: singlepoll- and the name of the working folder)')
    .option('--print', 'print what would be removed; change nothing (default: off)')
    .showHelpAfterError('  → singlepoll uninstall --help')
    .allowExcessArguments(false)
    .addHelpText(
      'after',
      '\nExamples:\n  singlepoll uninstall --print\n  sudo singlepoll uninstall --name my-bot\n',
    )
    .action(async (own: Record<string, unknown>) => {
      const { run } = await import('./commands/uninstall.ts');
      exitCode = await run(own);
    });
}

/** Not in the option table: the sandbox belongs to no bot and reads no configuration. */
function sandboxCommand(program: Command): void {
  const it = program
    .command('sandbox')
    .summary('a local Bot API stand-in for development and rehearsal')
    .description('A local Bot API stand-in for development and rehearsal; prints its root and a token.')
    .showHelpAfterError('  → singlepoll sandbox --help')
    .option('--port <number>', 'port on 127.0.0.1 (default: any free one)')
    .option('--bots <number>', 'how many bots, each with a token (default: 1)')
    .addHelpText(
      'after',
      '\nLines on stdin are messages to the first bot; !help lists the commands for faults, webhooks and rivals.\n\nExamples:\n  singlepoll sandbox --port 8081\n  singlepoll sandbox > .env     # in an empty folder; then, in another terminal: singlepoll start -- python bot.py\n',
    )
    .action(async () => {
      const { run } = await import('./commands/sandbox.ts');
      exitCode = await run(it.opts());
    });
}

/** Neither needs a token or a configuration that can be read: they are for projects that have none yet. */
function doctorCommand(program: Command): void {
  const it = program
    .command('doctor')
    .summary(
      'what will make a 409 here? causes in the project’s files, each with its cure; checks of the machine',
    )
    .description(
      'Reads the files of a project and names the causes of a 409 before they happen, each with place, reason and cure; checks process list, state folder, permissions, DNS, Bot API and clock. Reads only. Exit code 0: nothing found, 1: findings.',
    )
    .argument('[folder]', 'the project (default: the working folder)')
    .option('--json', 'print one JSON document (default: off)')
    .option('--offline', 'leave out DNS, Bot API and clock (default: off)')
    .showHelpAfterError('  → singlepoll doctor --help')
    .allowExcessArguments(false)
    .addHelpText(
      'after',
      "\nExamples:\n  singlepoll doctor\n  singlepoll doctor --offline --json /srv/bot | jq '.findings[].why'\n",
    )
    .action(async () => {
      const { run } = await import('./commands/doctor.ts');
      exitCode = await run(it.args[0] ?? null, it.opts());
    });
}

function initCommand(program: Command): void {
  const it = program
    .command('init')
    .summary('write a commented singlepoll.toml for the project in the working folder')
    .description(
      'Looks at the project in the working folder and writes a commented singlepoll.toml: the command it found, strays to look for, a lease where one is near. Shows the line that points the bot at the gateway. Overwrites nothing unasked.',
    )
    .option('--force', 'overwrite the singlepoll.toml that is there (default: off)')
    .option('--print', 'print it instead of writing it (default: off)')
    .showHelpAfterError('  → singlepoll init --help')
    .allowExcessArguments(false)
    .addHelpText('after', '\nExamples:\n  singlepoll init\n  singlepoll init --print | less\n')
    .action(async () => {
      const { run } = await import('./commands/init.ts');
      exitCode = await run(it.opts());
    });
}

function completionCommand(program: Command): void {
  program
    .command('completion')
    .summary('print the script that completes commands and options in a shell')
    .description('Prints the script that completes commands, options and their values in bash, zsh or fish.')
    .addArgument(new Argument('<shell>').choices(['bash', 'zsh', 'fish']))
    .showHelpAfterError('  → singlepoll completion --help')
    .allowExcessArguments(false)
    .addHelpText(
      'after',
      `
Examples:
  echo 'source <(singlepoll completion bash)' >> ~/.bashrc
  singlepoll completion zsh > "\${fpath[1]}/_singlepoll"     # or, behind compinit in ~/.zshrc: source <(singlepoll completion zsh)
  singlepoll completion fish > ~/.config/fish/completions/singlepoll.fish
`,
    )
    .action(async (shell: 'bash' | 'zsh' | 'fish') => {
      const { run } = await import('./commands/completion.ts');
      exitCode = run(shell, program);
    });
}

/**
 * Others (the look for strays of another singlepoll, `reset`) know us by our name in the process list, which a symlink or
 * a copy of another name would hide.
 */
function showName(script: string): void {
  if (!/(?:^|\/)singlepoll(?:\.c?js)?$/.test(script)) process.title = 'singlepoll';
}

/** `logs -20`, as `tail -20`. */
const asTail = (word: string): string => word.replace(/^-(\d+)$/, '-n$1');

/** Parses and runs; returns the exit code. */
async function main(argv: readonly string[]): Promise<number> {
  showName(argv[1] ?? '');
  const program = build();
  if (argv.length <= 2) {
    program.outputHelp({ error: true });
    return EXIT.usage;
  }
  try {
    await program.parseAsync(argv[2] === 'logs' ? argv.map(asTail) : [...argv]);
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return EXIT.ok;
      if (OWNED_VARIABLE in process.env) {
        const { openOwner } = await import('./owner/link.ts');
        await openOwner().end(error.message.replace(/^error: /, ''));
      }
      return EXIT.usage;
    }
    // Whatever went into a message, a token does not come out with it.
    const { maskText } = await import('./output/mask.ts');
    if (SinglepollError.is(error)) {
      process.stderr.write(maskText(`singlepoll: ${error.message}\n`, []));
      if (error.hint) process.stderr.write(maskText(`${error.hint.replace(/^/gm, '  → ')}\n`, []));
      return error.exitCode;
    }
    const what = error instanceof Error ? error.stack : String(error);
    process.stderr.write(
      `singlepoll: a bug in singlepoll ${VERSION} (node ${process.version}, ${process.platform}); please report this:\n` +
        `${maskText(what ?? '', [])}\n`,
    );
    return EXIT.bug;
  }
}

main(process.argv).then((code) => {
  process.exitCode = code;
  // An error may have left something open that would keep this process, and what it holds, alive. (The streams of a
  // process on Linux and macOS are written at once, or by the sinks that were waited for.)
  if (code !== EXIT.ok) setTimeout(() => process.exit(), LINGER_MS).unref();
});
