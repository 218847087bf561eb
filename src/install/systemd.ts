/**
 * Starts at boot with systemd: writes, enables, starts, finds and removes the unit, in which settings that are not obvious have a comment.
 * Facts: systemd.service(5) "Command lines", systemd.exec(5) EnvironmentFile=, systemd.unit(5) "Specifiers", systemd.syntax(7).
 */
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { currentUser } from '../config/state-dir.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import type { Holder } from '../lock/lock.ts';
import { plain } from '../output/plain.ts';
import { describe, hostOfHolder } from '../supervisor/holder.ts';
import { runTool } from '../tools.ts';
import { type Found, filesIn, madeAt, markerText, type Plan, refused, writePlanned } from './plan.ts';

/** Time limit: a start takes until the worker's first poll, a stop as long as --stop-timeout. */
const TOOL_MS = 10 * 60_000;

function unitPath(system: boolean, name: string): string {
  if (system) return join('/etc/systemd/system', `${name}.service`);
  const { XDG_CONFIG_HOME, HOME } = process.env;
  const config = XDG_CONFIG_HOME || join(HOME || currentUser().home || '/', '.config');
  return join(config, 'systemd/user', `${name}.service`);
}

const pathOf = ({ system, made }: Plan): string => unitPath(system, made.name);

const shown = (system: boolean): string => (system ? 'systemctl' : 'systemctl --user');

function systemctl(system: boolean, ...words: string[]) {
  return runTool('systemctl', [...(system ? [] : ['--user']), ...words], { timeoutMs: TOOL_MS });
}

async function order(
  system: boolean,
  words: readonly string[],
  problem: string,
  hint: string,
): Promise<void> {
  const { code, stderr } = await systemctl(system, ...words);
  if (code === 0) return;
  throw new SinglepollError(EXIT.config, `${problem}: ${stderr.trim().split('\n')[0] ?? ''}`, hint);
}

/** Starts programs at boot. Its methods throw 77 or 78. */
export type Starter = typeof systemd;

export const systemd = {
  needs: ['systemctl', 'systemd-notify'],
  /** The file that has our mark. */
  markedFile: pathOf,
  /** `env` is a line about the env file. */
  show: (plan: Plan, env: string): void =>
    void process.stdout.write(`# ${plain(pathOf(plan))}\n${env}${systemdUnit(plan)}`),
  async check({ system }: Plan): Promise<void> {
    if ((await systemctl(system, 'show', '-p', 'Version', '--value')).stdout.trim() !== '') return;
    const [problem, hint] = system
      ? ['systemd does not run here', 'singlepoll install --kind cron …    # or, to see the unit: --print']
      : [
          'the systemd of this user does not answer',
          'log in as this user (not by su or sudo), or set XDG_RUNTIME_DIR=/run/user/$(id -u)',
        ];
    throw new SinglepollError(EXIT.config, `${problem}; nothing was changed`, hint);
  },
  /** Writes and enables the unit; returns the messages about that, and the command that starts it. */
  async put(plan: Plan) {
    const { system, made } = plan;
    writePlanned(pathOf(plan), systemdUnit(plan), 0o644);
    for (const words of [['daemon-reload'], ['enable', `${made.name}.service`]])
      await order(
        system,
        words,
        `${shown(system)} ${words.join(' ')} failed`,
        'singlepoll uninstall    # takes away what was written',
      );
    const linger = ['show-user', String(process.getuid?.()), '-p', 'Linger', '--value'];
    const atLogin =
      !system && (await runTool('loginctl', linger, { timeoutMs: TOOL_MS })).stdout.trim() !== 'yes';
    const login =
      'it starts when you log in, and ends when you log out; to have it run from boot on:\n  → loginctl enable-linger    # if that is denied, with sudo and your name';
    return {
      lines: [`  unit    ${plain(pathOf(plan), 1_500)}`, ...(atLogin ? [login] : [])],
      toStart: `${shown(system)} restart ${made.name}`,
    };
  },
  /** Waits until it polls or stands by. `holder`: the supervisor of this bot that runs now. */
  async start({ system, made }: Plan, holder: Holder | null): Promise<void> {
    const unit = `${made.name}.service`;
    const show = async (property: string) =>
      (await systemctl(system, 'show', '-p', property, '--value', unit)).stdout.trim();
    // The pid decides, as the unit may be starting just now.
    const isUnits = holder?.pid != null && (await show('MainPID')) === String(holder.pid);
    if (holder && !isUnits)
      throw new SinglepollError(
        EXIT.otherPoller,
        `not started: a supervisor of this bot runs already: ${describe(holder)}`,
        `${hostOfHolder(holder)?.stopCommand ?? 'singlepoll stop'} && ${shown(system)} start ${made.name}`,
      );
    const { code, stderr } = await systemctl(system, 'restart', unit);
    if (code === 0) return;
    const [why, exit] = [await show('StatusText'), await show('ExecMainStatus')];
    const journal = [...(system ? [] : ['--user']), '-u', made.name, '-n'];
    const { stdout } = await runTool('journalctl', [...journal, '60', '-o', 'cat', '--no-pager'], {
      timeoutMs: TOOL_MS,
    });
    // systemd has a line for each process that it kills.
    const lines = stdout.split('\n').filter((line) => line !== '' && !/: Killing process \d/.test(line));
    process.stderr.write(
      lines
        .slice(-12)
        .map((line) => `| ${line}\n`)
        .join(''),
    );
    throw new SinglepollError(
      Number(exit) || EXIT.unreachable,
      `installed, but it did not start: ${why || (stderr.trim().split('\n')[0] ?? '')}`,
      `journalctl ${journal.join(' ')} 50    # all that it said`,
    );
  },
  /** All of our units that this user may see. */
  async list(): Promise<Found[]> {
    return [true, false].flatMap((system) =>
      filesIn(dirname(unitPath(system, 'any')), '.service').flatMap((path) => {
        const made = madeAt(path);
        // A copy under another name belongs to the user who made it.
        return made && path === unitPath(system, made.name)
          ? [{ kind: 'systemd' as const, system, name: made.name, path, made }]
          : [];
      }),
    );
  },
  async remove({ system, name, path }: Found): Promise<void> {
    const unit = `${name}.service`;
    const hint = system
      ? 'systemctl status'
      : 'log in as this user (not by su or sudo): its systemd must run';
    await order(system, ['disable', '--now', unit], `nothing was removed: ${unit} can’t be stopped`, hint);
    await systemctl(system, 'reset-failed', unit);
    process.stdout.write(`stopped and disabled: ${unit}\n`);
    rmSync(path, { force: true });
    process.stdout.write(`removed: ${plain(path)}\n`);
    await systemctl(system, 'daemon-reload');
  },
};

/** Longer than singlepoll needs to cure a fault itself (--deaf-after, a worker that does not end). */
const WATCHDOG_MIN_S = 300;
/** Time to ask for the bot's name, stop strays and clear the webhook before the worker starts, and for messages at the end. */
const SLACK_S = 60;
const STOP_SLACK_S = 15;

const SYSTEM_HARDENING = `\
# /usr, /boot and /etc can’t be written. Not \`strict\`: a bot writes to its folder, its home, /tmp and more. (\`systemctl edit\` lifts any of these.)
ProtectSystem=full
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes`;
const USER_HARDENING = `\
# ProtectSystem and its like are left out: in a user’s unit they bring
# PrivateUsers with them.`;

export function systemdUnit({
  made,
  system,
  runAs,
  words,
  envPath,
  stopTimeoutMs,
  startTimeoutMs,
}: Plan): string {
  const stopS = Math.ceil(stopTimeoutMs / 1_000);
  const startS = Math.ceil(startTimeoutMs / 1_000) + stopS + SLACK_S;
  const network = 'Wants=network-online.target\nAfter=network-online.target\n';
  return `\
# ${markerText(made)}
# \`singlepoll install\`, typed again with other options, writes it anew; \`singlepoll uninstall\` takes it away.
[Unit]
Description=${systemdText(`Telegram bot in ${made.cwd}, one poller (singlepoll)`)}
${system ? network : ''}# A network that is out for hours is no reason to give up: a start that fails is tried again every RestartSec.
StartLimitIntervalSec=0

[Service]
# The unit counts as started once the worker has polled, or stands by. Its status is what singlepoll last said.
Type=notify
# Node has no datagram sockets: systemd-notify speaks for it, as a process of its own. The worker does not get the socket.
NotifyAccess=all
ExecStart=${words.map((word, at) => systemdWord(word, at > 0)).join(' ')}
# Replaces the worker; the supervisor and its lock stay.
ExecReload=/bin/kill -HUP $MAINPID
SyslogIdentifier=${made.name}
WorkingDirectory=${systemdPath(made.cwd)}
# Token, options and PATH of the shell in which it was installed (0600).
EnvironmentFile=${systemdFile(envPath)}
${runAs === null ? '' : `User=${runAs}\n`}Restart=on-failure
RestartSec=10s
# 75: another poller lives, and --no-wait was given; 77: token refused; 64, 78: usage, configuration: another
# start would not help.
RestartPreventExitStatus=64 75 77 78
# Fed only while polls succeed, or where a restart could not help (standby, Bot API out of reach, a rival elsewhere).
WatchdogSec=${Math.max(WATCHDOG_MIN_S, stopS + startS)}s
# The watchdog, too, stops it in order; what has not ended after TimeoutStopSec is killed.
WatchdogSignal=SIGTERM
# --start-timeout and --stop-timeout, with what comes before and after.
TimeoutStartSec=${startS}s
TimeoutStopSec=${stopS + STOP_SLACK_S}s
# Only the supervisor is asked to stop, and stops its worker; what is left then is killed.
KillMode=mixed
# A worker that ran out of memory is replaced by the supervisor; systemd need not end both.
OOMPolicy=continue

# Hardening, for the worker as well. Left out, because they would blind the look for strays (other processes, their environment and
# connections): ProtectProc, ProcSubset, PrivatePIDs, PrivateUsers, PrivateNetwork, CapabilityBoundingSet. PrivateTmp: \`status\` and
# \`stop\` from a terminal may have to find the control socket in /tmp. MemoryDenyWriteExecute: Node compiles code as it runs.
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
${system ? SYSTEM_HARDENING : USER_HARDENING}

[Install]
WantedBy=${system ? 'multi-user.target' : 'default.target'}
`;
}

/** Quotes one word of ExecStart=. In the first one, the program, systemd expands no variables. */
export function systemdWord(word: string, expandsVariables = true): string {
  const literal = word.replaceAll('%', '%%');
  const whole = expandsVariables ? literal.replaceAll('$', '$$$$') : literal;
  if (/^[A-Za-z0-9_@+=:,./-]+$/.test(word)) return whole;
  if (word.includes('\0')) throw refused('a NUL', word);
  const hex = (it: string) => `\\x${it.charCodeAt(0).toString(16).padStart(2, '0')}`;
  return `"${whole.replace(/[\\"]/g, '\\$&').replace(/[\x01-\x1f\x7f]/g, hex)}"`;
}

/** Escapes a setting that is one unquoted path: WorkingDirectory=. */
export function systemdPath(path: string): string {
  if (/[\x00-\x1f\x7f]|[ \\]$/.test(path)) throw refused('what a unit file can’t hold', path);
  return path.replaceAll('%', '%%');
}

/** EnvironmentFile= takes "an absolute filename or wildcard expression", so wildcards are refused. */
export function systemdFile(path: string): string {
  if (/[\\*?[]/.test(path)) throw refused('a wildcard of systemd (\\ * ? [)', path);
  return systemdPath(path);
}

const systemdText = (text: string): string =>
  text
    .replace(/[\x00-\x1f\x7f]/g, '?')
    .replaceAll('%', '%%')
    .replace(/\\$/, '');
