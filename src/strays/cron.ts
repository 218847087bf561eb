/**
 * cron: the line that started a stray, found in the crontabs. A line that runs once at boot does not bring anything back before
 * that, nor does at(1). Facts: crontab(5), cron(8), run-parts(8).
 */
import { ROOT } from '../shell.ts';
import {
  accountOf,
  answer,
  ask,
  type Found,
  programOf,
  type Search,
  type Verdict,
} from './manager-search.ts';
import type { Proc, Respawner } from './process.ts';

/** One line of a crontab that runs something. */
export interface CronLine {
  readonly text: string;
  readonly command: string;
  readonly atBoot: boolean;
}

/** Finds the line; a stray whose line is gone from every readable table will not come back. */
export async function nameCron({ manager, child }: Found, search: Search): Promise<Verdict> {
  if (programOf(manager).toLowerCase() === 'atd') return 'not-restarted';
  const { edges, line } = search;
  /** From the process that cron started, as a rule the shell of the line, down to the stray. */
  const job = line.slice(0, line.indexOf(child) + 1).reverse();
  const periodic = job
    .flatMap(({ argv }) => argv)
    .find((word) => /^\/etc\/(?:cron\.(?:hourly|daily|weekly|monthly)|periodic\/\w+)\/[^/]+$/.test(word));
  if (periodic !== undefined)
    return answer(search, 'cron', periodic, [{ words: ['chmod', 'a-x', periodic] }], { account: ROOT });
  const own = await userTable(child.uid, search);
  const tables = [
    { found: lineOf(parseCrontab(own ?? '', false), job), edit: () => userEditor(child.uid, search) },
    ...['/etc/crontab', ...edges.listFolder('/etc/cron.d').map((name) => `/etc/cron.d/${name}`)].map(
      (path) => ({
        found: lineOf(parseCrontab(edges.readText(path) ?? '', true), job),
        edit: () => ({ words: edges.ownUid === 0 ? ['vi', path] : ['sudoedit', path], account: null }),
      }),
    ),
  ];
  const table = tables.find(({ found }) => found !== null);
  if (table) return table.found!.atBoot ? 'not-restarted' : editOf(table.edit(), table.found!.text, search);
  return own === null
    ? editOf(userEditor(child.uid, search), child.argv.at(-1) ?? child.comm, search)
    : 'not-restarted';
}

/** Lines that run something. System tables name the account in a field of its own. */
export function parseCrontab(text: string, isSystem: boolean): readonly CronLine[] {
  return text.split('\n').flatMap((raw) => {
    const line = raw.trim();
    if (line.startsWith('#') || /^[A-Za-z_"'][^\s=]*\s*=/.test(line)) return [];
    const [, when, rest = ''] = /^(@\w+|(?:\S+\s+){4}\S+)\s+(.+)$/.exec(line) ?? [];
    const command = isSystem ? /^\S+\s+(.+)$/.exec(rest)?.[1] : rest;
    if (when === undefined || !command) return [];
    // The shell gets what stands before the first bare percent sign.
    const given = command
      .split(/(?<!\\)%/, 1)[0]!
      .replaceAll('\\%', '%')
      .trimEnd();
    return [{ text: line, command: given, atBoot: when === '@reboot' }];
  });
}

/** The line that most likely started these processes: the very command, or one that holds the words or the script of one of them. */
function lineOf(lines: readonly CronLine[], job: readonly Proc[]): CronLine | null {
  const bare = (text: string) => text.replace(/["'\\]/g, '').replace(/\s+/g, ' ');
  const holds = (part: string) => lines.find(({ command }) => part !== '' && bare(command).includes(part));
  const exact = lines.find(({ command }) => job.some(({ argv }) => argv.includes(command)));
  if (exact) return exact;
  for (const { argv } of job) {
    // A shell that had nothing left to do became the command itself.
    const found = holds(bare(argv.join(' ')));
    if (found) return found;
  }
  const script = job.at(-1)?.argv.find((word, at) => at > 0 && /^[^-].*[./]|^[./]/.test(word));
  return (script && lines.find(({ command }) => command.split(/\s+/).includes(script))) || null;
}

/** Null where it may not be read. */
async function userTable(uid: number, search: Search): Promise<string | null> {
  const { ownUid } = search.edges;
  if (uid !== ownUid && ownUid !== 0) return null;
  const whose = uid === ownUid ? [] : ['-u', accountOf(search, uid).name];
  // 1 says that the account has no table.
  return ask(search, ['crontab', ...whose, '-l'], 1);
}

function userEditor(uid: number, search: Search) {
  if (uid === search.edges.ownUid) return { words: ['crontab', '-e'], account: null };
  // -u is for root alone.
  return { words: ['crontab', '-u', accountOf(search, uid).name, '-e'], account: ROOT };
}

function editOf(
  { words, account }: { words: string[]; account: typeof ROOT | null },
  line: string,
  search: Search,
): Respawner {
  return answer(search, 'cron', line, [{ words }], { account, remark: `remove the line "${line}"` });
}
