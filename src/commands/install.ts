/** `singlepoll install`: what starts at boot, made of the configuration that `start` would run with now. And `singlepoll uninstall`. */
import { existsSync, realpathSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config/load.ts';
import { flagWords, type RawFlags, twinOf } from '../config/options.ts';
import { exists, findStateDir, openStateDir } from '../config/state-dir.ts';
import { secretFlags } from '../config/targets.ts';
import { holdsTokenShape } from '../config/token.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { isOpenToOthers, makeFolder, modeText } from '../files.ts';
import { cron } from '../install/cron.ts';
import * as plans from '../install/plan.ts';
import { type Starter, systemd } from '../install/systemd.ts';
import { plain } from '../output/plain.ts';
import { isRoot, sudo } from '../shell.ts';
import { checkCommand } from '../supervisor/announce.ts';
import { askControl } from '../supervisor/control.ts';
import { isProgramInPath } from '../supervisor/executable.ts';
import { presentSupervisor } from '../supervisor/holder.ts';
import { configure, type Invocation, warn, workingFolder } from './context.ts';
import { type Bot, findBots } from './find.ts';
import { ORDER_WAIT_MS, tellStopped } from './orders.ts';

const STARTERS: Readonly<Record<plans.Kind, Starter>> = { systemd, cron };

export async function run(invocation: Invocation): Promise<number> {
  const { config, warnings } = await configure(invocation);
  checkCommand(config);
  const { own } = invocation;
  const kind = (own.kind as plans.Kind | undefined) ?? plans.findKind();
  const isShown = own.print === true || config.dryRun;
  const plan = makePlan(invocation, config, kind, isShown);
  const closed = await plans.whatIsClosed(plan.runAs, plan.words, config);
  if (closed && !isShown) throw closed;
  warn([...warnings, ...doubts(plan, config), ...(closed ? [closed.message] : [])]);
  const starter = STARTERS[kind];
  const names = Object.keys(plan.env).join(', ');
  if (isShown) {
    starter.show(plan, `# ${plain(plan.envPath)} (0600) would hold: ${names}\n`);
    return EXIT.ok;
  }
  const isUpdate = checkPlace(plan, own.force === true);
  await starter.check(plan);
  if (own.force !== true) await checkOthers(plan);
  makeFolder(join(openStateDir(process.env), 'install'));
  plans.writePlanned(plan.envPath, plans.envFileText(plan.made.name, plan.env), 0o600);
  const { lines, toStart } = await starter.put(plan);
  const head = `${isUpdate ? 'updated' : 'installed'}: ${plan.made.name}`;
  const envLine = `  env     ${plain(plan.envPath)} (0600): ${names}`;
  process.stdout.write(`${[head, ...lines, envLine].join('\n')}\n`);
  if (own.now === true) await starter.start(plan, await presentSupervisor(config));
  const next = `${isUpdate ? 'to take effect' : 'to start it now'}: ${toStart}`;
  process.stdout.write(`${own.now === true ? 'started: it polls, or stands by' : next}\n`);
  return EXIT.ok;
}

function makePlan(invocation: Invocation, config: Config, kind: plans.Kind, isShown: boolean): plans.Plan {
  const { own, flags, words } = invocation;
  const system = kind === 'systemd' && (own.system === true || (isRoot() && own.user !== true));
  const runAs = typeof own.runAs === 'string' ? own.runAs : null;
  // Secrets may not stand in a unit: they go into the env file, by the twin of their option.
  const secrets = secretFlags(flags);
  const given = Object.entries(flags).filter(([name]) => !secrets.some((it) => it.name === name));
  const command = [
    ...startWords(Object.fromEntries(given), kind, config),
    ...(words.length > 0 ? ['--'] : []),
    ...words,
  ];
  const problems: readonly (readonly [boolean, number, string, string?])[] = [
    [own.system === true && own.user === true, EXIT.usage, '--system and --user exclude each other'],
    [own.system === true && kind === 'cron', EXIT.usage, 'cron knows only users: --system goes with systemd'],
    [config.stdin, EXIT.config, '--stdin is for the foreground: what starts at boot has no terminal'],
    [
      runAs !== null && !system,
      EXIT.usage,
      '--run-as goes with a system unit: elsewhere install as that user',
      `sudo -u ${runAs} singlepoll install …`,
    ],
    [
      runAs !== null && !/^\w[\w.-]{0,63}$/.test(runAs),
      EXIT.usage,
      '--run-as takes the name or number of a user',
    ],
    [
      system && !isRoot() && !isShown,
      EXIT.refused,
      'only root may install for the whole machine',
      'sudo singlepoll install --system …',
    ],
    [
      command.some(holdsTokenShape),
      EXIT.config,
      'the command holds a bot token, which any user could read in the unit and in the process list',
      'let the bot take it from TELEGRAM_BOT_TOKEN, which singlepoll gives it',
    ],
  ];
  for (const [isProblem, exit, message, hint] of problems)
    if (isProblem) throw new SinglepollError(exit, message, hint);
  const name = plans.chooseName(own.name, config.cwd);
  return {
    ...{ kind, system, words: command, ...plans.privateFiles(name) },
    made: { name, bot: config.botId, cwd: config.cwd },
    // Root is named, too: systemd sets HOME only where a unit says its user.
    runAs: system ? (runAs ?? 'root') : null,
    env: {
      ...plans.variablesToKeep(process.env, config, namesToKeep(own.withEnv, config)),
      ...Object.fromEntries(secrets.map((it) => [twinOf(it.name), it.value])),
    },
    stopTimeoutMs: config.stopTimeoutMs,
    startTimeoutMs: config.startTimeoutMs,
  };
}

/** The absolute paths of node and of ourselves: at boot there is no PATH to find them by. */
function startWords(
  { dryRun: _, detach: __, ...flags }: RawFlags,
  kind: plans.Kind,
  config: Config,
): string[] {
  const detach = kind === 'cron' ? { detach: true } : config.detach ? { detach: false } : {};
  // Nobody would start the unit again once a passing poller has gone, so it waits for that itself.
  const wait = config.noWait || config.takeover ? {} : { wait: true };
  const program = [process.execPath, ...process.execArgv, '--', realpathSync(process.argv[1] ?? '')];
  return [...program, 'start', ...flagWords({ ...flags, ...wait, ...detach })];
}

function namesToKeep(given: unknown, config: Config): readonly string[] {
  const asked = Array.isArray(given) ? given.map(String) : [];
  const missing = asked.filter((name) => process.env[name] === undefined);
  if (missing.length > 0)
    throw new SinglepollError(EXIT.config, `--with-env: not set here: ${plain(missing.join(', '), 200)}`);
  // Options may name a variable in place of a value.
  const named = config.settings.flatMap(({ value }) => /^env:(\w+)$/.exec(String(value))?.[1] ?? []);
  return [...asked, ...named];
}

/** Warnings, which do not keep it from being installed. */
function doubts({ words, runAs, made }: plans.Plan, { envFile, tokenSource }: Config): string[] {
  const statsOf = (path: string) => statSync(path, { throwIfNoEntry: false });
  const mode = (envFile && statsOf(envFile)?.mode) || 0;
  const file = plain(envFile ?? '');
  return [
    ...(isOpenToOthers(mode) && !tokenSource?.endsWith('in the environment')
      ? [`${file} is open to other users (mode ${modeText(mode)}), and may hold the token: chmod 600 ${file}`]
      : []),
    ...(words.some((word) => word.includes('/_npx/'))
      ? [
          'this singlepoll lies in the cache of npx, which may be emptied: npm install -g singlepoll, and install again',
        ]
      : []),
    ...(runAs === 'root' && statsOf(made.cwd)?.uid !== 0
      ? [`the bot will run as root, though ${plain(made.cwd)} belongs to another user: --run-as USER`]
      : []),
  ];
}

const listAll = async (): Promise<plans.Found[]> => [...(await systemd.list()), ...(await cron.list())];

/** The same bot, installed under another name or for somebody else, would only stand by. Throws 78. */
async function checkOthers({ kind, system, made }: plans.Plan): Promise<void> {
  const all = await listAll();
  const isTwin = (it: plans.Found) => made.bot !== null && it.made?.bot === made.bot;
  const isElse = (it: plans.Found) => it.name !== made.name || it.kind !== kind || it.system !== system;
  const other = all.find((it) => isTwin(it) && isElse(it));
  const foreign = other ? undefined : plans.installedByOthers().find(isTwin);
  const found = other ?? foreign;
  if (!found) return;
  const of = foreign ? ` of ${plain(foreign.user, 40)}` : '';
  const what =
    found.kind === 'cron'
      ? `a line of cron${of}`
      : `a ${found.system ? 'system' : 'user'} unit of systemd${of}`;
  const asUser = foreign && `sudo -u ${plain(foreign.user, 40)} XDG_RUNTIME_DIR=/run/user/${foreign.uid} `;
  const as = asUser ?? (found.system ? sudo() : '');
  throw new SinglepollError(
    EXIT.config,
    `this bot is installed already, as ${found.name} (${what}, ${plain(found.path)}); nothing was changed`,
    `${as}singlepoll uninstall --name ${found.name}    # first; or, to have both: --force`,
  );
}

/** Whether it is there already. Throws 78 where it is somebody else's, or where it could not work. */
function checkPlace(plan: plans.Plan, force: boolean): boolean {
  const { kind, made } = plan;
  const missing = STARTERS[kind].needs.find((program) => !isProgramInPath(program));
  const print = `singlepoll install --kind ${kind} --print`;
  if (missing) throw new SinglepollError(EXIT.config, `there is no ${missing} here`, print);
  const path = STARTERS[kind].markedFile(plan);
  if (!exists(path)) return false;
  const there = plans.madeAt(path);
  const problem =
    there === null
      ? `${plain(path)} is there already, and was not made by singlepoll; nothing was changed`
      : `${made.name} is installed already, for ${plain(there.cwd)}; nothing was changed`;
  const hint = 'singlepoll install --name ANOTHER    # or, to replace it: --force';
  if (there?.cwd !== made.cwd && !force) throw new SinglepollError(EXIT.config, problem, hint);
  return there !== null;
}

const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** Stops what it has made to start at boot, and takes away that and nothing else. */
export async function uninstall(own: Readonly<Record<string, unknown>>): Promise<number> {
  const name = plans.chooseName(own.name, workingFolder());
  const all = await listAll();
  const found = all.filter((it) => it.name === name);
  if (found.length === 0) {
    say(`nothing to uninstall: ${name} is not installed`);
    const others = [...new Set(all.map((it) => it.name))];
    if (others.length > 0) say(`installed are: ${others.join(', ')} (--name)`);
  }
  for (const it of found) await remove(it, own.print === true);
  const state = findStateDir(process.env);
  if (found.length > 0 && own.print !== true && state !== null)
    say(`left: the state folder ${plain(state)} (logs, the last command)`);
  return EXIT.ok;
}

/** With cron nobody else would stop what runs; systemd stops its unit. */
async function runsToStop({ kind, made }: plans.Found): Promise<Bot['runs']> {
  const bots = made && kind === 'cron' ? await findBots() : [];
  const runs = bots.find(({ id }) => id === (made?.bot ?? 0))?.runs ?? [];
  return runs.filter(({ doc }) => doc?.supervisor?.cwd === made?.cwd);
}

async function remove(found: plans.Found, isPrinted: boolean): Promise<void> {
  const { kind, system, name, path } = found;
  const runs = await runsToStop(found);
  const files = Object.values(plans.privateFiles(name)).filter(existsSync);
  if (isPrinted) {
    const what =
      kind === 'cron' ? `remove the line of ${name} in the crontab` : `stop and remove ${plain(path)}`;
    say(`would ${what}`);
    for (const { doc } of runs)
      say(
        `would stop supervisor ${doc?.supervisor?.pid}, worker ${doc?.worker?.pid ?? 'none'}, whoever started them`,
      );
    for (const file of files) say(`would remove ${plain(file)}`);
    return;
  }
  const problem = `${name} is installed for the whole machine: only root may remove it`;
  if (system && !isRoot())
    throw new SinglepollError(EXIT.refused, problem, `sudo singlepoll uninstall --name ${name}`);
  // First: a reboot in between must not start it again.
  await STARTERS[kind].remove(found);
  for (const { control } of runs)
    tellStopped(await askControl(control, { cmd: 'stop' }, { timeoutMs: ORDER_WAIT_MS }));
  for (const file of files) {
    rmSync(file);
    say(`removed: ${plain(file)}`);
  }
}
