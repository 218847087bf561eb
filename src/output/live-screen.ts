/**
 * `status --watch`: the whole screen, for any size. What is wrong comes first and stays, with the command that helps; the line of keys is
 * always the last; of the rest what matters less goes first where there is little room. Pure: everything comes in as data.
 */
import type { LiveLine } from '../core/live.ts';
import type { StatusDocument } from '../core/status.ts';
import type { Rate } from '../watch/rate.ts';
import { cut, oneLine, width, wrap } from './cells.ts';
import { plain } from './plain.ts';
import { botName, STATE_WORDS } from './status-screen.ts';
import type { Level, Paint } from './words.ts';
import { count, duration, howItEnded } from './words.ts';

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

interface Part {
  readonly text: string;
  readonly level?: Level | 'tag';
}

/** One row: what does not fit is left out from its end, part by part. */
interface Fact {
  readonly label: string;
  readonly parts: readonly (Part | null)[];
  /** The lower, the longer it stays. */
  readonly rank: number;
}

const LABEL_COLUMNS = 11;
/** Enough room to show when each line was said. */
const TIMES_FROM_COLUMNS = 79;
/** An exit so short a time ago is news. */
const RECENT_MS = 5 * 60_000;
/** A long poll may last a minute; then another should have begun. */
const STALE_MS = 75_000;

/** `nowMs` is wall-clock time. At most `rows` lines, none wider than `columns`. */
export function liveScreen(
  view: LiveView,
  nowMs: number,
  columns: number,
  rows: number,
  paint: Paint,
): string[] {
  const { doc, lines } = view;
  const top = [title(doc, nowMs, columns, paint), ...problems(doc, columns, Math.max(1, rows - 4), paint)];
  const keys = keysLine(view, columns, paint);
  const room = Math.max(0, rows - top.length - 1);
  const airy = room >= 8;
  const free = room - (airy ? 1 : 0);
  const wantsLog = lines.length === 0 ? 0 : Math.min(lines.length, free >= 14 ? 5 : free >= 8 ? 3 : 0);
  const logRows = wantsLog === 0 ? 0 : wantsLog + 1;
  const kept = keep(facts(view, nowMs), free - logRows);
  const body = kept.map((it) => factLine(it, columns, paint));
  if (wantsLog > 0) {
    const left = free - body.length - 1;
    body.push(rule('last lines', columns, paint));
    for (const line of lines.slice(-left)) body.push(logLine(line, columns, paint));
  }
  const screen = [...top, ...(airy ? [''] : []), ...body];
  while (screen.length < rows - 1) screen.push('');
  return [...screen.slice(0, rows - 1), keys].slice(-rows);
}

function title(doc: StatusDocument, nowMs: number, columns: number, paint: Paint): string {
  const level = doc.healthy ? 'good' : doc.state === 'stopped' ? 'warn' : 'error';
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

/** Whole problems as long as there is room; of the first one at least the beginning. */
function problems(doc: StatusDocument, columns: number, rows: number, paint: Paint): string[] {
  if (doc.state === 'stopped' && doc.problems.length === 0)
    return [cut('  → singlepoll start -- COMMAND    # is shown here', columns)];
  const lines: string[] = [];
  let left = doc.problems.length;
  for (const { message, hint } of doc.problems) {
    const own = wrap(plain(message, 1_000), '! ', columns).map((line) => paint('error', line));
    const help = hint ? wrap(plain(hint, 1_000), '  → ', columns) : [];
    // The last row may be needed to say that there is more.
    const room = Math.max(lines.length === 0 ? 1 : 0, rows - lines.length - (left > 1 ? 1 : 0));
    if (lines.length > 0 && own.length > room) break;
    lines.push(...own.slice(0, room));
    if (own.length + help.length <= room) lines.push(...help);
    left -= 1;
  }
  if (left > 0 && lines.length < rows)
    lines.push(paint('error', cut(`! ${left} more: singlepoll status`, columns)));
  return lines;
}

function facts(view: LiveView, nowMs: number): Fact[] {
  const { doc } = view;
  const all: Fact[] = [];
  const fact = (label: string, rank: number, ...parts: (Part | string | null | false)[]) =>
    all.push({ label, rank, parts: parts.map((it) => (typeof it === 'string' ? { text: it } : it || null)) });
  const age = (at: string) => span(nowMs - Date.parse(at));
  const ago = (at: string) => `${age(at)} ago`;

  const { worker, polling, lease, supervisor, webhook, strays } = doc;
  const standby = doc.state === 'standby';
  if (lease && standby) fact('lease', 0, ...leaseParts(lease, nowMs, doc.state));
  if (worker && standby) fact('worker', 4, 'none here while it stands by');
  else if (worker) {
    const { pid, startedAt, lastExit, tree } = worker;
    const others = tree.filter((it) => it.pid !== pid).length;
    fact(
      'worker',
      1,
      pid === null ? { text: 'none alive', level: 'error' } : `pid ${pid}`,
      pid !== null && startedAt !== null && `up ${age(startedAt)}`,
      others > 0 && (others === 1 ? '1 child' : `${others} children`),
    );
    if (polling) heartbeat(fact, view, polling, nowMs);
    fact(
      'restarts',
      4,
      lastExit && nowMs - Date.parse(lastExit.at) < RECENT_MS
        ? { text: String(worker.restarts), level: 'warn' }
        : worker.restarts === 0
          ? 'none'
          : String(worker.restarts),
      lastExit && `last exit ${howItEnded(lastExit)}`,
      lastExit && ago(lastExit.at),
    );
  }
  if (lease && !standby) fact('lease', 3, ...leaseParts(lease, nowMs, doc.state));
  if (webhook) {
    const set = webhook.url !== '';
    fact(
      'webhook',
      set ? 1 : 6,
      set ? { text: plain(webhook.url), level: 'warn' } : 'none',
      webhook.pendingUpdates > 0 && `${count(webhook.pendingUpdates, 'update')} waiting`,
      webhook.lastError !== null && `last error: ${plain(webhook.lastError, 120)}`,
    );
  }
  if (strays.length === 0) fact('strays', 7, 'none found on this machine');
  for (const { pid, user, grade, command } of strays.slice(0, 5))
    fact('stray', 2, { text: `pid ${pid}`, level: 'warn' }, `${grade}`, `of ${user}`, plain(command, 120));
  if (supervisor) {
    const { pid, startedAt, version, cwd } = supervisor;
    fact(
      'supervisor',
      5,
      `pid ${pid}`,
      startedAt !== null && `up ${age(startedAt)}`,
      cwd !== null && `in ${plain(cwd)}`,
      version !== null && `singlepoll ${version}`,
    );
    if (supervisor.command.length > 0) fact('command', 8, plain(supervisor.command.join(' '), 400));
  }
  if (doc.log) fact('log', 9, plain(doc.log.path));
  return all;
}

type Add = (label: string, rank: number, ...parts: (Part | string | null | false)[]) => void;

/** Sign of life, traffic and trouble of the polling. */
function heartbeat(
  fact: Add,
  { doc, rate }: LiveView,
  polling: NonNullable<StatusDocument['polling']>,
  nowMs: number,
): void {
  const { via, lastPollAt, offset, updates, stolen, conflicts, latencyMs, pollers, polls } = polling;
  const open = pollers.some(({ role }) => role === 'owner');
  const silentMs = lastPollAt === null ? 0 : Math.max(0, nowMs - Date.parse(lastPollAt));
  if (lastPollAt !== null) {
    fact(
      'heartbeat',
      0,
      {
        text: `polled ${span(silentMs)} ago`,
        level: doc.state === 'polling' && silentMs > STALE_MS ? 'warn' : 'info',
      },
      open && 'next poll open',
      offset !== null && `offset ${offset}`,
      count(polls, 'poll'),
    );
  } else {
    fact(
      'heartbeat',
      0,
      via === 'direct'
        ? 'unseen: the worker polls past the gateway'
        : open
          ? 'the first poll waits for updates'
          : 'no poll yet',
    );
  }
  if (lastPollAt !== null || open)
    fact(
      'updates',
      3,
      rate === null
        ? '– a minute'
        : rate.exact
          ? `${rate.perMinute} a minute`
          : `about ${rate.perMinute} a minute`,
      `${updates} since the start`,
      stolen > 0 && { text: `${stolen} taken by somebody else`, level: 'warn' },
      latencyMs !== null && `API answers in ${latencyMs} ms`,
    );
  const some = conflicts.poller + conflicts.webhook > 0;
  fact(
    'conflicts',
    some ? 2 : 5,
    some ? null : 'none',
    conflicts.poller > 0 && { text: `${conflicts.poller} with another poller`, level: 'warn' },
    conflicts.webhook > 0 && { text: `${conflicts.webhook} with a webhook`, level: 'warn' },
  );
}

function leaseParts(
  lease: NonNullable<StatusDocument['lease']>,
  nowMs: number,
  state: StatusDocument['state'],
): (Part | string | null | false)[] {
  const { engine, holder, mine, epoch, since, decision, unreachable } = lease;
  const inMs = decision === null ? 0 : Math.max(0, Date.parse(decision.at) - nowMs);
  const rest = [
    decision === null
      ? null
      : decision.what === 'stop'
        ? `good for ${span(inMs)}`
        : `ours in ${span(inMs)} if not heard of`,
    since === null ? null : `since ${span(nowMs - Date.parse(since))}`,
    `in ${engine}`,
    epoch === null ? null : `epoch ${epoch}`,
  ];
  const trouble: Part | null =
    unreachable === null ? null : { text: `${engine} is out of reach`, level: 'error' };
  if (mine) return [{ text: 'ours', level: 'good' }, trouble, ...rest];
  if (trouble) return [trouble, ...rest.slice(0, 1)];
  if (holder !== null) return [`${plain(holder)} may poll`, ...rest];
  return [state === 'stopped' ? 'nobody holds it' : 'nobody holds it yet', ...rest];
}

/** The most important ones, in the order in which they are read. */
function keep(all: readonly Fact[], rows: number): Fact[] {
  const chosen = new Set([...all].sort((a, b) => a.rank - b.rank).slice(0, Math.max(0, rows)));
  return all.filter((it) => chosen.has(it));
}

function factLine({ label, parts }: Fact, columns: number, paint: Paint): string {
  const room = columns - LABEL_COLUMNS;
  let taken = 0;
  let text = '';
  for (const part of parts) {
    if (part === null) continue;
    const comma = text === '' ? '' : ', ';
    const wide = width(part.text) + comma.length;
    if (taken > 0 && taken + wide > room) {
      // Half of a folder or a command tells something, half of a number does not.
      if (room - taken > 20) text += comma + cut(part.text, room - taken - comma.length);
      break;
    }
    text += comma + colour(part.level, cut(part.text, room), paint);
    taken += wide;
  }
  return paint('tag', label.padEnd(LABEL_COLUMNS)) + text;
}

function colour(level: Part['level'], text: string, paint: Paint): string {
  return level === undefined || level === 'info' ? text : paint(level, text);
}

function rule(name: string, columns: number, paint: Paint): string {
  return paint('tag', cut(`── ${name} ${'─'.repeat(Math.max(0, columns - name.length - 4))}`, columns));
}

function logLine({ at, tag, level, text }: LiveLine, columns: number, paint: Paint): string {
  const time =
    columns < TIMES_FROM_COLUMNS ? '' : `${at === null ? ' '.repeat(8) : clockTime(Date.parse(at))}  `;
  const name = tag === null ? '' : `[${tag}] `;
  const line = cut(name + oneLine(text), columns - time.length);
  const said = line.slice(name.length);
  return `${paint('tag', time + line.slice(0, name.length))}${colour(level, said, paint)}`;
}

function keysLine({ keys, message, doc }: LiveView, columns: number, paint: Paint): string {
  const words = keys
    ? doc.worker === null || doc.state === 'standby'
      ? 'q leave'
      : 'r restart   q leave'
    : 'Ctrl-C leave';
  const line = cut(words, columns);
  const room = columns - line.length - 3;
  if (!message || room < 5) return paint('tag', line);
  return `${paint('tag', line)}   ${colour(message.level, cut(message.text, room), paint)}`;
}

/** In whole seconds: what is drawn once a second must not show less. */
function span(ms: number): string {
  return ms < 1_000 ? '0 s' : duration(Math.floor(ms / 1_000) * 1_000);
}

/** Of the reader's own zone. */
function clockTime(ms: number): string {
  const it = new Date(ms);
  return [it.getHours(), it.getMinutes(), it.getSeconds()].map((n) => String(n).padStart(2, '0')).join(':');
}
