/** `status` for people: one screen, problem first with the command that helps. Pure: document in, text out. */
import type { StatusDocument } from '../core/status.ts';
import { plain } from './plain.ts';
import type { Paint } from './words.ts';
import { count, duration, howItEnded, leaseWords } from './words.ts';

/** What a state is called. */
export const STATE_WORDS: Readonly<Record<StatusDocument['state'], string>> = {
  starting: 'starting',
  standby: 'standing by',
  polling: 'polling',
  backoff: 'waiting to restart the worker',
  stopping: 'stopping',
  disabled: 'deploy mode (POLLING_ENABLED!=1): nobody polls, as asked',
  stopped: 'not running',
};

/** One fact; without a label it goes on about the row above. */
export interface StatusRow {
  readonly label: string;
  readonly text: string;
}

const LABEL_COLUMNS = 11;

/** `nowMs` is wall-clock time; `columns` cuts long lines. */
export function statusScreen(doc: StatusDocument, nowMs: number, columns: number, paint: Paint): string {
  const lines: string[] = [];
  const mark = doc.healthy ? paint('good', '●') : paint(doc.state === 'stopped' ? 'warn' : 'error', '●');
  lines.push(`${mark} ${botName(doc)}: ${paint(doc.healthy ? 'good' : 'warn', STATE_WORDS[doc.state])}`);
  for (const problem of doc.problems) {
    lines.push(...wrap(problem.message, `${paint('error', '!')} `, 2, columns));
    if (problem.hint) lines.push(...wrap(problem.hint, '  → ', 4, columns));
  }
  if (doc.state === 'stopped' && !doc.problems.some(({ hint }) => hint))
    lines.push('  → singlepoll start -- COMMAND');
  lines.push('');
  for (const { label, text } of statusRows(doc, nowMs))
    lines.push(`${label.padEnd(LABEL_COLUMNS)}${cut(text, columns - LABEL_COLUMNS)}`);
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`;
}

/** Everything but the problems, in the order in which it is read. */
export function statusRows(doc: StatusDocument, nowMs: number): StatusRow[] {
  const rows: StatusRow[] = [];
  const row = (label: string, text: string) => rows.push({ label, text });
  if (doc.supervisor) {
    const { pid, startedAt, version, cwd } = doc.supervisor;
    row(
      'supervisor',
      `pid ${pid}${since(startedAt, nowMs)}${version ? `, singlepoll ${version}` : ''}${cwd ? `, in ${plain(cwd)}` : ''}`,
    );
    if (doc.supervisor.command.length > 0) row('command', plain(doc.supervisor.command.join(' '), 400));
  }
  if (doc.worker) {
    const { pid, startedAt, spawns, restarts, lastExit, tree } = doc.worker;
    row(
      'worker',
      pid === null
        ? 'none alive'
        : `pid ${pid}${since(startedAt, nowMs)}, ${restarts === 0 ? 'never restarted' : `${count(restarts, 'restart')} (${count(spawns, 'spawn')})`}`,
    );
    for (const it of tree.filter((entry) => entry.pid !== pid).slice(0, 6))
      row('', `└ ${it.pid}  ${plain(it.command, 200)}`);
    if (tree.length > 7) row('', `  and ${tree.length - 7} more`);
    if (lastExit) row('last exit', `${howItEnded(lastExit)}, ${ago(lastExit.at, nowMs)}`);
  }
  if (doc.polling) {
    const { via, polls, lastPollAt, offset, conflicts, updates, stolen, latencyMs, pollers } = doc.polling;
    const seen = polls > 0 || lastPollAt !== null;
    const facts = seen
      ? `${count(polls, 'poll')}, last ${lastPollAt ? ago(lastPollAt, nowMs) : 'unknown'}, offset ${offset ?? 'none'}, ${count(updates, 'update')}`
      : via === 'direct'
        ? 'straight to the Bot API, so single polls are not seen'
        : (pollers ?? []).some((it) => it.role === 'owner')
          ? 'the first poll waits for updates'
          : 'no poll yet';
    const fights = [
      stolen > 0 ? `${count(stolen, 'update')} taken by somebody else` : '',
      conflicts.poller > 0 ? `${count(conflicts.poller, 'conflict')} with a poller` : '',
      conflicts.webhook > 0 ? `${count(conflicts.webhook, 'conflict')} with a webhook` : '',
    ].filter(Boolean);
    const latency = typeof latencyMs === 'number' ? `, API answers in ${latencyMs} ms` : '';
    row('polling', `${via}: ${facts}${latency}${fights.length > 0 ? `, ${fights.join(', ')}` : ''}`);
  }
  if (doc.webhook) {
    const { url, pendingUpdates, lastError } = doc.webhook;
    row(
      'webhook',
      `${url === '' ? 'none' : url}, ${count(pendingUpdates, 'update')} waiting${lastError ? `, last error: ${plain(lastError, 120)}` : ''}`,
    );
  }
  if (doc.lease) row('lease', leaseWords(doc.lease, nowMs));
  if (doc.log) row('log', plain(doc.log.path));
  const { alerts } = doc;
  if (alerts && (alerts.failed > 0 || alerts.lastError !== null)) {
    const why = alerts.lastError === null ? '' : `, last error: ${plain(alerts.lastError, 160)}`;
    row('alerts', `${alerts.sent} delivered, ${alerts.failed} given up, ${alerts.waiting} waiting${why}`);
  }
  if (doc.strays.length === 0) row('strays', 'none found on this machine');
  for (const stray of doc.strays) {
    row('stray', `pid ${stray.pid} (${stray.user}) ${stray.grade}: ${plain(stray.command, 120)}`);
    row('', `  ${stray.proof.join(', ')}${stray.cwd ? `, in ${plain(stray.cwd, 120)}` : ''}`);
    if (stray.respawner) row('', `  kept alive by ${stray.respawner.kind}: ${stray.respawner.stopCommand}`);
  }
  return rows;
}

/** `@my_bot (123456)`. */
export function botName(doc: StatusDocument): string {
  if (!doc.bot) return 'singlepoll';
  const { username, id } = doc.bot;
  if (username) return `@${plain(username, 64)}${id === null ? '' : ` (${id})`}`;
  return id === null ? 'singlepoll' : `bot ${id}`;
}

function since(at: string | null, nowMs: number): string {
  return at ? `, up ${duration(Math.max(0, nowMs - Date.parse(at)))}` : '';
}

function ago(at: string, nowMs: number): string {
  return `${duration(Math.max(0, nowMs - Date.parse(at)))} ago`;
}

function cut(text: string, columns: number): string {
  return text.length <= columns ? text : `${text.slice(0, Math.max(1, columns - 1))}…`;
}

/** A problem is never cut: `first` begins its first line, the others are indented by `indent`. */
function wrap(text: string, first: string, indent: number, columns: number): string[] {
  const width = Math.max(20, columns - indent);
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  lines.push(line);
  return lines.map((it, index) => (index === 0 ? first : ' '.repeat(indent)) + it);
}
