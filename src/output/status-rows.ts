/**
 * The rows of a status, for `status`, `status --watch` and the status page: what is told, in which order, and what matters most. Pure:
 * how much of it is shown, and where, is decided by who shows it.
 */
import type { StatusDocument } from '../supervisor/status.ts';
import { plain, plainCommand } from './plain.ts';
import { count, howItEnded, type Level, leaseParts, size, span, WAYS } from './words.ts';

/** What a state is called; on a small screen up to the colon. */
const STATE_WORDS: Readonly<Record<StatusDocument['state'], string>> = {
  starting: 'starting',
  standby: 'standing by',
  polling: 'polling',
  backoff: 'waiting to restart the worker',
  stopping: 'stopping',
  disabled: 'deploy mode (POLLING_ENABLED!=1): nobody polls, as asked',
  stopped: 'not running',
};

/** In a heading; what stands behind the colon only where there is room. */
export function stateWords({ state, problems }: StatusDocument): string {
  return problems.some(({ code }) => code === 'supervisor-hung') ? 'not answering' : STATE_WORDS[state];
}

const TREE_MAX = 6;
/** A number that is older is shown with its age. */
const FRESH_MS = 10_000;
/** An exit so short a time ago is news. */
const RECENT_MS = 5 * 60_000;
/** A long poll may last a minute; then another should have begun. */
const STALE_MS = 75_000;

/** `@my_bot (123456)`. */
export function botName({ bot }: Pick<StatusDocument, 'bot'>): string {
  if (bot?.username) return `@${plain(bot.username, 64)}${bot.id === null ? '' : ` (${bot.id})`}`;
  return bot?.id ? `bot ${bot.id}` : 'singlepoll';
}

export type StatusRow = ReturnType<typeof row>;

/**
 * Makes one row. A small screen leaves out the end of `parts`, and first the rows with the highest `rank`. `rest` gets lines of its own where
 * there is room.
 */
function row(
  label: string,
  rank: number,
  parts: readonly (string | null | false)[],
  level: Level = 'info',
  rest: readonly string[] = [],
) {
  return { label, rank, level, rest, parts: parts.filter((it) => typeof it === 'string') };
}

const warnIf = (is: boolean): Level => (is ? 'warn' : 'info');

/** Everything but the problems, in the order in which it is read. `rate`: updates a minute, of a screen that has counted. */
export function statusRows(doc: StatusDocument, nowMs: number, rate?: string): StatusRow[] {
  const { lease, supervisor, webhook, strays, log, alerts } = doc;
  const isStandby = doc.state === 'standby';
  const age = (at: string) => span(nowMs - Date.parse(at));
  const rows = isStandby ? [] : workerRows(doc, nowMs, rate);
  if (lease) {
    const level = lease.unreachable === null ? 'info' : 'error';
    rows.push(row('lease', isStandby ? 0 : 3, leaseParts(lease, nowMs), level));
  }
  if (isStandby && doc.worker) rows.push(row('worker', 4, ['none here while it stands by']));
  if (webhook) {
    const { url, pendingUpdates, lastError, checkedAt } = webhook;
    const isOld = checkedAt !== null && nowMs - Date.parse(checkedAt) > FRESH_MS;
    const parts = [
      url === '' ? 'none' : plain(url),
      pendingUpdates > 0 &&
        `${count(pendingUpdates, 'update')} waiting${isOld ? ` ${age(checkedAt)} ago` : ''}`,
      lastError !== null && `last error: ${plain(lastError, 120)}`,
    ];
    rows.push(row('webhook', url === '' ? 6 : 1, parts, warnIf(url !== '')));
  }
  if (strays.length === 0) rows.push(row('strays', 7, ['none found on this machine']));
  for (const { pid, user, grade, command, proof, cwd, respawner } of strays) {
    const rest = [`${proof.join(', ')}${cwd === null ? '' : `, in ${plain(cwd, 120)}`}`];
    if (respawner) rest.push(`kept alive by ${respawner.kind}: ${plain(respawner.stopCommand, 400)}`);
    rows.push(row('stray', 2, [`pid ${pid}`, grade, `of ${user}`, plain(command, 120)], 'warn', rest));
  }
  for (const { message, hint, at } of doc.earlier) {
    const parts = [`${age(at)} ago`, plain(message, 400)];
    rows.push(row('earlier', 5, parts, 'info', hint ? [`→ ${plain(hint, 400)}`] : []));
  }
  if (supervisor) {
    const { pid, startedAt, version, cwd, command, user } = supervisor;
    const parts = [
      `pid ${pid}`,
      user !== undefined && `of ${plain(user, 40)}`,
      startedAt !== null && `up ${age(startedAt)}`,
      cwd !== null && `in ${plain(cwd)}`,
      version !== null && `singlepoll ${version}`,
    ];
    rows.push(row('supervisor', 5, parts));
    if (command.length > 0) rows.push(row('command', 8, [plainCommand(command, 400)]));
  }
  if (log) rows.push(row('log', 9, [plain(log.path)]));
  if (alerts && (alerts.failed > 0 || alerts.lastError !== null)) {
    const { sent, failed, waiting, lastError } = alerts;
    const parts = [`${sent} delivered`, `${failed} given up`, `${waiting} waiting`];
    rows.push(row('alerts', 4, [...parts, lastError !== null && `last error: ${plain(lastError, 160)}`]));
  }
  return rows;
}

function workerRows(doc: StatusDocument, nowMs: number, rate?: string): StatusRow[] {
  if (!doc.worker) return [];
  const { pid, startedAt, restarts, spawns, lastExit, tree, cpuPercent, memoryBytes } = doc.worker;
  const age = (at: string) => span(nowMs - Date.parse(at));
  const others = tree.filter((it) => it.pid !== pid);
  const rest = others.slice(0, TREE_MAX).map((it) => `└ ${it.pid}  ${plain(it.command, 120)}`);
  if (others.length > TREE_MAX) rest.push(`  and ${others.length - TREE_MAX} more`);
  const parts = [
    pid === null ? 'none alive' : `pid ${pid}`,
    pid !== null && startedAt !== null && `up ${age(startedAt)}`,
    cpuPercent !== null && `${cpuPercent} % CPU`,
    memoryBytes !== null && size(memoryBytes),
    others.length > 0 && (others.length === 1 ? '1 child' : `${others.length} children`),
  ];
  const rows = [row('worker', 1, parts, pid === null ? 'error' : 'info', rest)];
  rows.push(...pollingRows(doc, nowMs, rate));
  const isNews = lastExit !== null && nowMs - Date.parse(lastExit.at) < RECENT_MS;
  const exit = lastExit ? [`last exit ${howItEnded(lastExit)}`, `${age(lastExit.at)} ago`] : [];
  const number = restarts === 0 && !isNews ? 'none' : String(restarts);
  if (spawns > 0) rows.push(row('restarts', 4, [number, ...exit], warnIf(isNews)));
  return rows;
}

function pollingRows({ state, polling }: StatusDocument, nowMs: number, rate?: string): StatusRow[] {
  if (!polling) return [];
  const { via, by, past, lastPollAt, offset, updates, stolen, conflicts, latencyMs, pollers, polls } =
    polling;
  const isOpen = pollers.some(({ role }) => role === 'owner');
  const rows: StatusRow[] = [];
  if (past) {
    const parts = [`past the gateway: ${plain(past.why, 400)}`];
    rows.push(row('polling', 2, parts, 'warn', [`→ ${plain(past.cure, 400)}`]));
  } else if (by !== null)
    rows.push(row('polling', 4, [`via gateway${by === 'plain' ? '' : ` (${WAYS[by]})`}`]));
  if (lastPollAt === null) {
    const unseen = isOpen ? 'the first poll waits for updates' : 'no poll yet';
    rows.push(row('heartbeat', 0, [via === 'direct' ? 'unseen: the worker polls past the gateway' : unseen]));
  } else {
    const silentMs = nowMs - Date.parse(lastPollAt);
    const parts = [
      `polled ${span(silentMs)} ago`,
      isOpen && 'next poll open',
      offset !== null && `offset ${offset}`,
      count(polls, 'poll'),
    ];
    rows.push(row('heartbeat', 0, parts, warnIf(state === 'polling' && silentMs > STALE_MS)));
  }
  if (lastPollAt !== null || isOpen) {
    const parts = [
      rate ?? null,
      `${updates} since the start`,
      stolen > 0 && `${count(stolen, 'update')} taken by somebody else`,
      latencyMs !== null && `API answers in ${latencyMs} ms`,
    ];
    rows.push(row('updates', 3, parts, warnIf(stolen > 0)));
  }
  const { poller, webhook } = conflicts;
  const isQuiet = poller + webhook === 0;
  const parts = [
    isQuiet && 'none',
    poller > 0 && `${poller} with another poller`,
    webhook > 0 && `${webhook} with a webhook`,
  ];
  rows.push(row('conflicts', isQuiet ? 5 : 2, parts, warnIf(!isQuiet)));
  return rows;
}
