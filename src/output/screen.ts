/**
 * A status as people read it: `status` shows all of it, `status --watch` as much as fits into a terminal of any size. What is wrong comes
 * first, with the command that helps. Pure: everything comes in as data.
 */
import type { LiveLine, StatusDocument } from '../supervisor/status.ts';
import { cut, oneLine, width, wrap } from './cells.ts';
import { plain } from './plain.ts';
import type { Rate } from './rate.ts';
import { botName, STATE_WORDS, type StatusRow, statusRows } from './status-rows.ts';
import { count, type Level, type Paint, type Part } from './words.ts';

export interface LiveView {
  readonly doc: StatusDocument;
  /** Oldest first. */
  readonly lines: readonly LiveLine[];
  /** Null: not known yet. */
  readonly rate: Rate | null;
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
const START = '  → singlepoll start -- COMMAND';

/** `nowMs` is wall-clock time; long lines are wrapped at `columns`. */
export function statusScreen(doc: StatusDocument, nowMs: number, columns: number, paint: Paint): string {
  const level = titleLevel(doc);
  const lines = [`${paint(level, '●')} ${botName(doc)}: ${paint(level, STATE_WORDS[doc.state])}`];
  for (const problem of doc.problems) lines.push(...problemLines(problem, columns, paint));
  if (doc.state === 'stopped' && !doc.problems.some(({ hint }) => hint)) lines.push(START);
  lines.push('');
  for (const row of statusRows(doc, nowMs)) {
    const label = row.label.padEnd(LABEL_COLUMNS);
    const [first = '', ...more] = wrap(row.parts.map(unbroken).join(', '), label, columns);
    lines.push(paint('tag', label) + first.slice(LABEL_COLUMNS), ...more);
    for (const text of row.rest) lines.push(...wrap(text, ' '.repeat(LABEL_COLUMNS), columns));
  }
  return `${lines.map((line) => line.trimEnd().replaceAll(NO_BREAK, ' ')).join('\n')}\n`;
}

/** A short part stays on one line. */
function unbroken({ text }: Part): string {
  return text.length > UNBROKEN_MAX ? text : text.replaceAll(' ', NO_BREAK);
}

/** At most `rows` lines, none wider than `columns`. */
export function liveScreen(
  view: LiveView,
  nowMs: number,
  columns: number,
  rows: number,
  paint: Paint,
): string[] {
  const { doc, lines } = view;
  const top = [title(doc, nowMs, columns, paint), ...problems(doc, columns, Math.max(1, rows - 4), paint)];
  const room = Math.max(0, rows - top.length - 1);
  const airy = room >= 8;
  const free = room - (airy ? 1 : 0);
  const wantedLines = Math.min(lines.length, free >= 14 ? 5 : free >= 8 ? 3 : 0);
  const kept = mostImportant(
    statusRows(doc, nowMs, view.rate),
    free - (wantedLines > 0 ? wantedLines + 1 : 0),
  );
  const body = kept.map((row) => fittingRow(row, columns, paint));
  if (wantedLines > 0) {
    const left = free - body.length - 1;
    body.push(rule('last lines', columns, paint));
    for (const line of lines.slice(-left)) body.push(logLine(line, columns, paint));
  }
  const screen = [...top, ...(airy ? [''] : []), ...body];
  while (screen.length < rows - 1) screen.push('');
  return [...screen.slice(0, rows - 1), keysLine(view, columns, paint)].slice(-rows);
}

function titleLevel({ healthy, state }: StatusDocument): Level {
  return healthy ? 'good' : state === 'stopped' ? 'warn' : 'error';
}

function title(doc: StatusDocument, nowMs: number, columns: number, paint: Paint): string {
  const level = titleLevel(doc);
  // The state is never cut while there is something else to cut.
  const words = cut(stateWords(doc), Math.max(0, columns - 2));
  const clock = columns - 2 - words.length >= 26 ? clockTime(nowMs) : '';
  const room = columns - 2 - width(words) - 2 - (clock === '' ? 0 : clock.length + 1);
  const whole = botName(doc);
  // Rather the name without its number than half of both.
  const fitting = width(whole) <= room ? whole : whole.replace(/ \(\d+\)$/, '');
  const name = room < 4 ? '' : `${cut(fitting, room)}: `;
  const gap = ' '.repeat(Math.max(0, columns - 2 - width(name) - width(words) - clock.length));
  return `${paint(level, '●')} ${name}${paint(level, words)}${clock === '' ? '' : gap + paint('tag', clock)}`;
}

function stateWords({ state, problems }: StatusDocument): string {
  if (problems.some(({ code }) => code === 'supervisor-hung')) return 'not answering';
  const words = state === 'backoff' ? 'waiting to restart' : (STATE_WORDS[state].split(':')[0] ?? state);
  return problems.length === 0 || state === 'stopped'
    ? words
    : `${words}, ${count(problems.length, 'problem')}`;
}

function problemLines(
  { message, hint }: StatusDocument['problems'][number],
  columns: number,
  paint: Paint,
): string[] {
  const own = wrap(plain(message, 1_000), '! ', columns).map((line) => paint('error', line));
  return hint ? [...own, ...wrap(plain(hint, 1_000), '  → ', columns)] : own;
}

/** Whole problems as long as there is room; of the first one at least the beginning. */
function problems(doc: StatusDocument, columns: number, rows: number, paint: Paint): string[] {
  if (doc.state === 'stopped' && doc.problems.length === 0)
    return [cut(`${START}    # is shown here`, columns)];
  const lines: string[] = [];
  let left = doc.problems.length;
  for (const problem of doc.problems) {
    const whole = problemLines(problem, columns, paint);
    const own = problemLines({ code: problem.code, message: problem.message }, columns, paint);
    // The last row may be needed to say that there is more.
    const room = Math.max(lines.length === 0 ? 1 : 0, rows - lines.length - (left > 1 ? 1 : 0));
    if (lines.length > 0 && own.length > room) break;
    lines.push(...(whole.length <= room ? whole : own.slice(0, room)));
    left -= 1;
  }
  if (left > 0 && lines.length < rows)
    lines.push(paint('error', cut(`! ${left} more: singlepoll status`, columns)));
  return lines;
}

/** In the order in which they are read. */
function mostImportant(all: readonly StatusRow[], rows: number): StatusRow[] {
  const chosen = new Set([...all].sort((a, b) => a.rank - b.rank).slice(0, Math.max(0, rows)));
  return all.filter((it) => chosen.has(it));
}

function fittingRow({ label, parts }: StatusRow, columns: number, paint: Paint): string {
  const room = columns - LABEL_COLUMNS;
  let taken = 0;
  let text = '';
  for (const { text: part, level } of parts) {
    const comma = text === '' ? '' : ', ';
    const wide = width(part) + comma.length;
    if (taken > 0 && taken + wide > room) {
      // Half of a folder or a command tells something, half of a number does not.
      if (room - taken > 20) text += comma + cut(part, room - taken - comma.length);
      break;
    }
    text += comma + paint(level ?? 'info', cut(part, room));
    taken += wide;
  }
  return paint('tag', label.padEnd(LABEL_COLUMNS)) + text;
}

function rule(name: string, columns: number, paint: Paint): string {
  const line = `── ${name} `;
  return paint('tag', cut(line + '─'.repeat(Math.max(0, columns - line.length)), columns));
}

function logLine({ at, tag, level, text }: LiveLine, columns: number, paint: Paint): string {
  const time = columns < TIMES_FROM_COLUMNS ? '' : `${clockTime(Date.parse(at))}  `;
  const name = tag === null ? '' : `[${tag}] `;
  const line = cut(name + oneLine(text), columns - time.length);
  return paint('tag', time + line.slice(0, name.length)) + paint(level, line.slice(name.length));
}

function keysLine({ keys, message, doc }: LiveView, columns: number, paint: Paint): string {
  const mayRestart = doc.worker !== null && doc.state !== 'standby';
  const words = keys ? `${mayRestart ? 'r restart   ' : ''}q leave` : 'Ctrl-C leave';
  const line = cut(words, columns);
  const room = columns - line.length - 3;
  if (!message || room < 5) return paint('tag', line);
  return `${paint('tag', line)}   ${paint(message.level, cut(message.text, room))}`;
}

/** Of the reader's own zone. */
function clockTime(ms: number): string {
  const it = new Date(ms);
  return [it.getHours(), it.getMinutes(), it.getSeconds()].map((n) => String(n).padStart(2, '0')).join(':');
}
