/**
 * Holds the status record of a run, and reads it: the document with its problems, and what feeds a watchdog. What changes all the time
 * (latency, lease, log, alerts) is asked of its owner at that moment.
 */
import type { Config } from '../config/load.ts';
import {
  SECOND_CURE,
  SECOND_CURE_LOOP,
  STOLEN_CURE,
  stolenWords,
  UNSEALED,
  UNSEALED_CURE,
  WEBHOOK_CURE,
  WORKERS_WEBHOOK,
} from '../gateway/words.ts';
import { isThere } from '../machine/procfs.ts';
import type { LogFacts } from '../output/log.ts';
import { plainCommand } from '../output/plain.ts';
import { count, duration, howItEnded, PAST_WITH_LEASE, RIVAL_CURE } from '../output/words.ts';
import type { Seen } from '../service/watchdog.ts';
import type { Me } from '../telegram/bot-api.ts';
import { VERSION } from '../version.ts';
import {
  type AlertsEntry,
  type LeaseEntry,
  type Moment,
  NO_USAGE,
  newRecord,
  noted,
  type PastEvent,
  type Problem,
  type RunState,
  type StatusDocument,
  type StatusEvent,
  type StatusRecord,
  type TreeEntry,
  type UsageEntry,
} from './status.ts';
import type { Phase } from './table.ts';

/** What was wrong is shown this long, as past as soon as it is over. */
const RECENT_MS = 10 * 60_000;
/** What may well go on: its last sign is no older than this. */
const PRESENT_MS = 60_000;

/** A deaf worker has been replaced by then. */
const UNNOTICED_MS = 90_000;
/** A worker that has not polled for so long after its start deserves a look. */
const SLOW_START_MS = 30_000;

const PUBLIC_STATE: Readonly<Record<Phase, RunState>> = {
  standby: 'standby',
  sweeping: 'starting',
  starting: 'starting',
  polling: 'polling',
  stopping: 'stopping',
  backoff: 'backoff',
  exited: 'stopped',
};

const FINE: ReadonlySet<RunState> = new Set(['polling', 'standby', 'disabled', 'starting']);
const GUILTY: ReadonlySet<string> = new Set(['own', 'proven', 'declared']);

/** Asked when the status is read; each is missing where there is no such thing. */
export interface StatusSources {
  gateway?: {
    /** Of the worker's recent calls, the median. */
    latencyMs(): number | null;
    pollers(): NonNullable<StatusDocument['polling']>['pollers'];
    /** For how long the poll that is open upstream has been; 0: none is. */
    pollOpenMs(): number;
  };
  usage?: () => UsageEntry;
  lease?: { status(): LeaseEntry; problem(): Problem | null };
  /** Null: none is written. */
  log?: () => LogFacts | null;
  alerts?: { readonly cure: string; entry(): AlertsEntry; isFailing(): boolean };
}

export interface Status {
  readonly record: StatusRecord;
  /** The only way to change the record. */
  note(event: StatusEvent): void;
  /** Called after each change of the record. */
  onNote(listener: () => void): void;
  /** Filled in as the parts of the run are opened. */
  readonly sources: StatusSources;
  document(tree?: readonly TreeEntry[]): StatusDocument;
  runState(): RunState;
  /** What feeds a watchdog. */
  seen(): Seen;
}

interface Known {
  readonly config: Pick<Config, 'botId' | 'cwd' | 'deafAfterMs' | 'gateway' | 'polling'>;
  readonly me: Me | null;
  readonly command: readonly string[];
  readonly startedAt: string;
}

export function createStatus({ config, me, command, startedAt }: Known): Status {
  const { botId, cwd, polling, gateway, deafAfterMs } = config;
  const supervisor = {
    pid: process.pid,
    startedAt,
    version: VERSION,
    command: command.map((word) => plainCommand([word])),
    cwd,
  };
  const bot = me || botId !== null ? { id: me?.id ?? botId, username: me?.username ?? null } : null;
  let record = newRecord({ bot, supervisor, deafAfterMs }, polling ? (gateway ? 'gateway' : 'direct') : null);
  const sources: StatusSources = {};
  let listener = (): void => {};
  return {
    get record() {
      return record;
    },
    note(event) {
      record = noted(record, event, { atMs: performance.now(), at: new Date().toISOString() });
      listener();
    },
    onNote(it) {
      listener = it;
    },
    sources,
    document: (tree = []) => statusDocument(record, sources, tree, performance.now()),
    runState: () => runState(record),
    seen: () => seenOf(record, sources),
  };
}

export function statusDocument(
  record: StatusRecord,
  sources: StatusSources,
  tree: readonly TreeEntry[],
  nowMs: number,
): StatusDocument {
  const { bot, supervisor, state, webhook } = record;
  // The last look may be a minute old: what has ended since is not shown any more.
  const strays = record.strays.filter(({ pid }) => isThere(pid));
  const polling = {
    ...record.polling,
    latencyMs: sources.gateway?.latencyMs() ?? null,
    pollers: sources.gateway?.pollers() ?? [],
  };
  const now = { ...record, strays, polling };
  const shown = runState(record);
  const { problems, earlier } = findProblems(now, sources, nowMs);
  return {
    bot,
    state: shown,
    healthy: FINE.has(shown) && problems.length === 0,
    problems,
    earlier,
    supervisor,
    worker: {
      pid: state.pid,
      startedAt: state.pid === null ? null : record.startedAt,
      spawns: state.spawn,
      restarts: state.restarts,
      lastExit: record.lastExit,
      tree,
      ...(sources.usage?.() ?? NO_USAGE),
    },
    polling: record.polls ? polling : null,
    webhook,
    strays,
    lease: sources.lease?.status() ?? null,
    log: sources.log?.() ?? null,
    alerts: sources.alerts?.entry() ?? null,
  };
}

function runState({ state, polls, yieldsTo }: StatusRecord): RunState {
  const own = yieldsTo !== null && state.phase === 'sweeping' ? 'standby' : PUBLIC_STATE[state.phase];
  if (polls) return own;
  return own === 'polling' || own === 'starting' ? 'disabled' : own;
}

function seenOf(record: StatusRecord, { lease }: StatusSources): Seen {
  const { polls, polling, state, apiProblem, overlap, webhookOfWorker, pausedUntilMs } = record;
  const entry = lease?.status();
  // An engine out of reach is no fault of the keeper's.
  const plannedAt = entry?.decision && entry.reachable ? Date.parse(entry.decision.at) : Number.NaN;
  return {
    phase: runState(record) === 'standby' ? 'standby' : state.phase,
    polls: polls && polling.via === 'gateway' ? polling.polls : null,
    helpless: apiProblem !== null || overlap !== null || webhookOfWorker || pausedUntilMs > performance.now(),
    keeperLateMs: Number.isNaN(plannedAt) ? 0 : Math.max(0, Date.now() - plannedAt),
  };
}

interface Reading {
  readonly record: StatusRecord;
  readonly sources: StatusSources;
  readonly nowMs: number;
}

/** With a time: it is over. */
type Found = Problem & Partial<PastEvent>;
type Check = (reading: Reading) => Found | false | null | undefined;

function findProblems(record: StatusRecord, sources: StatusSources, nowMs: number) {
  const found = CHECKS.map((check) => check({ record, sources, nowMs })).filter((it): it is Found =>
    Boolean(it),
  );
  const isPast = (it: Found): it is PastEvent => it.at !== undefined;
  return { problems: found.filter((it) => !isPast(it)), earlier: found.filter(isPast) };
}

/** What has happened lately; null: it has not. `endedBy`: it is over once that has happened after it. */
function lately(
  { record, nowMs }: Reading,
  moment: Moment,
  problem: Problem,
  endedBy: Moment | null,
): Found | null {
  const { lastMs, lastAt } = record;
  const atMs = lastMs[moment] ?? Number.NEGATIVE_INFINITY;
  const agoMs = nowMs - atMs;
  if (agoMs >= RECENT_MS) return null;
  const isOver = agoMs >= PRESENT_MS || moment === endedBy || (endedBy && (lastMs[endedBy] ?? 0) > atMs);
  const at = lastAt[moment] ?? '';
  return isOver
    ? { ...problem, at }
    : { ...problem, message: `${problem.message}, the last ${duration(agoMs)} ago` };
}

function conflictProblem({ polling, rival }: StatusRecord): Problem {
  const met = `somebody else polls this bot: the worker met ${count(polling.conflicts.poller, 'conflict')} (409)`;
  return {
    code: 'conflict',
    message: rival.here ? `${met}: ${rival.here}` : met,
    hint: rival.hint ?? 'singlepoll who',
  };
}

/** Without a log what the worker prints goes to whoever runs `start`. */
function logHint({ log }: StatusSources, what: string): { hint?: string } {
  return log?.() ? { hint: `singlepoll logs -n 50    # ${what}` } : {};
}

/** What has happened lately: each with what ends it. */
const PAST: readonly (readonly [Moment, endedBy: Moment | null, (reading: Reading) => Problem])[] = [
  [
    'webhook-set',
    'webhook-set',
    ({ record: { tally } }) => ({
      code: 'webhook-set',
      message: `somebody set a webhook; cleared ${count(tally.webhookSetAgain, 'time')} while running`,
      hint: WEBHOOK_CURE,
    }),
  ],
  ['conflict', 'stray-stopped', ({ record }) => conflictProblem(record)],
  [
    'stray-stopped',
    'stray-stopped',
    ({ record: { tally } }) => ({ code: 'stray', message: `a stray poller was stopped: ${tally.lastStray}` }),
  ],
  [
    'lease-lost',
    'lease-lost',
    ({ record: { tally } }) => ({
      code: 'lease-lost',
      message: `the lease was lost: ${tally.lastLeaseLoss}`,
    }),
  ],
  ['unsealed', null, () => ({ code: 'not-sealed', message: UNSEALED, hint: UNSEALED_CURE })],
  [
    'stolen',
    null,
    ({ record }) => ({ code: 'stolen', message: stolenWords(record.polling.stolen), hint: STOLEN_CURE }),
  ],
  [
    'webhook-turned-down',
    null,
    ({ record: { polling } }) => ({
      code: 'worker-sets-webhook',
      message: `the worker tried to set a webhook and was turned down (${count(polling.webhookAttempts, 'time')} so far)`,
      hint: 'take setWebhook out of the bot, or start it with --allow-set-webhook',
    }),
  ],
  [
    'deaf',
    'poll',
    ({ record: { polling, tally }, sources }) => ({
      code: 'deaf',
      message: `the worker lived without polling and was replaced (${count(tally.deafReplaced, 'time')} so far)`,
      ...(polling.via === 'direct'
        ? { hint: polling.past?.cure ?? '' }
        : logHint(sources, 'says what it was doing')),
    }),
  ],
];

/** In the order in which they are shown. */
const CHECKS: readonly Check[] = [
  ({ record }) =>
    record.yieldsTo !== null &&
    runState(record) === 'standby' && {
      code: 'rival',
      message: `stands by, as ${record.yieldsTo.reason}`,
      ...(record.yieldsTo.hint === undefined ? {} : { hint: record.yieldsTo.hint }),
    },
  ({ record: { polls, polling, state, lastMs }, nowMs }) => {
    const upMs = nowMs - (lastMs['worker-start'] ?? nowMs);
    if (!polls || state.phase !== 'starting' || state.pid === null || upMs <= SLOW_START_MS) return null;
    return {
      code: 'no-poll',
      message: `the worker has not polled ${polling.past ? 'through the gateway' : 'yet'}, ${duration(upMs)} after its start`,
      hint:
        polling.past?.cure ??
        'does it poll where POLLING_ENABLED is 1? Its own log may tell: singlepoll logs',
    };
  },
  ({ record: { polls, polling, state, lastMs, deafAfterMs }, sources, nowMs }) => {
    if (!polls || polling.via !== 'gateway' || state.phase !== 'polling' || lastMs.poll === undefined)
      return null;
    if ((sources.gateway?.pollOpenMs() ?? 0) > 0) return null;
    // What came before the present worker is not its silence.
    const silentMs = nowMs - Math.max(lastMs.poll, lastMs['worker-start'] ?? nowMs);
    return (
      silentMs > deafAfterMs + UNNOTICED_MS && {
        code: 'no-poll',
        message: `no poll has succeeded for ${duration(silentMs)}`,
        hint: 'singlepoll restart    # if that does not help: singlepoll reset',
      }
    );
  },
  // While the Bot API is out of reach, that is the problem: see the last check.
  ({ record: { state }, sources }) =>
    state.phase === 'backoff' &&
    state.next !== 'probe' && {
      code: 'crashing',
      message: `the worker keeps ending: ${state.failures + 1} times in a row, last ${howItEnded(state.lastExit ?? { code: null, signal: null })}`,
      ...logHint(sources, 'says what it printed'),
    },
  ({ record: { strays } }) => {
    const pids = strays.filter(({ grade }) => GUILTY.has(grade)).map(({ pid }) => pid);
    return (
      pids.length > 0 && {
        code: 'stray',
        message: `${count(pids.length, 'stray poller')} of this bot: pid ${pids.join(', ')}`,
        hint: 'singlepoll who',
      }
    );
  },
  ({ record: { webhook, polls, webhookOfWorker } }) =>
    polls &&
    !webhookOfWorker &&
    webhook !== null &&
    webhook.url !== '' && {
      code: 'webhook-set',
      message: `a webhook is set: ${webhook.url}`,
      hint: 'singlepoll restart    # clears it again',
    },
  ...PAST.map(
    ([moment, endedBy, problem]): Check =>
      (reading) =>
        lately(reading, moment, problem(reading), endedBy),
  ),
  ({ sources }) => sources.lease?.problem(),
  ({ record: { polling, state }, sources }) =>
    sources.lease?.status().mine &&
    polling.via === 'direct' &&
    state.phase === 'polling' && {
      code: 'past-gateway',
      message: `the worker polls past the gateway: ${PAST_WITH_LEASE}`,
      ...(polling.past && { hint: polling.past.cure }),
    },
  ({ record: { webhookOfWorker } }) =>
    webhookOfWorker && {
      code: 'webhook-set',
      message: `nobody polls: ${WORKERS_WEBHOOK}`,
      hint: 'singlepoll reset --no-allow-set-webhook    # without that option it can not',
    },
  ({ record: { pausedUntilMs }, nowMs }) =>
    pausedUntilMs > nowMs && {
      code: 'api-pause',
      message: `the Bot API asked for a pause (429): nobody polls for another ${duration(pausedUntilMs - nowMs)}`,
    },
  ({ record: { polling } }) => {
    const owner = polling.pollers.find(({ role }) => role === 'owner');
    const held = polling.pollers.filter(({ role }) => role === 'held');
    if (!owner || held.length === 0) return null;
    const pid = owner.pid ?? 'unknown';
    const isLoop = held.every((it) => it.pid === owner.pid);
    const others = held.map((it) => it.pid ?? 'another loop').join(', ');
    const message = isLoop
      ? `the worker polls in two loops of process ${pid}: one polls, the other is held and answered empty`
      : `the worker polls more than once: pid ${pid} polls, ${others} ${held.length === 1 ? 'is' : 'are'} held and answered empty`;
    return { code: 'second-poller', message, hint: isLoop ? SECOND_CURE_LOOP : SECOND_CURE };
  },
  ({ record: { overlap, rival }, nowMs }) =>
    overlap && {
      code: overlap.isRival ? 'rival' : 'conflict',
      message: `${overlap.isRival ? 'a rival' : 'another poller'} takes the poll: ${count(overlap.kicks, 'conflict')} (409) in ${duration(nowMs - overlap.sinceMs)}${rival.here ? `: ${rival.here}` : ''}`,
      hint:
        rival.hint ??
        (overlap.isRival
          ? RIVAL_CURE
          : 'singlepoll who    # an old run that is about to end goes away by itself'),
    },
  ({ sources }) => {
    const problem = sources.log?.()?.problem ?? null;
    return (
      problem !== null && {
        code: 'log',
        message: `${problem}; polling goes on`,
        hint: 'make room or let it be written: it goes on by itself',
      }
    );
  },
  ({ sources: { alerts } }) =>
    alerts?.isFailing() && {
      code: 'alerts',
      message: `alerts are not delivered: ${alerts.entry().lastError ?? 'unknown why'}; polling goes on`,
      hint: alerts.cure,
    },
  ({ record: { apiProblem, state } }) => {
    const isWaiting = state.phase === 'backoff' && state.next === 'probe';
    const then = isWaiting ? '; the next worker is started once it answers' : '';
    return apiProblem !== null && { code: 'api-unreachable', message: apiProblem + then };
  },
];
