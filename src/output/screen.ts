/**
 * A status as people read it: `status` shows all of it, `status --watch` as much as fits into a terminal of any size. What is wrong comes
 * first, with the command that helps. Pure: everything comes in as data.
 */
import type { LiveDocument, LiveLine, StatusDocument } from '../supervisor/status.ts';
import { cut, oneLine, width, wrap } from './cells.ts';
import { clockWords, dayLine } from './history-view.ts';
import { plain } from './plain.ts';
import { botName, type StatusRow, stateWords, statusRows } from './status-rows.ts';
import { count, type Level, type Paint } from './words.ts';

export interface LiveView extends LiveDocument {
  /** Updates a minute, in words. */
  readonly rate: string;
  /** What became of a key. */
  readonly message: { readonly text: string; readonly level: Level } | null;
  readonly keys: boolean;
}

const LABEL_COLUMNS = 11;
const UNBROKEN_MAX = 24;
const NO_BREAK = '\u00a0';
/** Enough room to show when each line was said. */
const TIMES_FROM_COLUMNS = 79;
/** Half of a folder or a command tells something from this width on. */
const CUT_FROM_COLUMNS = 20;
/** After the row of the supervisor. */
const DAY_RANK = 5.5;
const START = '  → singlepoll start -- COMMAND';

/** `nowMs` is wall-clock time; long lines are wrapped at `columns`. */
export function statusScreen(doc: StatusDocument, nowMs: number, columns: number, paint: Paint): string {
  const level = levelOf(doc);
  const lines = [
    `${paint(level, '●')} ${botName(doc)}: ${paint(level, stateWords(doc))}`,
    ...problems(doc, columns, Number.POSITIVE_INFINITY, paint),
    '',
    ...statusRows(doc, nowMs).flatMap((row) => rowLines(row, columns, paint)),
  ];
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`;
}

/** A short part of a row stays on one line. */
function rowLines({ label, level, parts, rest }: StatusRow, columns: number, paint: Paint): string[] {
  const words = parts.map((text) => (text.length > UNBROKEN_MAX ? text : text.replaceAll(' ', NO_BREAK)));
  const [first = '', ...more] = [
    ...wrap(words.join(', '), label.padEnd(LABEL_COLUMNS), columns),
    ...rest.flatMap((text) => wrap(text, ' '.repeat(LABEL_COLUMNS), columns)),
  ].map((line) => line.replaceAll(NO_BREAK, ' '));
  return [paint('tag', first.slice(0, LABEL_COLUMNS)) + paint(level, first.slice(LABEL_COLUMNS)), ...more];
}

/** `rows` lines, none wider than `columns`. */
export function liveScreen(
  view: LiveView,
  nowMs: number,
  columns: number,
  rows: number,
  paint: Paint,
): string[] {
  const { status, lines, day } = view;
  const top = [
    title(status, nowMs, columns, paint),
    ...problems(status, columns, Math.max(1, rows - 4), paint),
  ];
  if (rows - top.length > 8) top.push('');
  const room = Math.max(0, rows - top.length - 1);
  const wantedLines = Math.min(lines.length, room >= 14 ? 5 : room >= 8 ? 3 : 0);
  const wide = columns - LABEL_COLUMNS;
  const all = statusRows(status, nowMs, view.rate).map(({ label, rank, level, parts }) => ({
    ...{ label, rank },
    text: paint(level, fitting(parts, wide)),
  }));
  if (day) all.push({ label: 'last day', rank: DAY_RANK, text: dayLine(day, wide, paint) });
  const byRank = [...all].sort((a, b) => a.rank - b.rank);
  const kept = byRank.slice(0, Math.max(0, room - (wantedLines > 0 ? wantedLines + 1 : 0)));
  const body = all
    .filter((row) => kept.includes(row))
    .map(({ label, text }) => paint('tag', label.padEnd(LABEL_COLUMNS)) + text);
  if (wantedLines > 0) {
    const left = room - body.length - 1;
    body.push(paint('tag', `── last lines ${'─'.repeat(columns)}`.slice(0, columns)));
    body.push(...lines.slice(-left).map((line) => logLine(line, columns, paint)));
  }
  const screen = [...top, ...body].slice(0, rows - 1);
  while (screen.length < rows - 1) screen.push('');
  return [...screen, keysLine(view, columns, paint)];
}

/** The parts that there is room for on one line. */
function fitting(parts: readonly string[], columns: number): string {
  let text = '';
  for (const part of parts) {
    const more = text === '' ? part : `${text}, ${part}`;
    const isCut = width(more) > columns;
    if (isCut && text !== '' && columns - width(text) - 2 < CUT_FROM_COLUMNS) break;
    text = cut(more, columns);
    if (isCut) break;
  }
  return text;
}

function levelOf({ healthy, state }: StatusDocument): Level {
  return healthy ? 'good' : state === 'stopped' ? 'warn' : 'error';
}

/** The state is never cut while there is something else to cut. */
function title(doc: StatusDocument, nowMs: number, columns: number, paint: Paint): string {
  const level = levelOf(doc);
  const number = doc.problems.length === 0 ? '' : `, ${count(doc.problems.length, 'problem')}`;
  const state = cut((stateWords(doc).split(':')[0] ?? '') + number, columns - 2);
  const name = cut(botName(doc), columns - 4 - state.length);
  const begin = name === '' ? '' : `${name}: `;
  const clock = clockTime(nowMs);
  const gap = columns - 2 - begin.length - state.length;
  const end = gap > clock.length ? paint('tag', clock.padStart(gap)) : '';
  return `${paint(level, '●')} ${begin}${paint(level, state)}${end}`;
}

/** At most `rows`; what is left out is told of. */
function problems(doc: StatusDocument, columns: number, rows: number, paint: Paint): string[] {
  const lines = doc.problems.flatMap(({ message, details = [], hint = '' }) => [
    ...wrap(plain(message, 1_000), '! ', columns).map((line) => paint('error', line)),
    ...details.flatMap((line) => wrap(plain(line, 400), '  | ', columns)),
    ...hint.split('\n').flatMap((line) => (line ? wrap(plain(line, 1_000), '  → ', columns) : [])),
  ]);
  if (doc.state === 'stopped' && !doc.problems.some(({ hint }) => hint)) lines.push(cut(START, columns));
  if (lines.length <= rows || rows < 2) return lines.slice(0, rows);
  return [...lines.slice(0, rows - 1), paint('error', cut('! more: singlepoll status', columns))];
}

function logLine({ at, tag, level, text }: LiveLine, columns: number, paint: Paint): string {
  const time = columns < TIMES_FROM_COLUMNS ? '' : `${clockTime(Date.parse(at))}  `;
  const name = tag === null ? '' : `[${tag}] `;
  const line = cut(name + oneLine(text), columns - time.length);
  return paint('tag', time + line.slice(0, name.length)) + paint(level, line.slice(name.length));
}

function keysLine({ keys, message, status }: LiveView, columns: number, paint: Paint): string {
  const mayRestart = status.worker !== null && status.state !== 'standby';
  const line = cut(keys ? `${mayRestart ? 'r restart   ' : ''}q leave` : 'Ctrl-C leave', columns);
  const room = columns - line.length - 3;
  if (!message || room < 5) return paint('tag', line);
  return `${paint('tag', line)}   ${paint(message.level, cut(message.text, room))}`;
}

const clockTime = (ms: number): string => clockWords(ms).slice(4);

const WINDOW_MS = 60_000;
/** Less tells nothing. */
const KNOWN_AFTER_MS = 10_000;

/** Updates a minute in words, from the counter as it is asked again and again; `run`: whose. All times of one clock. */
export function createRate(): (run: string, updates: number, nowMs: number) => string {
  /** Of one run of a supervisor, in the order of time; only the first may be older than the window. */
  let samples: { readonly run: string; readonly updates: number; readonly atMs: number }[] = [];
  return (run, updates, nowMs) => {
    samples = [...samples, { run, updates, atMs: nowMs }].filter((it) => it.run === run);
    const begin = samples.findLastIndex(({ atMs }) => atMs <= nowMs - WINDOW_MS);
    samples = samples.slice(Math.max(0, begin));
    const [first] = samples;
    const spanMs = nowMs - first!.atMs;
    const grown = updates - first!.updates;
    if (spanMs < KNOWN_AFTER_MS) return '– a minute';
    return spanMs >= WINDOW_MS
      ? `${grown} a minute`
      : `about ${Math.round((grown * WINDOW_MS) / spanMs)} a minute`;
  };
}
