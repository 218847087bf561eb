/** The history of a bot as people and programs read it: one line of a live screen, the text and JSON of `status --history`, the digest. PURE. */
import { cellsOf, MINUTE_MS, type Summary } from '../supervisor/history.ts';
import type { StatusDocument } from '../supervisor/status.ts';
import { wrap } from './cells.ts';
import { plain } from './plain.ts';
import { count, duration, type Level, type Paint } from './words.ts';

/** In the order in which they are told; told apart without colour, too. */
const CELLS: Readonly<Record<keyof Summary['sums'], readonly [mark: string, level: Level | 'tag']>> = {
  polled: ['▁', 'good'],
  standby: ['─', 'info'],
  restart: ['▂', 'warn'],
  outage: ['▄', 'warn'],
  conflict: ['▚', 'error'],
  gap: ['█', 'error'],
  unknown: ['·', 'tag'],
};

/** Of a day quarters of an hour, half hours, hours. */
const WIDTHS = [96, 48, 24] as const;

/** As much as there is room for: at least the strip. */
export function dayLine(
  { minutes, notPolledMs }: Pick<Summary, 'minutes' | 'notPolledMs'>,
  columns: number,
  paint: Paint,
): string {
  const words = notPolledMs === 0 ? '  no gap' : `  ${duration(notPolledMs)} not polled`;
  const wide = WIDTHS.find((it) => it + words.length <= columns);
  if (!wide) return strip(minutes, Math.min(24, columns), paint);
  return strip(minutes, wide, paint) + paint(notPolledMs === 0 ? 'info' : 'warn', words);
}

function strip(minutes: string, cells: number, paint: Paint): string {
  const marks = cellsOf(minutes, cells).map((cell) => CELLS[cell]);
  return marks.map(([mark, level]) => paint(level, mark)).join('');
}

export function historyScreen(name: string, summary: Summary, columns: number, paint: Paint): string {
  const { fromMs, untilMs, minutes, spans, notPolledMs } = summary;
  const wide = WIDTHS.find((it) => it <= columns) ?? columns;
  const [from = '', until = ''] = [fromMs, untilMs].map((ms) => clockWords(ms).slice(0, 9));
  const not = notPolledMs === 0 ? 'no gap' : `nobody polled for ${duration(notPolledMs)} of it`;
  const lines = [
    ...wrap(`${name}: the last ${duration(untilMs - fromMs)}, ${not}`, '', columns),
    ...['', strip(minutes, wide, paint), from + until.padStart(wide - from.length), ''],
    ...sumsOf(summary).map(([cell, label, time]) => {
      const [mark, level] = CELLS[cell];
      return `${paint(level, mark)} ${label.padEnd(10)}${time}`;
    }),
    ...(spans.length > 0 ? ['', 'the longest first:'] : []),
    ...spans.flatMap((span) => spanLines(span, columns, paint)),
  ];
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`;
}

function sumsOf({ sums }: Pick<Summary, 'sums'>) {
  return (Object.keys(CELLS) as (keyof typeof CELLS)[])
    .filter((cell) => sums[cell] > 0)
    .map((cell) => {
      const time = sums[cell] === 1 ? '1 min' : duration(sums[cell] * MINUTE_MS);
      return [cell, cell === 'unknown' ? 'not known' : cell, time] as const;
    });
}

/** `polled 23 h 41 min, gap 12 min`. */
export const sumWords = (summary: Pick<Summary, 'sums'>): string =>
  sumsOf(summary)
    .map(([, label, time]) => `${label} ${time}`)
    .join(', ');

function spanLines(span: Summary['spans'][number], columns: number, paint: Paint): string[] {
  const begin = `${duration(span.lastedMs).padStart(11)}  ${span.state.padEnd(10)}`;
  const [first = '', ...more] = wrap(spanWords(span), begin, Math.max(columns, begin.length + 20));
  return [paint(CELLS[span.state][1], first.slice(0, begin.length)) + first.slice(begin.length), ...more];
}

/** `Sun 03:12:07 to 03:24:27: no supervisor ran`. */
export function spanWords(
  { fromMs, untilMs, times, cause, lasts }: Summary['spans'][number],
  zone?: string,
): string {
  const from = clockWords(fromMs, zone);
  const until = clockWords(untilMs, zone);
  const day = from.slice(0, 4);
  const to = lasts ? 'until now' : `to ${until.startsWith(day) ? until.slice(4) : until}`;
  const often = times > 1 ? `, ${count(times, 'time')}` : '';
  return `${from} ${to}${often}${cause === null ? '' : `: ${plain(cause, 300)}`}`;
}

/** `Sun 03:12:07`; without a zone, in the reader's own. */
export function clockWords(ms: number, zone?: string): string {
  const time = { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' } as const;
  const format = new Intl.DateTimeFormat('en-GB', { weekday: 'short', ...time, timeZone: zone });
  return format.format(ms).replace(',', '');
}

export function historyDocument(bot: StatusDocument['bot'], summary: Summary): object {
  const at = (ms: number) => new Date(ms).toISOString();
  const seconds = (ms: number) => Math.round(ms) / 1_000;
  return {
    bot,
    from: at(summary.fromMs),
    to: at(summary.untilMs),
    minutes: summary.sums,
    timeline: summary.minutes,
    notPolledSeconds: seconds(summary.notPolledMs),
    spans: summary.spans.map(({ state, fromMs, untilMs, lastedMs, times, cause, lasts }) => ({
      ...{ state, from: at(fromMs), to: lasts ? null : at(untilMs) },
      ...{ seconds: seconds(lastedMs), times, cause },
    })),
  };
}
