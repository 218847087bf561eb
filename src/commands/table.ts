/** The commands, in the order of --help. The code of each is loaded when it is run, so that `--help` and `status` stay instant. */
import type { Run } from './context.ts';

/** Flags and what --help says of them; the values that are accepted, or that it may be given `many` times. */
type OwnOption = readonly [flags: string, help: string, accepts?: readonly string[] | 'many'];

export interface CommandRow {
  /** A word, and its argument: `start [command...]`. */
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly summary: string;
  /** Longer than the summary, for its own help. */
  readonly description?: string;
  /** What the argument is, and what it may be. */
  readonly argument?: string;
  readonly choices?: readonly string[];
  readonly options?: readonly OwnOption[];
  readonly note?: string;
  readonly examples: readonly string[];
  readonly run: Run;
}

const WHICH_BOT =
  'the bot, by id, @username or name of its folder, from anywhere (default: the one whose token is configured here, else the only one that runs)';
const BOT = ['--bot <bot>', WHICH_BOT] as const;
/** The same as an argument: `singlepoll stop @my_bot`. */
const NAMED = { argument: WHICH_BOT, options: [['--bot <bot>', 'the same as the argument']] } as const;
const JSON_OPTION = ['--json', 'print one JSON document (default: off)'] as const;
const UNIT_NAME = [
  '--name <name>',
  'of the unit (default: singlepoll- and the name of the working folder)',
] as const;

/** Those that are in NEEDS have the options of the option table, too. */
export const COMMANDS: readonly CommandRow[] = [
  {
    name: 'start [command...]',
    summary: 'make this the only poller: lock, strays, webhook, worker; stays in the foreground, -d detaches',
    argument: 'the worker; else `command` of singlepoll.toml, else worker:, bot: or web: of a Procfile',
    examples: [
      'singlepoll start -- gunicorn app:app --workers=1',
      "singlepoll start -d --stray 'old_bot\\.py' -- node bot.js",
    ],
    run: async (it) => (await import('./start.ts')).run(it),
  },
  {
    name: 'stop [bot]',
    summary: 'stop the supervisor of this bot and its whole worker tree',
    ...NAMED,
    examples: ['singlepoll stop', 'singlepoll stop @my_bot'],
    run: async (it) => (await import('./orders.ts')).stop(it),
  },
  {
    name: 'restart [bot]',
    summary:
      'replace the worker in place, gracefully, with env file and TOML as they are now; the supervisor and its lock stay',
    argument: WHICH_BOT,
    options: [...NAMED.options, ['--same-env', 'do not read the files again (default: off)']],
    examples: ['singlepoll restart', 'singlepoll restart 123456 --same-env'],
    run: async (it) => (await import('./orders.ts')).restart(it),
  },
  {
    name: 'reset [command...]',
    summary: 'the emergency: stop supervisor, worker and strays, clear the webhook, start again',
    argument: 'the worker to start instead of the last one',
    options: [
      ['--no-start', 'stop and clean up only (default: start again with the command of the last start)'],
    ],
    examples: ['singlepoll reset', 'singlepoll reset --no-start'],
    run: async (it) => (await import('./reset.ts')).run(it),
  },
  {
    name: 'install [command...]',
    summary: 'start at boot, as a service of systemd, or by cron; takes the options of start',
    argument: 'the worker, as for start',
    options: [
      ['--kind <kind>', 'what starts it (default: systemd where it runs, else cron)', ['systemd', 'cron']],
      ['--system', 'for the whole machine, as root (default: for root)'],
      ['--user', 'for this user (default: for others)'],
      ['--run-as <user>', 'the user of a system unit of systemd (default: root)'],
      UNIT_NAME,
      [
        '--with-env <name>',
        'also keep this variable of the present environment; may be given many times (default: only those that are read)',
        'many',
      ],
      ['--now', 'also start it, or start it anew (default: off)'],
      ['--force', 'overwrite what install has not made (default: off)'],
      ['--print', 'print what would be installed, without secrets; change nothing (default: off)'],
    ],
    note: 'What the environment says goes into a file (0600), never into the unit.',
    examples: [
      'singlepoll install --print -- python bot.py    # shows it, changes nothing',
      'sudo singlepoll install --now --run-as bot -- /srv/bot/venv/bin/python bot.py',
    ],
    run: async (it) => (await import('./install.ts')).run(it),
  },
  {
    name: 'uninstall',
    summary: 'stop what install has made to start at boot, and remove that and nothing else',
    options: [UNIT_NAME, ['--print', 'print what would be removed; change nothing (default: off)']],
    examples: ['singlepoll uninstall --print', 'sudo singlepoll uninstall --name my-bot'],
    run: async ({ own }) => (await import('./install.ts')).uninstall(own),
  },
  {
    name: 'status [bot]',
    summary: 'one screen: bot, supervisor, worker tree, polling, webhook, strays',
    ...NAMED,
    options: [
      ...NAMED.options,
      ['--all', 'list all bots that this user has run on this machine (default: off)'],
      [
        '--history [time]',
        'what happened in this time, 1m to 7d: gaps in polling and their causes, the longest first (default: off; 1d without a time)',
      ],
      JSON_OPTION,
      [
        '--watch',
        'show it live, with the last lines: r restarts the worker, q leaves; not on a terminal, or with --json: print it at each change (default: off)',
      ],
    ],
    examples: ['singlepoll status --watch', 'singlepoll status --history 7d'],
    run: async (it) => (await import('./status.ts')).run(it),
  },
  {
    name: 'list',
    aliases: ['ls', 'ps'],
    summary: 'all bots that this user has run on this machine; the same as status --all, and as ps',
    options: [JSON_OPTION],
    examples: ['singlepoll list', 'singlepoll ps --json'],
    run: async ({ own }) => (await import('./status.ts')).statusOfAll(own.json === true),
  },
  {
    name: 'who',
    summary:
      'who polls this bot? evidence on this machine, graded, with what would start it again; --probe asks who else polls',
    options: [
      BOT,
      JSON_OPTION,
      [
        '--probe [time]',
        'also hold getUpdates for this long, 1s to 10m, to see who polls, here or elsewhere; it says first what that disturbs (default: off; 10s without a time)',
      ],
    ],
    examples: ['singlepoll who --probe=40', "singlepoll who --json | jq '.strays[].pid'"],
    run: async (it) => (await import('./who.ts')).run(it),
  },
  {
    name: 'logs [bot]',
    summary: 'output of a detached run, or of one with --log-file',
    ...NAMED,
    options: [
      ...NAMED.options,
      ['-f, --follow', 'go on as it grows, across rotations, ends and starts (default: off)'],
      [
        '-n, --lines <number>',
        'begin with this many of the last lines, or all (default: 10; with --since: all)',
      ],
      ['--tail <number>', 'the same as --lines'],
      [
        '--since <time>',
        'only what was printed since then: 10m (ago), 2h, or a time such as 2026-11-21T09:00 (default: any time)',
      ],
      ['--json', 'print each line as a JSON object with at, from and text (default: off)'],
    ],
    examples: ['singlepoll logs -f', 'singlepoll logs @my_bot --since 10m'],
    run: async (it) => (await import('./logs.ts')).run(it),
  },
  {
    name: 'config [command...]',
    summary: 'the settings that start would use here, each with its place; takes the options of start',
    argument: 'the worker, as for start',
    options: [JSON_OPTION],
    examples: ['singlepoll config', "singlepoll config --json | jq '.settings[] | select(.from)'"],
    run: async (it) => (await import('./config.ts')).run(it),
  },
  {
    name: 'ping [text]',
    summary: 'send a message to the admin chat; prints its id and the round trip',
    argument: 'the message (default: /ping)',
    examples: ['singlepoll ping', 'singlepoll ping "deployed 1.4.2"'],
    run: async (it) => (await import('./ping.ts')).run(it),
  },
  {
    name: 'sandbox',
    summary: 'a local Bot API stand-in for development and rehearsal; prints its root and a token',
    options: [
      ['--port <number>', 'port on 127.0.0.1 (default: any free one)'],
      ['--bots <number>', 'how many bots, each with a token (default: 1)'],
    ],
    note: 'Lines on stdin are messages to the first bot; !help lists the commands for faults, webhooks and rivals.',
    examples: [
      'singlepoll sandbox --port 8081',
      'singlepoll sandbox > .env     # in an empty folder; then, in another terminal: singlepoll start -- python bot.py',
    ],
    run: async ({ own }) => (await import('./sandbox.ts')).run(own),
  },
  {
    name: 'doctor [folder]',
    summary:
      'what will make a 409 here? causes in the project’s files, each with its cure; checks of the machine',
    description:
      'Reads the files of a project and names the causes of a 409 before they happen, each with place, reason and cure; checks process list, state folder, permissions, DNS, Bot API and clock. Reads only. Exit code 0: nothing found, 1: findings.',
    argument: 'the project (default: the working folder)',
    options: [JSON_OPTION, ['--offline', 'leave out DNS, Bot API and clock (default: off)']],
    examples: ['singlepoll doctor', "singlepoll doctor --offline --json /srv/bot | jq '.findings[].why'"],
    run: async ({ words, own }) => (await import('./doctor.ts')).run(words[0] ?? null, own),
  },
  {
    name: 'init',
    summary: 'write a commented singlepoll.toml for the project in the working folder',
    description:
      'Looks at the project in the working folder and writes a commented singlepoll.toml: the command it found, strays to look for, a lease where one is near. Shows the line that points the bot at the gateway. Overwrites nothing without --force.',
    options: [
      ['--force', 'overwrite the singlepoll.toml that is there (default: off)'],
      ['--print', 'print it instead of writing it (default: off)'],
    ],
    examples: ['singlepoll init', 'singlepoll init --print | less'],
    run: async ({ own }) => (await import('./init.ts')).run(own),
  },
  {
    name: 'completion <shell>',
    summary: 'print the script that completes commands, options and their values in a shell',
    argument: 'the shell',
    choices: ['bash', 'zsh', 'fish'],
    examples: [
      "echo 'source <(singlepoll completion bash)' >> ~/.bashrc",
      // biome-ignore lint/suspicious/noTemplateCurlyInString: of zsh.
      'singlepoll completion zsh > "${fpath[1]}/_singlepoll"     # or, behind compinit in ~/.zshrc: source <(singlepoll completion zsh)',
      'singlepoll completion fish > ~/.config/fish/completions/singlepoll.fish',
    ],
    run: async ({ words }) => (await import('./completion.ts')).run(words[0] as 'bash' | 'zsh' | 'fish'),
  },
];
