/** The examination as people read it. Control characters and tokens of file names and code never get through. */
import { maskText } from '../output/mask.ts';
import { plain } from '../output/plain.ts';
import type { Paint } from '../output/words.ts';
import { count } from '../output/words.ts';
import type { Examination } from './examine.ts';
import type { Finding } from './finding.ts';

const safe = (text: string): string => plain(maskText(text, []), 1_000);

export function screen({ folder, findings, notes, environment, limits }: Examination, paint: Paint): string {
  const lines: string[] = [];
  for (const finding of findings) lines.push(...entry(finding, paint('error', '✗'), paint));
  for (const note of notes) lines.push(...entry(note, paint('warn', 'note'), paint));
  const looked = environment.filter(({ ok }) => ok === true).map(({ message }) => message);
  const unseen = environment.filter(({ ok }) => ok === null).map(({ check }) => check);
  if (looked.length > 0) lines.push(`${paint('good', '✓')} ${safe(looked.join('; '))}`);
  if (unseen.length > 0) lines.push(`not looked at: ${unseen.join(', ')}`);
  for (const limit of limits) lines.push(`not all was looked at: ${safe(limit)}`);
  const what =
    findings.length === 0
      ? paint('good', 'nothing found')
      : paint('error', count(findings.length, 'finding'));
  lines.push(`${safe(folder)}: ${what}`);
  return `${lines.join('\n')}\n`;
}

function entry({ rule, file, line, why, cure }: Finding, mark: string, paint: Paint): string[] {
  const where = file === null ? '' : `${safe(file)}${line === null ? '' : `:${line}`}  `;
  return [
    `${mark} ${where}${paint('tag', rule)}`,
    `  ${safe(why)}`,
    ...(cure === '' ? [] : [`  → ${safe(cure)}`]),
    '',
  ];
}

/** For --json. */
export function toDocument({ folder, findings, notes, environment, limits }: Examination): unknown {
  const shown = ({ rule, file, line, why, cure }: Finding) => ({
    rule,
    file: file === null ? null : safe(file),
    line,
    why: safe(why),
    cure: safe(cure),
  });
  return {
    folder: safe(folder),
    healthy: findings.length === 0,
    findings: findings.map(shown),
    notes: notes.map(shown),
    environment: environment.map(({ check, ok, message, cure }) => ({
      check,
      ok,
      message: safe(message),
      cure: cure === null ? null : safe(cure),
    })),
    limits: limits.map(safe),
  };
}
