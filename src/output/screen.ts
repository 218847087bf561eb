/**
 * A status as people read it: `status` shows all of it, `status --watch` as much as fits into a terminal of any size, the status page
 * takes the rows. What is wrong comes first, with the command that helps. Pure: everything comes in as data.
 */
import type { LiveLine, StatusDocument } from '../core/status.ts';
import { cut, oneLine, width, wrap } from './cells.ts';
import { plain } from './plain.ts';
import type { Rate } from './rate.ts';
import { count, howItEnded, type Level, leaseParts, type Paint, type Part, span } from './words.ts';

/** One row; what does not fit on a small screen is left out from its end, part by part. */
export interface StatusRow {
  readonly label: string;
  readonly parts: readonly Part[];
  /** On lines of their own, where there is room. */
  readonly rest: readonly string[];
  /** The lower, the longer it stays on a small screen. */
  readonly rank: number;
}

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

/** What a state is called; on a small screen up to the colon. */
export const STATE_WORDS: Readonly<Record<StatusDocument['state'], string>> = {
  starting: 'starting',
  standby: 'standing by',
  polling: 'polling',
  backoff: 'waiting to restart the worker',
  stopping: 'stopping',
  disabled: 'deploy mode (POLLING_ENABLED!=1): nobody polls, as asked',
  stopped: 'not running',
};

const LABEL_COLUMNS = 11;
const TREE_MAX = 6;
const UNBROKEN_MAX = 24;
const NO_BREAK = '\u00a0';
/** Enough room to show when each line was said. */
const TIMES_FROM_COLUMNS = 79;
/** An exit so short a time ago is news. */
const RECENT_MS = 5 * 60_000;
/** A long poll may last a minute; then another should have begun. */
const STALE_MS = 75_000;
const START = '  → singlepoll start -- COMMAND';

/** `@my_bot (123456)`. */
export function botName({ bot }: StatusDocument): string {
  if (!bot) return 'singlepoll';
  const { username, id } = bot;
  if (username) return `@${plain(username, 64)}${id === null ? '' : ` (${id})`}`;
  return id === null ? 'singlepoll' : `bot ${id}`;
}

export function rowText({ parts }: StatusRow): string {
  return parts.map(({ text }) => text).join(', ');
}

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

/** Everything but the problems, in the order in which it is read. `rate`: of a screen that has counted; null: not known yet. */
export function statusRows(doc: StatusDocument, nowMs: number, rate?: Rate | null): StatusRow[] {
  const rows: StatusRow[] = [];
  const row = (
    label: string,
    rank: number,
    parts: readonly (Part | string | null | false)[],
    rest: string[] = [],
  ) =>
    void rows.push({
      label,
      rank,
      rest,
      parts: parts.flatMap((it) => (typeof it === 'string' ? { text: it } : it || [])),
    });
  const age = (at: string) => span(nowMs - Date.parse(at));

  const { worker, polling, lease, supervisor, webhook, strays, log, alerts } = doc;
  const isStandby = doc.state === 'standby';
  if (lease && isStandby) row('lease', 0, leaseParts(lease, nowMs));
  if (worker && isStandby) row('worker', 4, ['none here while it stands by']);
  else if (worker) {
    const { pid, startedAt, restarts, lastExit } = worker;
    const others = worker.tree.filter((it) => it.pid !== pid);
    const tree = others.slice(0, TREE_MAX).map((it) => `└ ${it.pid}  ${plain(it.command, 120)}`);
    if (others.length > TREE_MAX) tree.push(`  and ${others.length - TREE_MAX} more`);
    row(
      'worker',
      1,
      [
        pid === null ? { text: 'none alive', level: 'error' } : `pid ${pid}`,
        pid !== null && startedAt !== null && `up ${age(startedAt)}`,
        others.length > 0 && (others.length === 1 ? '1 child' : `${others.length} children`),
      ],
      tree,
    );
    if (polling) pollingRows(doc, polling, nowMs, rate, row);
    const isNews = lastExit !== null && nowMs - Date.parse(lastExit.at) < RECENT_MS;
    row('restarts', 4, [
      { text: restarts === 0 && !isNews ? 'none' : String(restarts), level: isNews ? 'warn' : 'info' },
      lastExit && `last exit ${howItEnded(lastExit)}`,
      lastExit && `${age(lastExit.at)} ago`,
    ]);
  }
  if (lease && !isStandby) row('lease', 3, leaseParts(lease, nowMs));
  if (webhook) {
    const isSet = webhook.url !== '';
    row('webhook', isSet ? 1 : 6, [
      isSet ? { text: plain(webhook.url), level: 'warn' } : 'none',
      webhook.pendingUpdates > 0 && `${count(webhook.pendingUpdates, 'update')} waiting`,
      webhook.lastError !== null && `last error: ${plain(webhook.lastError, 120)}`,
    ]);
  }
  if (strays.length === 0) row('strays', 7, ['none found on this machine']);
  for (const { pid, user, grade, command, proof, cwd, respawner } of strays) {
    const rest = [`${proof.join(', ')}${cwd === null ? '' : `, in ${plain(cwd, 120)}`}`];
    if (respawner) rest.push(`kept alive by ${respawner.kind}: ${plain(respawner.stopCommand, 400)}`);
    row('stray', 2, [{ text: `pid ${pid}`, level: 'warn' }, grade, `of ${user}`, plain(command, 120)], rest);
  }
  if (supervisor) {
    const { pid, startedAt, version, cwd } = supervisor;
    row('supervisor', 5, [
      `pid ${pid}`,
      startedAt !== null && `up ${age(startedAt)}`,
      cwd !== null && `in ${plain(cwd)}`,
      version !== null && `singlepoll ${version}`,
    ]);
    if (supervisor.command.length > 0) row('command', 8, [plain(supervisor.command.join(' '), 400)]);
  }
  if (log) row('log', 9, [plain(log.path)]);
  if (alerts && (alerts.failed > 0 || alerts.lastError !== null))
    row('alerts', 4, [
      `${alerts.sent} delivered`,
      `${alerts.failed} given up`,
      `${alerts.waiting} waiting`,
      alerts.lastError !== null && `last error: ${plain(alerts.lastError, 160)}`,
    ]);
  return rows;
}

/** Sign of life, traffic and trouble of the polling. */
function pollingRows(
  { state }: StatusDocument,
  {
    via,
    lastPollAt,
    offset,
    updates,
    stolen,
    conflicts,
    latencyMs,
    pollers,
    polls,
  }: NonNullable<StatusDocument['polling']>,
  nowMs: number,
  rate: Rate | null | undefined,
  row: (label: string, rank: number, parts: readonly (Part | string | null | false)[]) => void,
): void {
  const isOpen = pollers.some(({ role }) => role === 'owner');
  if (lastPollAt !== null) {
    const silentMs = nowMs - Date.parse(lastPollAt);
    const isStale = state === 'polling' && silentMs > STALE_MS;
    row('heartbeat', 0, [
      { text: `polled ${span(silentMs)} ago`, level: isStale ? 'warn' : 'info' },
      isOpen && 'next poll open',
      offset !== null && `offset ${offset}`,
      count(polls, 'poll'),
    ]);
  } else {
    const unseen = isOpen ? 'the first poll waits for updates' : 'no poll yet';
    row('heartbeat', 0, [via === 'direct' ? 'unseen: the worker polls past the gateway' : unseen]);
  }
  if (lastPollAt !== null || isOpen)
    row('updates', 3, [
      rate !== undefined &&
        (rate === null ? '– a minute' : `${rate.exact ? '' : 'about '}${rate.perMinute} a minute`),
      `${updates} since the start`,
      stolen > 0 && { text: `${count(stolen, 'update')} taken by somebody else`, level: 'warn' },
      latencyMs !== null && `API answers in ${latencyMs} ms`,
    ]);
  const { poller, webhook } = conflicts;
  row('conflicts', poller + webhook > 0 ? 2 : 5, [
    poller + webhook === 0 && 'none',
    poller > 0 && { text: `${poller} with another poller`, level: 'warn' },
    webhook > 0 && { text: `${webhook} with a webhook`, level: 'warn' },
  ]);
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
