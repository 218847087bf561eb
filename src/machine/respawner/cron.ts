/**
 * cron: the line that started a stray, found in the crontabs. Only for a stray whose line of parents reaches the
 * cron daemon. A line that runs once at boot does not bring anything back before that, nor does at(1).
 * Facts: crontab(5), cron(8), run-parts(8).
 */
import type { Proc } from '../../strays/process.ts';
import { accountOf, ask, type Inquiry, respawner, typed, type Verdict } from './inquiry.ts';
import { type Lineage, nearestAbove, programOf } from './lineage.ts';
import { type Account, printable, shellQuote } from './shell.ts';

const DAEMONS = new Set(['cron', 'crond', 'cronie', 'anacron', 'fcron', 'atd']);

export interface CronSuspicion {
  readonly daemon: Proc;
  /** The process that cron started: as a rule the shell of the line. */
  readonly job: Proc;
  /** From the job down to the stray. */
  readonly jobTree: readonly Proc[];
}

/** One line of a crontab that runs something. */
export interface CronLine {
  readonly text: string;
  readonly command: string;
  readonly atBoot: boolean;
  /** The account in a system table; null in a user's own. */
  readonly user: string | null;
}

/** The nearest cron daemon above the stray. Debian's shows its children in capitals. */
export function suspectCron(lineage: Lineage): CronSuspicion | null {
  const isDaemon = (proc: Proc) => DAEMONS.has(programOf(proc).toLowerCase()) || isBusyboxCron(proc);
  const found = nearestAbove(lineage, isDaemon);
  if (found === null) return null;
  const at = lineage.line.indexOf(found.child);
  return { daemon: found.manager, job: found.child, jobTree: lineage.line.slice(0, at + 1).reverse() };
}

/** Finds the line; a stray whose line is gone from every readable table will not come back. */
export async function nameCron(suspicion: CronSuspicion, inquiry: Inquiry): Promise<Verdict> {
  if (programOf(suspicion.daemon).toLowerCase() === 'atd') return 'stops-here';
  const periodic = periodicScript(suspicion.jobTree);
  if (periodic !== null) {
    return respawner(inquiry, 'cron', periodic, [{ words: ['chmod', 'a-x', periodic] }], {
      uid: 0,
      name: 'root',
    });
  }
  const account = await accountOf(inquiry, suspicion.job.uid);
  const own = await userTable(inquiry, account);
  const ownLine = own === null ? null : lineOf(parseCrontab(own, false), suspicion.jobTree);
  if (ownLine !== null) return ownLine.atBoot ? 'stops-here' : editUserTable(inquiry, account, ownLine.text);
  for (const path of systemTables(inquiry)) {
    const line = lineOf(parseCrontab(inquiry.ctx.readText?.(path) ?? '', true), suspicion.jobTree);
    if (line !== null) return line.atBoot ? 'stops-here' : editSystemTable(inquiry, path, line.text);
  }
  return own === null
    ? editUserTable(inquiry, account, suspicion.job.argv.at(-1) ?? suspicion.job.comm)
    : 'stops-here';
}

/** Lines that run something. System tables name the account in a field of its own. */
export function parseCrontab(text: string, isSystem: boolean): readonly CronLine[] {
  const lines: CronLine[] = [];
  for (const raw of text.split('\n')) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#') || /^[A-Za-z_"'][^\s=]*\s*=/.test(line)) continue;
    const match = /^(@\w+|(?:\S+\s+){4}\S+)\s+(.+)$/.exec(line);
    if (match === null) continue;
    const rest = isSystem ? /^(\S+)\s+(.+)$/.exec(match[2]!) : null;
    if (isSystem && rest === null) continue;
    const command = commandOf(rest === null ? match[2]! : rest[2]!);
    lines.push({ text: line, command, atBoot: match[1] === '@reboot', user: rest?.[1] ?? null });
  }
  return lines;
}

/** The line that most likely started these processes: the very command, or one that holds the job's words. */
export function lineOf(lines: readonly CronLine[], jobTree: readonly Proc[]): CronLine | null {
  const exact = lines.find((line) => jobTree.some((proc) => proc.argv.includes(line.command)));
  if (exact !== undefined) return exact;
  const bare = (text: string) => text.replace(/["'\\]/g, '').replace(/\s+/g, ' ');
  for (const proc of jobTree) {
    // A shell that had nothing left to do became the command itself.
    const words = bare(proc.argv.join(' '));
    const found = words === '' ? undefined : lines.find((line) => bare(line.command).includes(words));
    if (found !== undefined) return found;
  }
  const script = jobTree
    .at(-1)
    ?.argv.find((word, at) => at > 0 && /[./]/.test(word) && !word.startsWith('-'));
  return (script !== undefined && lines.find((line) => line.command.split(/\s+/).includes(script))) || null;
}

/** What cron gives to the shell: up to the first bare percent sign. */
function commandOf(text: string): string {
  const end = text.search(/(?<!\\)%/);
  return (end === -1 ? text : text.slice(0, end)).replaceAll('\\%', '%').trimEnd();
}

function isBusyboxCron(proc: Proc): boolean {
  return programOf(proc) === 'busybox' && proc.argv[1] === 'crond';
}

/** A script that run-parts started from one of the machine's periodic folders. */
function periodicScript(jobTree: readonly Proc[]): string | null {
  for (const proc of jobTree) {
    const path = proc.argv.find((word) =>
      /^\/etc\/(?:cron\.(?:hourly|daily|weekly|monthly)|periodic\/\w+)\/[^/]+$/.test(word),
    );
    if (path !== undefined) return path;
  }
  return null;
}

async function userTable(inquiry: Inquiry, account: Account): Promise<string | null> {
  const whose = account.uid === inquiry.ownUid ? [] : inquiry.ownUid === 0 ? ['-u', account.name] : null;
  if (whose === null) return null;
  // 1 says that the account has no table.
  return ask(inquiry, 'crontab', [...whose, '-l'], [1]);
}

function systemTables(inquiry: Inquiry): readonly string[] {
  const folder = inquiry.ctx.listFolder?.('/etc/cron.d') ?? [];
  return ['/etc/crontab', ...folder.map((name) => `/etc/cron.d/${name}`)];
}

function editUserTable(inquiry: Inquiry, account: Account, line: string): Verdict {
  const own = account.uid === inquiry.ownUid;
  const words = own ? ['crontab', '-e'] : ['crontab', '-u', account.name, '-e'];
  // -u is for root alone: the command is typed as root, not as the account.
  const command = typed(inquiry, [{ words }], own ? null : { uid: 0, name: 'root' });
  return withRemark(respawner(inquiry, 'cron', line, []), command, line);
}

function editSystemTable(inquiry: Inquiry, path: string, line: string): Verdict {
  const command =
    inquiry.ownUid === 0 ? `"\${EDITOR:-vi}" ${shellQuote(path)}` : `sudoedit ${shellQuote(path)}`;
  return withRemark(respawner(inquiry, 'cron', line, []), command, line);
}

function withRemark(verdict: { kind: string; name: string }, command: string, line: string): Verdict {
  return {
    kind: verdict.kind,
    name: verdict.name,
    stopCommand: `${command}   # remove the line "${printable(line)}"`,
  };
}
