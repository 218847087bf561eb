/**
 * The rows of a status, for `status`, `status --watch` and the status page: what is told, in which order, and what matters most. Pure:
 * how much of it is shown, and where, is decided by who shows it.
 */
import type { StatusDocument } from '../supervisor/status.ts';
import { plain } from './plain.ts';
import type { Rate } from './rate.ts';
import { count, howItEnded, leaseParts, type Part, span } from './words.ts';

/** One row; what does not fit on a small screen is left out from its end, part by part. */
export interface StatusRow {
  readonly label: string;
  readonly parts: readonly Part[];
  /** On lines of their own, where there is room. */
  readonly rest: readonly string[];
  /** The lower, the longer it stays on a small screen. */
  readonly rank: number;
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

const TREE_MAX = 6;
/** An exit so short a time ago is news. */
const RECENT_MS = 5 * 60_000;
/** A long poll may last a minute; then another should have begun. */
const STALE_MS = 75_000;

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
