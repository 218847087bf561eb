/** cron: a script, and a line in the user's crontab that runs it; nothing else in the crontab changes. Facts: crontab(5). */
import { EXIT, SinglepollError } from '../errors.ts';
import { plain } from '../output/plain.ts';
import { singleQuote } from '../shell.ts';
import { isProgramInPath } from '../supervisor/executable.ts';
import { runTool } from '../tools.ts';
import { madeAt, markerText, type Plan, privateFiles, refused, writePlanned } from './plan.ts';
import type { Starter } from './systemd.ts';

/** Marks our line. It ends the command, which a shell runs, so it is a comment there. */
const MARK = '# singlepoll install ';
/** Longest line that cron reads (vixie-cron's MAX_COMMAND is 1000). */
const LINE_MAX = 999;
/** How often the script tries: at boot the network may come late, and cron starts it only once. */
const TRIES = 60;
const PAUSE_S = 10;
const TOOL_MS = 10_000;
const START_MS = 15 * 60_000;

/** Throws 78 for a path that a crontab line can't hold. */
export function cronLine({ scriptPath, made }: Pick<Plan, 'scriptPath' | 'made'>): string {
  if (/[\x00-\x1f\x7f]/.test(scriptPath)) throw refused('a control character', scriptPath);
  // An unescaped percent sign would end the command.
  const line = `@reboot /bin/sh ${singleQuote(scriptPath).replaceAll('%', '\\%')} ${MARK}${made.name}`;
  if (line.length > LINE_MAX) throw refused('more than a line of cron can hold', scriptPath);
  return line;
}

/** POSIX sh. `start -d` ends with 69 if the Bot API is out of reach. */
const cronScript = ({ made, envPath, words }: Plan): string => `#!/bin/sh
# ${markerText(made)}
set -a
# shellcheck source=/dev/null
. ${singleQuote(envPath)}
set +a
cd ${singleQuote(made.cwd)} || exit 78
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

/** The table with `line` instead of our present one, otherwise appended; null: without it. */
export function withLine(table: string, name: string, line: string | null): string {
  const lines = table.split('\n');
  const at = lines.findIndex((it) => nameOf(it) === name);
  if (line === null) return lines.filter((it) => nameOf(it) !== name).join('\n');
  if (at >= 0) return lines.with(at, line).join('\n');
  return `${table}${table === '' || table.endsWith('\n') ? '' : '\n'}${line}\n`;
}

export const namesIn = (table: string): string[] => table.split('\n').flatMap((line) => nameOf(line) ?? []);

function nameOf(line: string): string | null {
  const at = line.lastIndexOf(MARK);
  return line.startsWith('@reboot ') && at >= 0 ? line.slice(at + MARK.length).trimEnd() : null;
}

/** Runs crontab(1). An empty table is no failure; any other is thrown (78), as a table that can't be read must not be replaced. */
async function crontab(words: string[], input?: string): Promise<string> {
  const tool = { timeoutMs: TOOL_MS, ...(input === undefined ? {} : { input }) };
  const { code, stdout, stderr } = await runTool('crontab', words, tool);
  if (code === 0) return stdout;
  const isRead = words[0] === '-l';
  if (isRead && code === 1 && /no crontab|can't open/i.test(stderr)) return '';
  const problem = `the crontab can’t be ${isRead ? 'read' : 'written'}: ${stderr.trim()}`;
  throw new SinglepollError(EXIT.config, problem, isRead ? 'crontab -l' : 'crontab -e');
}

/** Replaces our line of that name in the crontab; null: removes it. */
async function putLine(name: string, line: string | null): Promise<void> {
  const before = await crontab(['-l']);
  const after = withLine(before, name, line);
  if (after !== before) await (after.trim() === '' ? crontab(['-r']) : crontab(['-'], after));
}

export const cron: Starter = {
  needs: ['crontab'],
  // The script has our mark, not the crontab.
  markedFile: ({ scriptPath }) => scriptPath,
  show(plan, env) {
    process.stdout.write(`# crontab of this user\n${env}${cronLine(plan)}\n`);
    process.stderr.write(`# ${plain(plan.scriptPath)} (0700):\n${cronScript(plan)}`);
  },
  check: async () => {},
  async put(plan) {
    const line = cronLine(plan);
    writePlanned(plan.scriptPath, cronScript(plan), 0o700);
    await putLine(plan.made.name, line);
    const script = plain(plan.scriptPath, 1_500);
    return { lines: [`  cron    ${plain(line, 1_500)}`, `  script  ${script}`], toStart: `sh ${script}` };
  },
  async start({ scriptPath, startTimeoutMs }) {
    const timeoutMs = START_MS + startTimeoutMs;
    const { code, stdout, stderr } = await runTool('/bin/sh', [scriptPath], { timeoutMs });
    process.stderr.write(stderr);
    process.stdout.write(stdout);
    if (code !== 0) throw new SinglepollError(code ?? EXIT.unreachable, 'installed, but it did not start');
  },
  async list() {
    if (!isProgramInPath('crontab')) return [];
    return namesIn(await crontab(['-l'])).map((name) => {
      const path = privateFiles(name).scriptPath;
      return { kind: 'cron', system: false, name, path, made: madeAt(path) };
    });
  },
  async remove({ name }) {
    await putLine(name, null);
    process.stdout.write(`removed: the line of ${name} in the crontab\n`);
  },
};
