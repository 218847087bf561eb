// Results as tables of Markdown, to be pasted into docs/lease.md.
import type { Ran } from './cells.ts';
import { ROWS } from './rows/all.ts';

function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(3, ...all.map((row) => (row[column] ?? '').length)));
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}

const ms = (value: number | undefined): string =>
  value === undefined ? '' : value === 0 ? '0' : value < 10 ? value.toFixed(1) : value.toFixed(0);
const seconds = (value: number): string => (value / 1_000).toFixed(value < 10_000 ? 2 : 1);

export function chaosTable(results: readonly Ran[]): string {
  const head = [
    ...['row', 'fault', 'engine', 'overlap at the API (ms)', 'stale polls', 'updates lost'],
    ...['without a poller (s)', 'verdict'],
  ];
  return markdown(
    head,
    results.map(({ row, engine, verdict, ok }) => [
      row,
      ROWS.find(({ id }) => id === row)?.fault ?? '',
      engine,
      verdict ? ms(verdict.overlapMs) : '?',
      verdict ? String(verdict.stale) : '?',
      verdict ? `${verdict.lost} of ${verdict.updates}` : '?',
      verdict ? seconds(verdict.gapMs) : '?',
      ok ? 'kept' : 'BROKEN',
    ]),
  );
}

/** What was wrong, or every figure where nothing was. */
export function sentence({ row, engine, verdict, figures, checks, ok }: Ran): string {
  const head = `${ok ? 'ok    ' : 'BROKEN'} ${row.padEnd(3)} ${engine.padEnd(10)}`;
  const shown = Object.entries({ ...verdict, ...figures })
    .map(([name, value]) => `${name} ${Number.isInteger(value) ? value : value.toFixed(1)}`)
    .join(', ');
  const broken = checks.filter((check) => !check.ok).map(({ what, seen }) => `\n       ${what}: ${seen}`);
  return `${head} ${shown}${broken.join('')}`;
}
