/**
 * The rows of a status, for `status`, `status --watch` and the status page: what is told, in which order, and what matters most. Pure:
 * how much of it is shown, and where, is decided by who shows it.
 */
import type { StatusDocument } from '../supervisor/status.ts';
import { plain } from './plain.ts';
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
  if (bot?.username) return `@${plain(bot.username, 64)}${bot.id === null ? '' : ` (${bot.id})`}`;
  return bot?.id ? `bot ${bot.id}` : 'singlepoll';
}

export function rowText({ parts }: StatusRow): string {
  return parts.map(({ text }) => text).join(', ');
}

type MaybePart = Part | string | null | false;

function row(label: string, rank: number, parts: readonly MaybePart[], rest: string[] = []): StatusRow {
  const present = parts.flatMap((it) => (typeof it === 'string' ? { text: it } : it || []));
  return { label, rank, rest, parts: present };
}

const warning = (text: string): Part => ({ text, level: 'warn' });

/** Everything but the problems, in the order in which it is read. `rate`: updates a minute, of a screen that has counted. */
export function statusRows(doc: StatusDocument, nowMs: number, rate?: string): StatusRow[] {
  const { worker, lease, supervisor, webhook, strays, log, alerts } = doc;
  const isStandby = doc.state === 'standby';
  const age = (at: string) => span(nowMs - Date.parse(at));
  const leaseRow = lease ? [row('lease', isStandby ? 0 : 3, leaseParts(lease, nowMs))] : [];
  const rows = isStandby ? leaseRow : [];
  if (worker && isStandby) rows.push(row('worker', 4, ['none here while it stands by']));
  else if (worker) {
    const { pid, startedAt, restarts, lastExit } = worker;
    const others = worker.tree.filter((it) => it.pid !== pid);
    const tree = others.slice(0, TREE_MAX).map((it) => `└ ${it.pid}  ${plain(it.command, 120)}`);
    if (others.length > TREE_MAX) tree.push(`  and ${others.length - TREE_MAX} more`);
    const isNews = lastExit !== null && nowMs - Date.parse(lastExit.at) < RECENT_MS;
    const number = restarts === 0 && !isNews ? 'none' : String(restarts);
    rows.push(
      row(
        'worker',
        1,
        [
          pid === null ? { text: 'none alive', level: 'error' } : `pid ${pid}`,
          pid !== null && startedAt !== null && `up ${age(startedAt)}`,
          others.length > 0 && (others.length === 1 ? '1 child' : `${others.length} children`),
        ],
        tree,
      ),
      ...pollingRows(doc, nowMs, rate),
      row('restarts', 4, [
        isNews ? warning(number) : number,
        lastExit && `last exit ${howItEnded(lastExit)}`,
        lastExit && `${age(lastExit.at)} ago`,
      ]),
    );
  }
  if (!isStandby) rows.push(...leaseRow);
  if (webhook)
    rows.push(
      row('webhook', webhook.url === '' ? 6 : 1, [
        webhook.url === '' ? 'none' : warning(plain(webhook.url)),
        webhook.pendingUpdates > 0 && `${count(webhook.pendingUpdates, 'update')} waiting`,
        webhook.lastError !== null && `last error: ${plain(webhook.lastError, 120)}`,
      ]),
    );
  if (strays.length === 0) rows.push(row('strays', 7, ['none found on this machine']));
  for (const { pid, user, grade, command, proof, cwd, respawner } of strays) {
    const rest = [`${proof.join(', ')}${cwd === null ? '' : `, in ${plain(cwd, 120)}`}`];
    if (respawner) rest.push(`kept alive by ${respawner.kind}: ${plain(respawner.stopCommand, 400)}`);
    rows.push(row('stray', 2, [warning(`pid ${pid}`), grade, `of ${user}`, plain(command, 120)], rest));
  }
  if (supervisor) {
    const { pid, startedAt, version, cwd, command } = supervisor;
    rows.push(
      row('supervisor', 5, [
        `pid ${pid}`,
        startedAt !== null && `up ${age(startedAt)}`,
        cwd !== null && `in ${plain(cwd)}`,
        version !== null && `singlepoll ${version}`,
      ]),
    );
    if (command.length > 0) rows.push(row('command', 8, [plain(command.join(' '), 400)]));
  }
  if (log) rows.push(row('log', 9, [plain(log.path)]));
  if (alerts && (alerts.failed > 0 || alerts.lastError !== null))
    rows.push(
      row('alerts', 4, [
        `${alerts.sent} delivered`,
        `${alerts.failed} given up`,
        `${alerts.waiting} waiting`,
        alerts.lastError !== null && `last error: ${plain(alerts.lastError, 160)}`,
      ]),
    );
  return rows;
}

/** Sign of life, traffic and trouble of the polling. */
function pollingRows({ state, polling }: StatusDocument, nowMs: number, rate?: string): StatusRow[] {
  if (!polling) return [];
  const { via, lastPollAt, offset, updates, stolen, conflicts, latencyMs, pollers, polls } = polling;
  const isOpen = pollers.some(({ role }) => role === 'owner');
  const rows: StatusRow[] = [];
  if (lastPollAt === null) {
    const unseen = isOpen ? 'the first poll waits for updates' : 'no poll yet';
    rows.push(row('heartbeat', 0, [via === 'direct' ? 'unseen: the worker polls past the gateway' : unseen]));
  } else {
    const silentMs = nowMs - Date.parse(lastPollAt);
    const polled = `polled ${span(silentMs)} ago`;
    rows.push(
      row('heartbeat', 0, [
        state === 'polling' && silentMs > STALE_MS ? warning(polled) : polled,
        isOpen && 'next poll open',
        offset !== null && `offset ${offset}`,
        count(polls, 'poll'),
      ]),
    );
  }
  if (lastPollAt !== null || isOpen)
    rows.push(
      row('updates', 3, [
        rate ?? null,
        `${updates} since the start`,
        stolen > 0 && warning(`${count(stolen, 'update')} taken by somebody else`),
        latencyMs !== null && `API answers in ${latencyMs} ms`,
      ]),
    );
  const { poller, webhook } = conflicts;
  rows.push(
    row('conflicts', poller + webhook > 0 ? 2 : 5, [
      poller + webhook === 0 && 'none',
      poller > 0 && warning(`${poller} with another poller`),
      webhook > 0 && warning(`${webhook} with a webhook`),
    ]),
  );
  return rows;
}
