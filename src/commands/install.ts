/** `singlepoll install`: what starts at boot, made of the configuration that `start` would run with now. */
import { realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config/config.ts';
import { envTwin } from '../config/options.ts';
import { secretFlags } from '../config/secret-flags.ts';
import { holdsTokenShape } from '../config/show-value.ts';
import type { RawFlags } from '../config/sources.ts';
import { flagWords } from '../detach/launch.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { cronLine, LONGEST_COMMAND, withLine } from '../install/crontab.ts';
import { envFileText, variablesToKeep } from '../install/env-file.ts';
import { readCrontab, tool, writeCrontab, writeWhole } from '../install/hands.ts';
import { launchdLabel, launchdPlist } from '../install/launchd.ts';
import { chooseName, findKind, present, privateFolder, unitPath } from '../install/place.ts';
import type { Kind, Plan } from '../install/plan.ts';
import { systemdUnit } from '../install/systemd.ts';
import { wrapperScript } from '../install/wrapper.ts';
import { isProgramInPath } from '../machine/executable.ts';
import { plain } from '../output/plain.ts';
import { checkCommand } from '../supervise/announce.ts';
import { presentSupervisor } from '../supervise/present.ts';
import { configure, warn } from './context.ts';
import type { Invocation } from './invocation.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { config, warnings } = await configure(invocation);
  warn(warnings);
  checkCommand(config);
  const { own } = invocation;
  const kind = (own.kind as Kind | undefined) ?? findKind(process.platform, process.env);
  const print = own.print === true || config.dryRun;
  const plan = makePlan(invocation, config, kind, print);
  doubts(plan, config);
  if (print) return show(plan);
  const update = await check(plan, own.force === true);
  privateFolder(process.env, true);
  writeWhole(plan.envPath, envFileText(plan.made.name, plan.env), 0o600);
  const now = own.now === true;
  if (kind === 'systemd') await installUnit(plan, { update, now, config });
  else if (kind === 'launchd') installJob(plan, { update, now });
  else installLine(plan, { update, now });
  return EXIT.ok;
}

interface How {
  readonly update: boolean;
  readonly now: boolean;
}

function makePlan(invocation: Invocation, config: Config, kind: Kind, print: boolean): Plan {
  const { own, flags, words } = invocation;
  const isRoot = process.getuid?.() === 0;
  if (own.system === true && own.user === true)
    throw new SinglepollError(EXIT.usage, '--system and --user exclude each other');
  const system = kind !== 'cron' && (own.system === true || (isRoot && own.user !== true));
  if (own.system === true && kind === 'cron')
    throw new SinglepollError(
      EXIT.usage,
      'cron knows only tables of users: --system goes with systemd and launchd',
    );
  if (system && !isRoot && !print)
    throw new SinglepollError(
      EXIT.refused,
      'only root may install for the whole machine',
      'sudo singlepoll install --system …',
    );
  const runAs = typeof own.runAs === 'string' ? own.runAs : null;
  if (runAs !== null && !(system && kind === 'systemd'))
    throw new SinglepollError(
      EXIT.usage,
      '--run-as goes with a system unit of systemd; elsewhere install as that user',
    );
  if (runAs !== null && !/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/.test(runAs))
    throw new SinglepollError(EXIT.usage, '--run-as takes the name or number of a user');
  const name = chooseName(own.name, config.cwd);
  const folder = privateFolder(process.env, false);
  const envPath = join(folder, `${name}.env`);
  const wrapperPath = join(folder, `${name}.sh`);
  const { given, secrets } = withoutSecrets(flags);
  const command = [...startWords(given, kind, config), ...(words.length > 0 ? ['--', ...words] : [])];
  if (command.some(holdsTokenShape))
    throw new SinglepollError(
      EXIT.config,
      'the command holds a bot token, which any user could read in the unit and in the process list',
      'let the bot take it from TELEGRAM_BOT_TOKEN, which singlepoll gives it',
    );
  const files = kind === 'systemd' ? [envPath] : [envPath, wrapperPath];
  return {
    ...{ kind, system, cwd: config.cwd, words: command, envPath, wrapperPath },
    made: { name, bot: config.botId, cwd: config.cwd, files },
    // With a name of its own systemd sets HOME, which it does not for one that is only not given.
    runAs: kind === 'systemd' && system ? (runAs ?? 'root') : null,
    env: { ...variablesToKeep(process.env, config, namesToKeep(own.withEnv, config)), ...secrets },
    logPath: join(folder, `${name}.log`),
    stopTimeoutMs: config.stopTimeoutMs,
    startTimeoutMs: config.startTimeoutMs,
  };
}

/** The absolute paths of node and of ourselves: at boot there is no PATH to find them by. */
function startWords(flags: RawFlags, kind: Kind, config: Config): string[] {
  const { dryRun: _, detach: __, ...others } = flags;
  const detach = kind === 'cron' ? { detach: true } : config.detach ? { detach: false } : {};
  const script = realpathSync(process.argv[1] ?? '');
  return [
    process.execPath,
    ...process.execArgv,
    '--',
    script,
    'start',
    ...flagWords({ ...others, ...detach }),
  ];
}

/** What may not stand in a unit goes into the env file, by the twin of its option. */
function withoutSecrets(flags: RawFlags): { given: RawFlags; secrets: Record<string, string> } {
  const found = secretFlags(flags);
  const given = Object.fromEntries(
    Object.entries(flags).filter(([name]) => !found.some((it) => it.name === name)),
  );
  return { given, secrets: Object.fromEntries(found.map(({ name, value }) => [envTwin(name), value])) };
}

function namesToKeep(given: unknown, config: Config): readonly string[] {
  const asked = Array.isArray(given) ? given.map(String) : [];
  const missing = asked.filter((name) => process.env[name] === undefined);
  if (missing.length > 0)
    throw new SinglepollError(
      EXIT.config,
      `--with-env: not set here: ${missing.map((it) => plain(it, 64)).join(', ')}`,
    );
  // Options may name a variable in place of a value (`env:NAME`); settings hold them as they are shown, in quotes.
  const named = config.settings
    .map(({ value }) => /^"?env:([A-Za-z_]\w*)"?$/.exec(value)?.[1])
    .filter((name) => name !== undefined && process.env[name] !== undefined) as string[];
  return [...asked, ...named];
}

/** Said, not refused. */
function doubts({ words, runAs, cwd, kind }: Plan, { envFile, tokenSource }: Config): void {
  if (envFile !== null && !(tokenSource?.endsWith('in the environment') ?? false)) {
    const mode = modeOf(envFile);
    if ((mode & 0o077) !== 0)
      warn([
        `${plain(envFile)} is open to other users (mode ${mode.toString(8).padStart(4, '0')}), and may hold the token: chmod 600 ${plain(envFile)}`,
      ]);
  }
  if (words.some((word) => word.includes('/_npx/')))
    warn([
      'this singlepoll lies in the cache of npx, which may be emptied: npm install -g singlepoll, and install again',
    ]);
  if (kind === 'systemd' && runAs === 'root' && ownerOf(cwd) !== 0)
    warn([`the bot will run as root, though ${plain(cwd)} belongs to another user: --run-as USER`]);
}

/** Whether it is there already. Throws 78 where it is somebody else's, or where it could not work. */
async function check(plan: Plan, force: boolean): Promise<boolean> {
  const { kind, made } = plan;
  const needed = { systemd: 'systemctl', launchd: 'launchctl', cron: 'crontab' }[kind];
  for (const program of kind === 'systemd' ? [needed, 'systemd-notify'] : [needed])
    if (!isProgramInPath(program, process.env))
      throw new SinglepollError(
        EXIT.config,
        `there is no ${program} here`,
        `singlepoll install --kind ${kind} --print`,
      );
  // What cron has is in its script.
  const path = kind === 'cron' ? plan.wrapperPath : unitPath(kind, plan.system, made.name, process.env);
  const there = present(path);
  if (there.kind === 'foreign' && !force)
    throw new SinglepollError(
      EXIT.config,
      `${plain(path)} is there already, and was not made by singlepoll; nothing was changed`,
      'singlepoll install --name ANOTHER    # or, to overwrite it: --force',
    );
  if (there.kind === 'ours' && there.made.cwd !== made.cwd && !force)
    throw new SinglepollError(
      EXIT.config,
      `${made.name} is installed already, for ${plain(there.made.cwd)}; nothing was changed`,
      'singlepoll install --name ANOTHER    # or, to replace it: --force',
    );
  if (kind === 'systemd' && !systemdAnswers(plan.system))
    throw new SinglepollError(
      EXIT.config,
      plan.system
        ? 'systemd does not run here; nothing was changed'
        : 'the systemd of this user does not answer; nothing was changed',
      plan.system
        ? 'singlepoll install --kind cron …    # or, to see the unit: --kind systemd --print'
        : 'log in as this user (not by su or sudo), or set XDG_RUNTIME_DIR=/run/user/$(id -u)',
    );
  return there.kind === 'ours';
}

function systemdAnswers(system: boolean): boolean {
  const words = [...(system ? [] : ['--user']), 'show', '-p', 'Version', '--value'];
  return tool('systemctl', words).stdout.trim() !== '';
}

async function installUnit(plan: Plan, { update, now, config }: How & { config: Config }): Promise<void> {
  const { system, made } = plan;
  const path = unitPath('systemd', system, made.name, process.env);
  writeWhole(path, systemdUnit(plan), 0o644);
  const unit = `${made.name}.service`;
  const scope = system ? [] : ['--user'];
  const shown = `systemctl ${system ? '' : '--user '}`;
  for (const verb of [['daemon-reload'], ['enable', unit]]) systemctl([...scope, ...verb]);
  told(plan, update, `unit  ${path}`);
  if (now) {
    const holder = await presentSupervisor(config);
    const isUnits = tool('systemctl', [...scope, 'is-active', '--quiet', unit]).code === 0;
    if (holder && !isUnits)
      throw new SinglepollError(
        EXIT.otherPoller,
        `not started: a supervisor of this bot runs already (pid ${holder.pid ?? 'unknown'})`,
        `singlepoll stop && ${shown}start ${made.name}`,
      );
    const { code, stderr } = tool('systemctl', [...scope, 'restart', unit]);
    if (code !== 0)
      throw new SinglepollError(
        EXIT.unreachable,
        `installed, but it did not start: ${stderr.trim().split('\n')[0] ?? ''}`,
        `journalctl ${system ? '' : '--user '}-n 50 -u ${made.name}`,
      );
    process.stdout.write('started: it polls, or stands by\n');
  } else
    process.stdout.write(`${update ? 'to take effect' : 'to start it now'}: ${shown}restart ${made.name}\n`);
  if (!system && !lingers())
    process.stdout.write('it starts when you log in; to start it at boot: loginctl enable-linger\n');
}

function systemctl(words: readonly string[]): void {
  const { code, stderr } = tool('systemctl', words);
  if (code === 0) return;
  throw new SinglepollError(
    EXIT.config,
    `systemctl ${words.join(' ')} failed: ${stderr.trim().split('\n')[0] ?? ''}`,
    words.includes('--user')
      ? 'the user’s systemd must run: log in as this user (not by su or sudo), or XDG_RUNTIME_DIR=/run/user/$(id -u)'
      : 'singlepoll uninstall    # takes away what was written',
  );
}

function lingers(): boolean {
  const { code, stdout } = tool('loginctl', [
    'show-user',
    String(process.getuid?.()),
    '-p',
    'Linger',
    '--value',
  ]);
  return code === 0 && stdout.trim() === 'yes';
}

function installJob(plan: Plan, { update, now }: How): void {
  const path = unitPath('launchd', plan.system, plan.made.name, process.env);
  writeWhole(plan.wrapperPath, wrapperScript(plan), 0o700);
  writeWhole(path, launchdPlist(plan), 0o644);
  told(plan, update, `plist ${path}`);
  const domain = launchdDomain(plan.system);
  if (!now) {
    process.stdout.write(
      `it starts at the next ${plan.system ? 'boot' : 'login'}; now: launchctl bootstrap ${domain} ${plain(path)}\n`,
    );
    return;
  }
  // What runs keeps its old list until it is taken out.
  tool('launchctl', ['bootout', `${domain}/${launchdLabel(plan.made.name)}`]);
  const { code, stderr } = tool('launchctl', ['bootstrap', domain, path]);
  if (code !== 0)
    throw new SinglepollError(EXIT.unreachable, `installed, but it did not start: ${stderr.trim()}`);
  process.stdout.write('started\n');
}

function launchdDomain(system: boolean): string {
  return system ? 'system' : `gui/${process.getuid?.()}`;
}

function installLine(plan: Plan, { update, now }: How): void {
  writeWhole(plan.wrapperPath, wrapperScript(plan), 0o700);
  const line = lineFor(plan);
  const before = readCrontab();
  const after = withLine(before, plan.made.name, line);
  if (after !== before) writeCrontab(after);
  told(plan, update, `cron  ${line}`);
  if (!now) {
    process.stdout.write(`it starts at the next boot; now: sh ${plain(plan.wrapperPath)}\n`);
    return;
  }
  const { code, stdout, stderr } = tool('/bin/sh', [plan.wrapperPath]);
  process.stderr.write(stderr);
  process.stdout.write(stdout);
  if (code !== 0) throw new SinglepollError(code ?? EXIT.unreachable, 'installed, but it did not start');
}

function lineFor(plan: Plan): string {
  const line = cronLine(plan);
  if (line.length <= LONGEST_COMMAND) return line;
  throw new SinglepollError(
    EXIT.config,
    'the path of the state folder is too long for a line of cron',
    'SINGLEPOLL_DIR=/shorter/path',
  );
}

function told(plan: Plan, update: boolean, what: string): void {
  const files = plan.kind === 'systemd' ? [] : [`  script ${plain(plan.wrapperPath)}\n`];
  process.stdout.write(
    `${update ? 'updated' : 'installed'}: ${plan.made.name}\n  ${plain(what, 1_500)}\n${files.join('')}  env   ${plain(plan.envPath)} (0600): ${Object.keys(plan.env).join(', ')}\n`,
  );
}

/** The thing itself to stdout, what goes with it to stderr. */
function show(plan: Plan): number {
  const env = `${plain(plan.envPath)} (0600) would hold: ${Object.keys(plan.env).join(', ')}`;
  if (plan.kind === 'cron') {
    process.stdout.write(
      `# crontab of this user\n# ${plain(plan.wrapperPath)} (0700)\n# ${env}\n${lineFor(plan)}\n`,
    );
  } else {
    const path = unitPath(plan.kind, plan.system, plan.made.name, process.env);
    if (plan.kind === 'systemd') process.stdout.write(`# ${plain(path)}\n# ${env}\n${systemdUnit(plan)}`);
    else {
      process.stdout.write(launchdPlist(plan));
      process.stderr.write(`# ${plain(path)}\n# ${env}\n`);
    }
  }
  if (plan.kind !== 'systemd')
    process.stderr.write(`# ${plain(plan.wrapperPath)} (0700):\n${wrapperScript(plan)}`);
  return EXIT.ok;
}

function modeOf(path: string): number {
  try {
    return statSync(path).mode & 0o7777;
  } catch {
    return 0;
  }
}

function ownerOf(path: string): number {
  try {
    return statSync(path).uid;
  } catch {
    return 0;
  }
}
