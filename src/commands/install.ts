/** `singlepoll install`: what starts at boot, made of the configuration that `start` would run with now. */
import { mkdirSync, realpathSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Config } from '../config/load.ts';
import { flagWords, type RawFlags, twinOf } from '../config/options.ts';
import { secretFlags } from '../config/targets.ts';
import { holdsTokenShape } from '../config/token.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { isOpenToOthers, modeText, writeWhole } from '../files.ts';
import { cronLine, cronScript, readCrontab, withLine, writeCrontab } from '../install/cron.ts';
import { envFileText, variablesToKeep } from '../install/env-file.ts';
import {
  chooseName,
  findKind,
  type Kind,
  type Plan,
  present,
  privateFolder,
  unitPath,
} from '../install/plan.ts';
import { systemdUnit } from '../install/systemd.ts';
import { plain } from '../output/plain.ts';
import { checkCommand } from '../supervisor/announce.ts';
import { isProgramInPath } from '../supervisor/executable.ts';
import { presentSupervisor } from '../supervisor/present.ts';
import { runTool } from '../tools.ts';
import { configure, type Invocation, warn } from './context.ts';

const TOOL_MS = 20_000;
/** Its script tries for ten minutes where the Bot API is out of reach. */
const CRON_START_MS = 15 * 60_000;

export async function run(invocation: Invocation): Promise<number> {
  const { config, warnings } = await configure(invocation);
  warn(warnings);
  checkCommand(config);
  const { own } = invocation;
  const kind = (own.kind as Kind | undefined) ?? findKind(process.env);
  const print = own.print === true || config.dryRun;
  const plan = makePlan(invocation, config, kind, print);
  doubts(plan, config);
  if (print) return show(plan);
  const update = await check(plan, own.force === true);
  privateFolder(process.env, true);
  write(plan.envPath, envFileText(plan.made.name, plan.env), 0o600);
  const now = own.now === true;
  if (kind === 'systemd') await installUnit(plan, { update, now, config });
  else await installLine(plan, { update, now });
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
    throw new SinglepollError(EXIT.usage, 'cron knows only tables of users: --system goes with systemd');
  if (system && !isRoot && !print)
    throw new SinglepollError(
      EXIT.refused,
      'only root may install for the whole machine',
      'sudo singlepoll install --system …',
    );
  const runAs = typeof own.runAs === 'string' ? own.runAs : null;
  if (runAs !== null && !system)
    throw new SinglepollError(
      EXIT.usage,
      '--run-as goes with a system unit of systemd; elsewhere install as that user',
    );
  if (runAs !== null && !/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/.test(runAs))
    throw new SinglepollError(EXIT.usage, '--run-as takes the name or number of a user');
  const name = chooseName(own.name, config.cwd);
  const folder = privateFolder(process.env, false);
  const envPath = join(folder, `${name}.env`);
  const scriptPath = join(folder, `${name}.sh`);
  const { given, secrets } = withoutSecrets(flags);
  const command = [...startWords(given, kind, config), ...(words.length > 0 ? ['--', ...words] : [])];
  if (command.some(holdsTokenShape))
    throw new SinglepollError(
      EXIT.config,
      'the command holds a bot token, which any user could read in the unit and in the process list',
      'let the bot take it from TELEGRAM_BOT_TOKEN, which singlepoll gives it',
    );
  const files = kind === 'systemd' ? [envPath] : [envPath, scriptPath];
  return {
    ...{ kind, system, cwd: config.cwd, words: command, envPath, scriptPath },
    made: { name, bot: config.botId, cwd: config.cwd, files },
    // With a name of its own systemd sets HOME, which it does not for one that is only not given.
    runAs: system ? (runAs ?? 'root') : null,
    env: { ...variablesToKeep(process.env, config, namesToKeep(own.withEnv, config)), ...secrets },
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

/** Secrets may not stand in a unit: they go into the env file, by the twin of their option. */
function withoutSecrets(flags: RawFlags): { given: RawFlags; secrets: Record<string, string> } {
  const found = secretFlags(flags);
  const given = Object.fromEntries(
    Object.entries(flags).filter(([name]) => !found.some((it) => it.name === name)),
  );
  return { given, secrets: Object.fromEntries(found.map(({ name, value }) => [twinOf(name), value])) };
}

function namesToKeep(given: unknown, config: Config): readonly string[] {
  const asked = Array.isArray(given) ? given.map(String) : [];
  const missing = asked.filter((name) => process.env[name] === undefined);
  if (missing.length > 0)
    throw new SinglepollError(
      EXIT.config,
      `--with-env: not set here: ${missing.map((it) => plain(it, 64)).join(', ')}`,
    );
  // Options may name a variable in place of a value (`env:NAME`); settings hold them as they are shown.
  const named = config.settings
    .map(({ words }) => / "env:(\w+)"$/.exec(words)?.[1])
    .filter((name) => name !== undefined && process.env[name] !== undefined) as string[];
  return [...asked, ...named];
}

/** Said, not refused. */
function doubts({ words, runAs, cwd }: Plan, { envFile, tokenSource }: Config): void {
  const mode = envFile === null ? 0 : (statsOf(envFile)?.mode ?? 0);
  if (envFile !== null && !tokenSource?.endsWith('in the environment') && isOpenToOthers(mode))
    warn([
      `${plain(envFile)} is open to other users (mode ${modeText(mode)}), and may hold the token: chmod 600 ${plain(envFile)}`,
    ]);
  if (words.some((word) => word.includes('/_npx/')))
    warn([
      'this singlepoll lies in the cache of npx, which may be emptied: npm install -g singlepoll, and install again',
    ]);
  if (runAs === 'root' && (statsOf(cwd)?.uid ?? 0) !== 0)
    warn([`the bot will run as root, though ${plain(cwd)} belongs to another user: --run-as USER`]);
}

/** Whether it is there already. Throws 78 where it is somebody else's, or where it could not work. */
async function check(plan: Plan, force: boolean): Promise<boolean> {
  const { kind, made } = plan;
  const missing = (kind === 'systemd' ? ['systemctl', 'systemd-notify'] : ['crontab']).find(
    (program) => !isProgramInPath(program, process.env),
  );
  if (missing)
    throw new SinglepollError(
      EXIT.config,
      `there is no ${missing} here`,
      `singlepoll install --kind ${kind} --print`,
    );
  // The crontab has no mark of ours: the script has.
  const path = kind === 'cron' ? plan.scriptPath : unitPath(plan.system, made.name, process.env);
  const there = present(path);
  if (there === null && !force)
    throw new SinglepollError(
      EXIT.config,
      `${plain(path)} is there already, and was not made by singlepoll; nothing was changed`,
      'singlepoll install --name ANOTHER    # or, to overwrite it: --force',
    );
  const isOurs = there !== null && there !== 'nothing';
  if (isOurs && there.cwd !== made.cwd && !force)
    throw new SinglepollError(
      EXIT.config,
      `${made.name} is installed already, for ${plain(there.cwd)}; nothing was changed`,
      'singlepoll install --name ANOTHER    # or, to replace it: --force',
    );
  const version = ['show', '-p', 'Version', '--value'];
  if (kind === 'systemd' && (await systemctl(plan, ...version)).stdout.trim() === '')
    throw plan.system
      ? new SinglepollError(
          EXIT.config,
          'systemd does not run here; nothing was changed',
          'singlepoll install --kind cron …    # or, to see the unit: --kind systemd --print',
        )
      : new SinglepollError(
          EXIT.config,
          'the systemd of this user does not answer; nothing was changed',
          'log in as this user (not by su or sudo), or set XDG_RUNTIME_DIR=/run/user/$(id -u)',
        );
  return isOurs;
}

/** A start takes as long as the worker needs for its first poll. */
function systemctl({ system, startTimeoutMs }: Plan, ...words: string[]) {
  const timeoutMs = startTimeoutMs + TOOL_MS;
  return runTool('systemctl', [...(system ? [] : ['--user']), ...words], { timeoutMs });
}

async function installUnit(plan: Plan, { update, now, config }: How & { config: Config }): Promise<void> {
  const { system, made } = plan;
  const path = unitPath(system, made.name, process.env);
  write(path, systemdUnit(plan), 0o644);
  const unit = `${made.name}.service`;
  const shown = `systemctl ${system ? '' : '--user '}`;
  for (const words of [['daemon-reload'], ['enable', unit]]) {
    const { code, stderr } = await systemctl(plan, ...words);
    if (code !== 0)
      throw new SinglepollError(
        EXIT.config,
        `${shown}${words.join(' ')} failed: ${firstLine(stderr)}`,
        'singlepoll uninstall    # takes away what was written',
      );
  }
  told(plan, update, `unit  ${path}`);
  if (now) {
    const holder = await presentSupervisor(config);
    const isUnits = (await systemctl(plan, 'is-active', '--quiet', unit)).code === 0;
    if (holder && !isUnits)
      throw new SinglepollError(
        EXIT.otherPoller,
        `not started: a supervisor of this bot runs already (pid ${holder.pid ?? 'unknown'})`,
        `singlepoll stop && ${shown}start ${made.name}`,
      );
    const { code, stderr } = await systemctl(plan, 'restart', unit);
    if (code !== 0)
      throw new SinglepollError(
        EXIT.unreachable,
        `installed, but it did not start: ${firstLine(stderr)}`,
        `journalctl ${system ? '' : '--user '}-n 50 -u ${made.name}`,
      );
    process.stdout.write('started: it polls, or stands by\n');
  } else
    process.stdout.write(`${update ? 'to take effect' : 'to start it now'}: ${shown}restart ${made.name}\n`);
  const linger = ['show-user', String(process.getuid?.()), '-p', 'Linger', '--value'];
  if (!system && (await runTool('loginctl', linger, { timeoutMs: TOOL_MS })).stdout.trim() !== 'yes')
    process.stdout.write('it starts when you log in; to start it at boot: loginctl enable-linger\n');
}

function firstLine(text: string): string {
  return text.trim().split('\n')[0] ?? '';
}

async function installLine(plan: Plan, { update, now }: How): Promise<void> {
  const line = cronLine(plan);
  write(plan.scriptPath, cronScript(plan), 0o700);
  const before = await readCrontab();
  const after = withLine(before, plan.made.name, line);
  if (after !== before) await writeCrontab(after);
  told(plan, update, `cron  ${line}`);
  if (!now) {
    process.stdout.write(`it starts at the next boot; now: sh ${plain(plan.scriptPath)}\n`);
    return;
  }
  const timeoutMs = CRON_START_MS + plan.startTimeoutMs;
  const { code, stdout, stderr } = await runTool('/bin/sh', [plan.scriptPath], { timeoutMs });
  process.stderr.write(stderr);
  process.stdout.write(stdout);
  if (code !== 0) throw new SinglepollError(code ?? EXIT.unreachable, 'installed, but it did not start');
}

/** Throws 77 or 78. */
function write(path: string, text: string, mode: number): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeWhole(path, text, mode);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new SinglepollError(
      code === 'EACCES' || code === 'EPERM' ? EXIT.refused : EXIT.config,
      `${plain(path)} can’t be written (${code})`,
      'sudo singlepoll install …, or singlepoll install --user',
    );
  }
}

function told(plan: Plan, update: boolean, what: string): void {
  const script = plan.kind === 'systemd' ? '' : `  script ${plain(plan.scriptPath)}\n`;
  process.stdout.write(
    `${update ? 'updated' : 'installed'}: ${plan.made.name}\n  ${plain(what, 1_500)}\n${script}  env   ${plain(plan.envPath)} (0600): ${Object.keys(plan.env).join(', ')}\n`,
  );
}

function show(plan: Plan): number {
  const env = `# ${plain(plan.envPath)} (0600) would hold: ${Object.keys(plan.env).join(', ')}\n`;
  if (plan.kind === 'systemd') {
    const path = unitPath(plan.system, plan.made.name, process.env);
    process.stdout.write(`# ${plain(path)}\n${env}${systemdUnit(plan)}`);
    return EXIT.ok;
  }
  const script = `# ${plain(plan.scriptPath)} (0700)`;
  process.stdout.write(`# crontab of this user\n${script}\n${env}${cronLine(plan)}\n`);
  process.stderr.write(`${script}:\n${cronScript(plan)}`);
  return EXIT.ok;
}

function statsOf(path: string) {
  try {
    return statSync(path);
  } catch {
    return null;
  }
}
