/** The history of a bot as people and programs read it: one line of a live screen, the text and JSON of `status --history`, the digest. PURE. */
import { cellsOf, MINUTE_MS, MINUTE_STATES, type MinuteState, type Summary } from '../supervisor/history.ts';
import type { StatusDocument } from '../supervisor/status.ts';
import { wrap } from './cells.ts';
import { plain } from './plain.ts';
import { count, duration, type Level, type Paint } from './words.ts';

type Cell = MinuteState | 'unknown';

/** Told apart without colour, too. */
const CELLS: Readonly<Record<Cell, readonly [mark: string, level: Level | 'tag']>> = {
  unknown: ['·', 'tag'],
  polled: ['▁', 'good'],
  standby: ['─', 'info'],
  restart: ['▂', 'warn'],
  outage: ['▄', 'warn'],
  conflict: ['▚', 'error'],
  gap: ['█', 'error'],
};

/** Quarters of an hour, half hours, hours of a day. */
const WIDTHS = [96, 48] as const;
const NARROWEST = 24;

/** As much as there is room for: at least the strip. */
export function dayLine(
  day: Pick<Summary, 'minutes' | 'notPolledMs'>,
  columns: number,
  paint: Paint,
): string {
  const words = `  ${day.notPolledMs === 0 ? 'no gap' : `${duration(day.notPolledMs)} not polled`}`;
  const wide = WIDTHS.find((it) => it + words.length <= columns) ?? NARROWEST;
  const end = wide + words.length <= columns ? words : '';
  return (
    strip(day.minutes, Math.min(wide, columns), paint) + paint(end === '  no gap' ? 'info' : 'warn', end)
  );
}

function strip(minutes: string, cells: number, paint: Paint): string {
  const marks = cellsOf(minutes, cells).map((cell) => CELLS[cell]);
  return marks.map(([mark, level]) => paint(level, mark)).join('');
}

export function historyScreen(name: string, summary: Summary, columns: number, paint: Paint): string {
  const { fromMs, untilMs, minutes, sums, spans, notPolledMs } = summary;
  const wide = [...WIDTHS, NARROWEST].find((it) => it <= columns) ?? columns;
  const [from, until] = [clockWords(fromMs).slice(0, 9), clockWords(untilMs).slice(0, 9)];
  const lines = [
    `${name}: the last ${duration(untilMs - fromMs)}, ${notPolledMs === 0 ? 'no gap' : `nobody polled for ${duration(notPolledMs)} of it`}`,
    '',
    strip(minutes, wide, paint),
    from + until.padStart(wide - from.length),
    '',
    ...SHOWN.filter((cell) => sums[cell] > 0).map((cell) => {
      const [mark, level] = CELLS[cell];
      return `${paint(level, mark)} ${LABELS[cell].padEnd(10)}${minutesWords(sums[cell])}`;
    }),
  ];
  if (spans.length > 0) lines.push('', 'the longest first:');
  for (const span of spans) lines.push(...spanLines(span, columns, paint));
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`;
}

const SHOWN: readonly Cell[] = [...MINUTE_STATES, 'unknown'];
const LABELS = { ...Object.fromEntries(MINUTE_STATES.map((it) => [it, it])), unknown: 'not known' } as Record<
  Cell,
  string
>;

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

/** `polled 23 h 41 min, gap 12 min`. */
export function sumWords({ sums }: Pick<Summary, 'sums'>): string {
  const known = SHOWN.filter((cell) => sums[cell] > 0);
  return known.map((cell) => `${LABELS[cell]} ${minutesWords(sums[cell])}`).join(', ');
}

const minutesWords = (minutes: number) => (minutes === 1 ? '1 min' : duration(minutes * MINUTE_MS));

/** `Sun 03:12:07`; without a zone, in the reader's own. */
export function clockWords(ms: number, zone?: string): string {
  const time = { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' } as const;
  const format = new Intl.DateTimeFormat('en-GB', { weekday: 'short', ...time, timeZone: zone });
  return format.format(ms).replace(',', '');
}

/** The document of `status --history --json`. */
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
