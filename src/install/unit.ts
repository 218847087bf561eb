/**
 * The text of the unit, system or user, and the quoting of unit files. Settings that are not obvious have a comment in the unit.
 * Facts: systemd.service(5) "Command lines", systemd.exec(5) EnvironmentFile=, systemd.unit(5) "Specifiers", systemd.syntax(7).
 */
import { markerText, type Plan, refused } from './plan.ts';

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
const USER_HARDENING =
  '# ProtectSystem and its like are left out: in a user’s unit they bring PrivateUsers with them.';

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
# Started is: the worker has polled, or it stands by. The status of the unit is what singlepoll last said.
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
# Stops in order also then; who does not is killed after TimeoutStopSec.
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

/** Quotes one word of ExecStart=, or of a list of paths (which expands no variables). */
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

/** Escapes text for people within a unit. */
const systemdText = (text: string): string =>
  text
    .replace(/[\x00-\x1f\x7f]/g, '?')
    .replaceAll('%', '%%')
    .replace(/\\$/, '');
