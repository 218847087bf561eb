/**
 * A status as people read it: `status` shows all of it, `status --watch` as much as fits into a terminal of any size. What is wrong comes
 * first, with the command that helps. Pure: everything comes in as data.
 */
import type { LiveDocument, LiveLine, StatusDocument } from '../supervisor/status.ts';
import { cut, oneLine, width, wrap } from './cells.ts';
import { dayLine } from './history-view.ts';
import { plain } from './plain.ts';
import { botName, type StatusRow, stateWords, statusRows } from './status-rows.ts';
import { count, type Level, type Paint } from './words.ts';

export interface LiveView {
  readonly doc: StatusDocument;
  /** Oldest first. */
  readonly lines: readonly LiveLine[];
  readonly day: LiveDocument['day'];
  /** Updates a minute, in words. */
  readonly rate: string;
  /** What became of a key. */
  readonly message: { readonly text: string; readonly level: Level } | null;
  /** Whether keys are read. */
  readonly keys: boolean;
}

const LABEL_COLUMNS = 11;
const UNBROKEN_MAX = 24;
const NO_BREAK = '\u00a0';
/** Enough room to show when each line was said. */
const TIMES_FROM_COLUMNS = 79;
/** Half of a folder or a command tells something from this width on. */
const CUT_FROM_COLUMNS = 20;
const DAY = 'last day';
/** After the row of the supervisor. */
const DAY_RANK = 5.5;
const START = '  → singlepoll start -- COMMAND';

/** `nowMs` is wall-clock time; long lines are wrapped at `columns`. */
export function statusScreen(doc: StatusDocument, nowMs: number, columns: number, paint: Paint): string {
  const level = levelOf(doc);
  const lines = [`${paint(level, '●')} ${botName(doc)}: ${paint(level, stateWords(doc))}`];
  lines.push(...problems(doc, columns, Number.POSITIVE_INFINITY, paint), '');
  for (const row of statusRows(doc, nowMs)) lines.push(...rowLines(row, columns, paint));
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`;
}

/** A short part of a row stays on one line. */
function rowLines({ label, level, parts, rest }: StatusRow, columns: number, paint: Paint): string[] {
  const words = parts.map((text) => (text.length > UNBROKEN_MAX ? text : text.replaceAll(' ', NO_BREAK)));
  const lines = [
    ...wrap(words.join(', '), label.padEnd(LABEL_COLUMNS), columns),
    ...rest.flatMap((text) => wrap(text, ' '.repeat(LABEL_COLUMNS), columns)),
  ];
  return lines
    .map((line) => line.replaceAll(NO_BREAK, ' '))
    .map((line, i) =>
      i > 0 ? line : paint('tag', line.slice(0, LABEL_COLUMNS)) + paint(level, line.slice(LABEL_COLUMNS)),
    );
}

/** `rows` lines, none wider than `columns`. */
export function liveScreen(
  view: LiveView,
  nowMs: number,
  columns: number,
  rows: number,
  paint: Paint,
): string[] {
  const { doc, lines } = view;
  const top = [title(doc, nowMs, columns, paint), ...problems(doc, columns, Math.max(1, rows - 4), paint)];
  if (rows - top.length > 8) top.push('');
  const room = Math.max(0, rows - top.length - 1);
  const wantedLines = Math.min(lines.length, room >= 14 ? 5 : room >= 8 ? 3 : 0);
  const { day } = view;
  const all = statusRows(doc, nowMs, view.rate);
  if (day) all.push({ label: DAY, rank: DAY_RANK, level: 'info', parts: [], rest: [] });
  const byRank = [...all].sort((a, b) => a.rank - b.rank);
  const kept = byRank.slice(0, Math.max(0, room - (wantedLines > 0 ? wantedLines + 1 : 0)));
  const body = all
    .filter((row) => kept.includes(row))
    .map(
      (row) =>
        beginOf(row, columns, paint) +
        (day && row.label === DAY ? dayLine(day, columns - LABEL_COLUMNS, paint) : ''),
    );
  if (wantedLines > 0) {
    const left = room - body.length - 1;
    body.push(paint('tag', cut(`── last lines ${'─'.repeat(columns)}`, columns).replace(/…$/, '─')));
    for (const line of lines.slice(-left)) body.push(logLine(line, columns, paint));
  }
  const screen = [...top, ...body].slice(0, rows - 1);
  while (screen.length < rows - 1) screen.push('');
  return [...screen, keysLine(view, columns, paint)];
}

function levelOf({ healthy, state }: StatusDocument): Level {
  return healthy ? 'good' : state === 'stopped' ? 'warn' : 'error';
}

/** The state is never cut while there is something else to cut. */
function title(doc: StatusDocument, nowMs: number, columns: number, paint: Paint): string {
  const level = levelOf(doc);
  const words = cut(shortState(doc), columns - 2);
  const name = cut(botName(doc), columns - 4 - words.length);
  const begin = name === '' ? '' : `${name}: `;
  const clock = clockTime(nowMs);
  const gap = columns - 2 - width(begin) - words.length - clock.length;
  const end = gap > 0 ? ' '.repeat(gap) + paint('tag', clock) : '';
  return `${paint(level, '●')} ${begin}${paint(level, words)}${end}`;
}

function shortState(doc: StatusDocument): string {
  const { state, problems } = doc;
  const words = state === 'backoff' ? 'waiting to restart' : (stateWords(doc).split(':')[0] ?? state);
  return problems.length === 0 || state === 'stopped' || words === 'not answering'
    ? words
    : `${words}, ${count(problems.length, 'problem')}`;
}

/** Each whole as long as there is room; of the first one at least the beginning. */
function problems(doc: StatusDocument, columns: number, rows: number, paint: Paint): string[] {
  if (doc.state === 'stopped' && !doc.problems.some(({ hint }) => hint))
    return [...doc.problems.flatMap((it) => problemLines(it, columns, paint)), cut(START, columns)].slice(
      -rows,
    );
  const lines: string[] = [];
  for (const [i, problem] of doc.problems.entries()) {
    const own = problemLines(problem, columns, paint);
    const left = doc.problems.length - i;
    // The last row may be needed to say that there is more.
    if (i > 0 && lines.length + own.length > rows - (left > 1 ? 1 : 0)) {
      lines.push(paint('error', cut(`! ${left} more: singlepoll status`, columns)));
      break;
    }
    lines.push(...own);
  }
  return lines.slice(0, rows);
}

function problemLines(
  { message, details = [], hint = '' }: StatusDocument['problems'][number],
  columns: number,
  paint: Paint,
): string[] {
  return [
    ...wrap(plain(message, 1_000), '! ', columns).map((line) => paint('error', line)),
    ...details.flatMap((line) => wrap(plain(line, 400), '  | ', columns)),
    ...hint.split('\n').flatMap((line) => (line ? wrap(plain(line, 1_000), '  → ', columns) : [])),
  ];
}

/** The parts that there is room for on one line. */
function beginOf({ label, level, parts }: StatusRow, columns: number, paint: Paint): string {
  let text = cut(parts[0] ?? '', columns - LABEL_COLUMNS);
  for (const part of parts.slice(1)) {
    const room = columns - LABEL_COLUMNS - width(text) - 2;
    const isWhole = width(part) <= room;
    if (isWhole || room >= CUT_FROM_COLUMNS) text += `, ${cut(part, room)}`;
    if (!isWhole) break;
  }
  return paint('tag', label.padEnd(LABEL_COLUMNS)) + paint(level, text);
}

function logLine({ at, tag, level, text }: LiveLine, columns: number, paint: Paint): string {
  const time = columns < TIMES_FROM_COLUMNS ? '' : `${clockTime(Date.parse(at))}  `;
  const name = tag === null ? '' : `[${tag}] `;
  const line = cut(name + oneLine(text), columns - time.length);
  return paint('tag', time + line.slice(0, name.length)) + paint(level, line.slice(name.length));
}

function keysLine({ keys, message, doc }: LiveView, columns: number, paint: Paint): string {
  const mayRestart = doc.worker !== null && doc.state !== 'standby';
  const line = cut(keys ? `${mayRestart ? 'r restart   ' : ''}q leave` : 'Ctrl-C leave', columns);
  const room = columns - line.length - 3;
  if (!message || room < 5) return paint('tag', line);
  return `${paint('tag', line)}   ${paint(message.level, cut(message.text, room))}`;
}

/** Of the reader's own zone. */
function clockTime(ms: number): string {
  const it = new Date(ms);
  return [it.getHours(), it.getMinutes(), it.getSeconds()].map((n) => String(n).padStart(2, '0')).join(':');
}

const WINDOW_MS = 60_000;
/** Less tells nothing. */
const KNOWN_AFTER_MS = 10_000;

/** Updates a minute, from the counter in successive documents. All times of one clock. */
export function createRate() {
  /** Of one run of a supervisor, in the order of time; only the first may be older than the window. */
  let samples: { readonly run: string; readonly updates: number; readonly atMs: number }[] = [];

  function forget(nowMs: number): void {
    const begin = samples.findLastIndex(({ atMs }) => atMs <= nowMs - WINDOW_MS);
    samples = samples.slice(Math.max(0, begin));
  }

  return {
    count(run: string, updates: number, nowMs: number): void {
      if (samples.at(-1)?.run !== run) samples = [];
      // The counter stands still between two samples.
      if (samples.at(-1)?.updates !== updates) samples.push({ run, updates, atMs: nowMs });
      forget(nowMs);
    },
    words(nowMs: number): string {
      forget(nowMs);
      const [first] = samples;
      const spanMs = first ? nowMs - first.atMs : 0;
      const grown = (samples.at(-1)?.updates ?? 0) - (first?.updates ?? 0);
      if (spanMs < KNOWN_AFTER_MS) return '– a minute';
      return spanMs >= WINDOW_MS
        ? `${grown} a minute`
        : `about ${Math.round((grown * WINDOW_MS) / spanMs)} a minute`;
    },
  };
}
