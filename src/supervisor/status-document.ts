/**
 * Holds the status record of a run, and reads it: the document with its problems, and what feeds a watchdog. What changes all the time
 * (latency, lease, log, alerts) is asked of its owner at that moment.
 */
import type { Config } from '../config/load.ts';
import { VERSION } from '../errors.ts';
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
import { createListeners } from '../output/listeners.ts';
import type { LogFacts } from '../output/log.ts';
import { plain } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import { count, duration, howItEnded, PAST_WITH_LEASE, RIVAL_CURE } from '../output/words.ts';
import type { Seen } from '../service/notify.ts';
import { type Moment, newRecord, noted, type StatusEvent, type StatusRecord } from './record.ts';
import {
  type AlertsEntry,
  type LeaseEntry,
  NO_USAGE,
  type PastEvent,
  type Problem,
  type RunState,
  type StatusDocument,
  type TreeEntry,
  type UsageEntry,
} from './status.ts';
import type { Phase } from './table.ts';

/** What was wrong is shown this long, as past as soon as it is over. */
const RECENT_MS = 10 * 60_000;
/** What may well go on: its last sign is no older than this. */
const PRESENT_MS = 60_000;

/** This long after --deaf-after a deaf worker has been replaced. */
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
    latencyMs(): number | null;
    pollers(): NonNullable<StatusDocument['polling']>['pollers'];
    /** For how long the poll that is open upstream has been; 0: none is. */
    pollOpenMs(): number;
  };
  usage?: () => UsageEntry;
  lease?: { status(): LeaseEntry; problem(): Problem | null };
  log?: () => LogFacts | null;
  alerts?: { readonly cure: string; entry(): AlertsEntry; isFailing(): boolean };
}

export type Status = ReturnType<typeof createStatus>;

type Settings = Pick<Config, 'botId' | 'cwd' | 'deafAfterMs' | 'gateway' | 'polling'>;

export function createStatus(
  config: Settings,
  command: readonly string[],
  startedAt: string,
  report: Pick<Report, 'line'>,
) {
  const { botId, cwd, polling, gateway, deafAfterMs } = config;
  const supervisor = { pid: process.pid, startedAt, version: VERSION, command: shownWords(command), cwd };
  const bot = botId === null ? null : { id: botId, username: null };
  let record = newRecord({ bot, supervisor, deafAfterMs }, polling ? (gateway ? 'gateway' : 'direct') : null);
  /** Filled in as the parts of the run are opened. */
  const sources: StatusSources = {};
  const listeners = createListeners<[]>('one that follows the run', report);
  return {
    sources,
    get record(): StatusRecord {
      return record;
    },
    /** The only way to change the record. */
    note(event: StatusEvent): void {
      record = noted(record, event, { atMs: performance.now(), at: new Date().toISOString() });
      listeners.tell();
    },
    /** Called after each note, every step of the loop among them; returns the way to leave. */
    onNote: listeners.add,
    document: (tree: readonly TreeEntry[] = []): StatusDocument =>
      statusDocument(record, sources, tree, performance.now()),
    runState: () => runState(record),
    /** Infinite: it has not happened. */
    agoMs: (moment: Moment): number =>
      performance.now() - (record.last[moment]?.atMs ?? Number.NEGATIVE_INFINITY),
    /** What feeds a watchdog. */
    seen: () => seenOf(record, sources),
  };
}

/** As they were typed, but for secrets and control characters. */
export const shownWords = (command: readonly string[]): string[] => command.map((word) => plain(word, 4_000));

export function statusDocument(
  record: StatusRecord,
  sources: StatusSources,
  tree: readonly TreeEntry[],
  nowMs: number,
): StatusDocument {
  const { bot, supervisor, state, webhook } = record;
  const { lastExit: exit } = state;
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
      startedAt: state.pid === null ? null : (record.last['worker-start']?.at ?? null),
      spawns: state.spawn,
      restarts: state.restarts,
      lastExit: exit && { code: exit.code, signal: exit.signal, at: record.last['worker-ended']?.at ?? '' },
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

function runState({ state, polls }: StatusRecord): RunState {
  const own = state.obstacle !== null && state.phase === 'sweeping' ? 'standby' : PUBLIC_STATE[state.phase];
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

type Found = Problem & Partial<PastEvent>;

function findProblems(record: StatusRecord, sources: StatusSources, nowMs: number) {
  const isPast = (it: Found): it is PastEvent => it.at !== undefined;
  const found: readonly Found[] = [
    ...waitingProblems(record, sources, nowMs),
    ...pastProblems(record, sources, nowMs),
    ...presentProblems(record, sources, nowMs),
  ];
  return { problems: found.filter((it) => !isPast(it)), earlier: found.filter(isPast) };
}

/** Without a log what the worker prints goes to whoever runs `start`. */
function logHint({ log }: StatusSources, what: string): string | undefined {
  return log?.() ? `singlepoll logs -n 50    # ${what}` : undefined;
}

/** Why nobody polls, or will for long, by the phase and the last looks. */
function* waitingProblems(record: StatusRecord, sources: StatusSources, nowMs: number): Iterable<Problem> {
  const { polls, polling, state, last, webhook } = record;
  const { obstacle } = state;
  const upMs = nowMs - (last['worker-start']?.atMs ?? nowMs);
  if (obstacle !== null && runState(record) === 'standby') {
    yield { code: 'rival', message: `stands by, as ${obstacle.reason}`, hint: obstacle.hint };
  }
  if (polls && state.phase === 'starting' && state.pid !== null && upMs > SLOW_START_MS)
    yield {
      code: 'no-poll',
      message: `the worker has not polled ${polling.past ? 'through the gateway' : 'yet'}, ${duration(upMs)} after its start`,
      hint:
        polling.past?.cure ??
        'does it poll where POLLING_ENABLED is 1? Its own log may tell: singlepoll logs',
    };
  const isSilent = !sources.gateway?.pollOpenMs() && last.completed !== undefined;
  // What came before the present worker is not its silence.
  const silentMs = isSilent ? Math.min(nowMs - (last.completed?.atMs ?? nowMs), upMs) : 0;
  const isSeen = polls && polling.via === 'gateway' && state.phase === 'polling';
  if (isSeen && silentMs > record.deafAfterMs + UNNOTICED_MS)
    yield {
      code: 'no-poll',
      message: `no poll has succeeded for ${duration(silentMs)}`,
      hint: 'singlepoll restart    # if that does not help: singlepoll reset',
    };
  // While the Bot API is out of reach, that is the problem: see the last of the present ones.
  if (state.phase === 'backoff' && state.next !== 'probe')
    yield {
      code: 'crashing',
      message: `the worker keeps ending: ${state.failures + 1} times in a row, last ${howItEnded(state.lastExit!)}`,
      hint: logHint(sources, 'says what it printed'),
    };
  const pids = record.strays.filter(({ grade }) => GUILTY.has(grade)).map(({ pid }) => pid);
  if (pids.length > 0)
    yield {
      code: 'stray',
      message: `${count(pids.length, 'stray poller')} of this bot: pid ${pids.join(', ')}`,
      hint: 'singlepoll who',
    };
  if (polls && !record.webhookOfWorker && webhook?.url)
    yield {
      code: 'webhook-set',
      message: `a webhook is set: ${webhook.url}`,
      hint: 'singlepoll restart    # clears it again',
    };
}

/** What has happened lately: over after a minute, or as soon as what ends it has happened. */
function* pastProblems(record: StatusRecord, sources: StatusSources, nowMs: number): Iterable<Found> {
  const { polling, tally, rival, last } = record;
  function* lately(moment: Moment, endedBy: Moment | null, code: string, message: string, hint?: string) {
    const { atMs = Number.NEGATIVE_INFINITY, at = '' } = last[moment] ?? {};
    const agoMs = nowMs - atMs;
    if (agoMs >= RECENT_MS) return;
    const isOver =
      agoMs >= PRESENT_MS || moment === endedBy || (endedBy && (last[endedBy]?.atMs ?? 0) > atMs);
    const problem = { code, message, hint };
    if (isOver) yield { ...problem, at };
    else yield { ...problem, message: `${message}, the last ${duration(agoMs)} ago` };
  }
  const times = (n: number) => count(n, 'time');
  const cleared = `somebody set a webhook; cleared ${times(tally.webhookSetAgain)} while running`;
  yield* lately('webhook-set', 'webhook-set', 'webhook-set', cleared, WEBHOOK_CURE);
  const met = `somebody else polls this bot: the worker met ${count(polling.conflicts.poller, 'conflict')} (409)`;
  const by = rival.here ? `${met}: ${rival.here}` : met;
  yield* lately('named-conflict', 'strays-stopped', 'conflict', by, rival.hint ?? 'singlepoll who');
  yield* lately(
    'strays-stopped',
    'strays-stopped',
    'stray',
    `a stray poller was stopped: ${tally.lastStray}`,
  );
  yield* lately('lease-lost', 'lease-lost', 'lease-lost', `the lease was lost: ${tally.lastLeaseLoss}`);
  yield* lately('unsealed', null, 'not-sealed', UNSEALED, UNSEALED_CURE);
  yield* lately('stolen', null, 'stolen', stolenWords(polling.stolen), STOLEN_CURE);
  const tried = `the worker tried to set a webhook and was turned down (${times(polling.webhookAttempts)} so far)`;
  const leaveOut = 'take setWebhook out of the bot, or start it with --allow-set-webhook';
  yield* lately('webhook-turned-down', null, 'worker-sets-webhook', tried, leaveOut);
  const deaf = `the worker lived without polling and was replaced (${times(tally.deafReplaced)} so far)`;
  const seen = polling.via === 'direct' ? polling.past?.cure : logHint(sources, 'says what it was doing');
  yield* lately('deaf', 'completed', 'deaf', deaf, seen);
}

/** What is wrong at this moment, by what each owner tells. */
function* presentProblems(record: StatusRecord, sources: StatusSources, nowMs: number): Iterable<Problem> {
  const { polling, state, overlap, rival, pausedUntilMs, apiProblem } = record;
  const { lease, alerts } = sources;
  const leaseProblem = lease?.problem();
  if (leaseProblem) yield leaseProblem;
  if (lease?.status().mine && polling.via === 'direct' && state.phase === 'polling')
    yield {
      code: 'past-gateway',
      message: `the worker polls past the gateway: ${PAST_WITH_LEASE}`,
      hint: polling.past?.cure,
    };
  if (record.webhookOfWorker)
    yield {
      code: 'webhook-set',
      message: `nobody polls: ${WORKERS_WEBHOOK}`,
      hint: 'singlepoll reset --no-allow-set-webhook    # without that option it can not',
    };
  if (pausedUntilMs > nowMs)
    yield {
      code: 'api-pause',
      message: `the Bot API asked for a pause (429): nobody polls for another ${duration(pausedUntilMs - nowMs)}`,
    };
  const owner = polling.pollers.find(({ role }) => role === 'owner');
  const held = polling.pollers.filter(({ role }) => role === 'held');
  if (owner && held.length > 0) {
    const pid = owner.pid ?? 'unknown';
    const isLoop = held.every((it) => it.pid === owner.pid);
    const others = held.map((it) => it.pid ?? 'another loop').join(', ');
    const message = isLoop
      ? `the worker polls in two loops of process ${pid}: one polls, the other is held and answered empty`
      : `the worker polls more than once: pid ${pid} polls, ${others} ${held.length === 1 ? 'is' : 'are'} held and answered empty`;
    yield { code: 'second-poller', message, hint: isLoop ? SECOND_CURE_LOOP : SECOND_CURE };
  }
  if (overlap)
    yield {
      code: overlap.isRival ? 'rival' : 'conflict',
      message: `${overlap.isRival ? 'a rival' : 'another poller'} takes the poll: ${count(overlap.kicks, 'conflict')} (409) in ${duration(nowMs - overlap.sinceMs)}${rival.here ? `: ${rival.here}` : ''}`,
      hint:
        rival.hint ??
        (overlap.isRival
          ? RIVAL_CURE
          : 'singlepoll who    # an old run that is about to end goes away by itself'),
    };
  const logProblem = sources.log?.()?.problem;
  if (logProblem)
    yield {
      code: 'log',
      message: `${logProblem}; polling goes on`,
      hint: 'make room or let it be written: it goes on by itself',
    };
  if (alerts?.isFailing())
    yield {
      code: 'alerts',
      message: `alerts are not delivered: ${alerts.entry().lastError ?? 'unknown why'}; polling goes on`,
      hint: alerts.cure,
    };
  if (apiProblem !== null) {
    const isWaiting = state.phase === 'backoff' && state.next === 'probe';
    const then = isWaiting ? '; the next worker is started once it answers' : '';
    yield { code: 'api-unreachable', message: apiProblem + then };
  }
}
