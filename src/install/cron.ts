/** cron: a line in the user's crontab, every other byte of which stays as it is, and the script that it runs. Facts: crontab(5). */
import { EXIT, SinglepollError } from '../errors.ts';
import { singleQuote } from '../shell.ts';
import { runTool, type ToolAnswer } from '../tools.ts';
import { markerText, type Plan } from './plan.ts';
import { refused } from './systemd.ts';

/** cron takes all after the fifth field as the command, which a shell runs: there this is a comment. */
const MARK = '# singlepoll install ';
/** cron reads no more of one line (vixie-cron's MAX_COMMAND is 1000). */
const LINE_MAX = 999;
/** At boot the network may come late: cron starts nothing twice, so the script does. */
const TRIES = 60;
const PAUSE_S = 10;
const TOOL_MS = 10_000;

/** Throws 78 for a path that a line of cron can't hold. */
export function cronLine({ scriptPath, made }: Pick<Plan, 'scriptPath' | 'made'>): string {
  if (/[\x00-\x1f\x7f]/.test(scriptPath)) throw refused('a control character', scriptPath);
  // A bare percent sign would end the command.
  const line = `@reboot /bin/sh ${singleQuote(scriptPath).replaceAll('%', '\\%')} ${MARK}${made.name}`;
  if (line.length <= LINE_MAX) return line;
  throw new SinglepollError(
    EXIT.config,
    'the path of the state folder is too long for a line of cron',
    'SINGLEPOLL_DIR=/shorter/path',
  );
}

/** POSIX sh. `start -d` ends with 69 where the Bot API is out of reach. */
export function cronScript({ made, envPath, cwd, words }: Plan): string {
  return `#!/bin/sh
# ${markerText(made)}
set -a
# shellcheck source=/dev/null
. ${singleQuote(envPath)}
set +a
cd ${singleQuote(cwd)} || exit 78
tries=0
while :; do
  ${words.map(singleQuote).join(' ')}
  code=$?
  tries=$((tries + 1))
  if [ "$code" -ne 69 ] || [ "$tries" -ge ${TRIES} ]; then exit "$code"; fi
  # The Bot API was out of reach: the network comes late after a boot.
  sleep ${PAUSE_S}
done
`;
}

/** `line` in place of the one that is there, else at the end. */
export function withLine(table: string, name: string, line: string): string {
  const lines = table.split('\n');
  const at = lines.findIndex((it) => nameOf(it) === name);
  if (at >= 0) return lines.with(at, line).join('\n');
  return `${table}${table === '' || table.endsWith('\n') ? '' : '\n'}${line}\n`;
}

export function withoutLine(table: string, name: string): string {
  const lines = table.split('\n').filter((it) => nameOf(it) !== name);
  return lines.join('\n');
}

/** Names of our lines. */
export function namesIn(table: string): string[] {
  return table.split('\n').flatMap((line) => nameOf(line) ?? []);
}

function nameOf(line: string): string | null {
  const at = line.lastIndexOf(MARK);
  return line.startsWith('@reboot ') && at >= 0 ? line.slice(at + MARK.length).trimEnd() : null;
}

/** The table of this user. Throws 78 where it can't be read: an empty one must not take its place. */
export async function readCrontab(): Promise<string> {
  const { code, stdout, stderr, isMissing } = await crontab(['-l']);
  if (code === 0) return stdout;
  if (code === 1 && /no crontab|can't open/i.test(stderr)) return '';
  const why = isMissing ? 'there is no crontab command' : stderr.trim();
  throw new SinglepollError(EXIT.config, `the crontab can’t be read: ${why}`, 'crontab -l');
}

/** Throws 78. */
export async function writeCrontab(table: string): Promise<void> {
  const { code, stderr } = await (table.trim() === '' ? crontab(['-r']) : crontab(['-'], table));
  if (code === 0) return;
  throw new SinglepollError(EXIT.config, `the crontab can’t be written: ${stderr.trim()}`, 'crontab -e');
}

function crontab(args: string[], input?: string): Promise<ToolAnswer> {
  return runTool('crontab', args, { timeoutMs: TOOL_MS, ...(input === undefined ? {} : { input }) });
}
