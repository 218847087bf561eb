/** The crontab of a user, with and without our line; every other byte of it stays as it is. Pure. Facts: crontab(5). */
import type { Plan } from './plan.ts';
import { cronCommand, shellWord } from './quote.ts';

/** cron takes all after the fifth field as the command, which a shell runs: there this is a comment. */
const MARK = '# singlepoll install ';

/** What cron reads of one line (vixie-cron's MAX_COMMAND is 1000). */
export const LONGEST_COMMAND = 999;

export function cronLine({ wrapperPath, made }: Pick<Plan, 'wrapperPath' | 'made'>): string {
  return `@reboot ${cronCommand(`/bin/sh ${shellWord(wrapperPath)}`)} ${MARK}${made.name}`;
}

/** `line` in place of the one that is there, else at the end. */
export function withLine(table: string, name: string, line: string): string {
  const lines = table.split('\n');
  const at = lines.findIndex((it) => isOurs(it, name));
  if (at >= 0) return lines.map((it, index) => (index === at ? line : it)).join('\n');
  return `${table}${table === '' || table.endsWith('\n') ? '' : '\n'}${line}\n`;
}

export function withoutLine(table: string, name: string): string {
  return table
    .split('\n')
    .filter((it) => !isOurs(it, name))
    .join('\n');
}

/** Ours, of any name. */
export function linesOf(table: string): { readonly name: string; readonly line: string }[] {
  return table.split('\n').flatMap((line) => {
    const name = nameOf(line);
    return name === null ? [] : [{ name, line }];
  });
}

function isOurs(line: string, name: string): boolean {
  return nameOf(line) === name;
}

function nameOf(line: string): string | null {
  if (!line.startsWith('@reboot ')) return null;
  const at = line.lastIndexOf(MARK);
  return at < 0 ? null : line.slice(at + MARK.length).trimEnd();
}
