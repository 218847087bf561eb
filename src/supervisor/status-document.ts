/**
 * The running supervisor's answer to `status`: its facts put into the contract's shape, and what of it is a problem.
 * Pure: everything comes in as data.
 */

import {
  RIVAL_CURE,
  SECOND_CURE,
  SECOND_CURE_LOOP,
  STOLEN_CURE,
  stolenWords,
  UNSEALED,
  WORKERS_WEBHOOK,
} from '../gateway/words.ts';
import { count, duration, howItEnded, PAST_WITH_LEASE } from '../output/words.ts';
import type { Facts } from './facts.ts';
import type { Problem, RunState, StatusDocument, TreeEntry } from './status.ts';
import type { Phase, State } from './table.ts';

/** Problems of the recent past stay visible this long. */
const RECENT_MS = 10 * 60_000;

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

export function statusDocument(
  state: State,
  facts: Facts,
  tree: readonly TreeEntry[],
  nowMs: number,
): StatusDocument {
  const publicState = runState(state, facts);
  const problems = findProblems(state, facts, nowMs);
  const fine = FINE.has(publicState);
  return {
    bot: facts.bot,
    state: publicState,
    healthy: fine && problems.length === 0,
    problems,
    supervisor: {
      pid: facts.pid,
      startedAt: facts.startedAt,
      version: facts.version,
      command: facts.command,
      cwd: facts.cwd,
    },
    worker: {
      pid: state.pid,
      startedAt: state.pid === null ? null : facts.workerStartedAt,
      spawns: state.spawn,
      restarts: state.restarts,
      lastExit:
        state.lastExit && facts.lastExitAt
          ? { code: state.lastExit.code, signal: state.lastExit.signal, at: facts.lastExitAt }
          : null,
      tree,
    },
    polling: facts.polling
      ? {
          via: facts.via,
          polls: facts.polls,
          lastPollAt: facts.lastPollAt,
          offset: facts.offset,
          updates: facts.updates,
          stolen: facts.stolen,
          conflicts: { ...facts.conflicts },
          latencyMs: facts.latencyMs(),
          pollers: facts.pollers(),
          refused: facts.refused,
          webhookAttempts: facts.webhookAttempts,
        }
      : null,
    webhook: facts.webhook,
    strays: facts.strays,
    lease: facts.lease(),
    log: facts.log(),
    alerts: facts.alerts()?.entry ?? null,
  };
}

export function runState(state: State, facts: Facts): RunState {
  const own = PUBLIC_STATE[state.phase];
  if (facts.polling) return own;
  return own === 'polling' || own === 'starting' ? 'disabled' : own;
}

function findProblems(state: State, facts: Facts, nowMs: number): Problem[] {
  const problems: Problem[] = [];
  const recent = (atMs: number | null) => isRecent(atMs, nowMs);
  const upMs = facts.workerStartedAtMs === null ? 0 : nowMs - facts.workerStartedAtMs;
  if (facts.polling && state.phase === 'starting' && state.pid !== null && upMs > SLOW_START_MS) {
    problems.push({
      code: 'no-poll',
      message: `the worker has not polled yet, ${duration(upMs)} after its start`,
      hint: 'does it poll where POLLING_ENABLED is 1, and take its API root from TELEGRAM_API_ROOT? (README: Frameworks)',
    });
  }
  // What came before the present worker is not its silence, and neither is a poll that is open.
  const silentMs =
    facts.lastPollAtMs === null || facts.pollOpenMs() > 0
      ? 0
      : Math.min(nowMs - facts.lastPollAtMs, Math.max(0, upMs));
  if (
    facts.polling &&
    facts.via === 'gateway' &&
    state.phase === 'polling' &&
    silentMs > facts.deafAfterMs + UNNOTICED_MS
  ) {
    problems.push({
      code: 'no-poll',
      message: `no poll has succeeded for ${duration(silentMs)}`,
      hint: 'singlepoll restart    # if that does not help: singlepoll reset',
    });
  }
  // While the Bot API is out of reach, that is the problem: see below.
  if (state.phase === 'backoff' && state.next !== 'probe') {
    problems.push({
      code: 'crashing',
      message: `the worker keeps ending: ${state.failures + 1} times in a row, last ${howItEnded(state.lastExit ?? { code: null, signal: null })}`,
      hint: 'read its last lines in the output of `singlepoll start`, then: singlepoll restart',
    });
  }
  const guilty = facts.strays.filter(
    (it) => it.grade === 'own' || it.grade === 'proven' || it.grade === 'declared',
  );
  if (guilty.length > 0) {
    problems.push({
      code: 'stray',
      message: `${guilty.length} stray ${guilty.length === 1 ? 'poller' : 'pollers'} of this bot: pid ${guilty.map((it) => it.pid).join(', ')}`,
      hint: 'singlepoll who',
    });
  }
  if (recent(facts.lastWebhookSetAtMs)) {
    problems.push({
      code: 'webhook-set',
      message: `somebody set a webhook; cleared ${facts.webhookSetAgain} ${facts.webhookSetAgain === 1 ? 'time' : 'times'} while running`,
      hint: 'find the program that calls setWebhook; singlepoll who',
    });
  } else if (facts.webhook && facts.webhook.url !== '' && facts.polling && !facts.webhookOfWorker) {
    problems.push({
      code: 'webhook-set',
      message: `a webhook is set: ${facts.webhook.url}`,
      hint: 'singlepoll restart    # clears it again',
    });
  }
  if (recent(facts.lastConflictAtMs)) {
    const count = facts.conflicts.poller;
    const lastMs = nowMs - (facts.lastConflictAtMs ?? nowMs);
    problems.push({
      code: 'conflict',
      message: `somebody else polls this bot: the worker met ${count} ${count === 1 ? 'conflict' : 'conflicts'} (409), the last ${duration(lastMs)} ago`,
      hint: facts.rivalHere ?? facts.rivalElsewhere ?? 'singlepoll who',
    });
  }
  const lease = facts.leaseProblem();
  if (lease) problems.push(lease);
  if (facts.lease()?.mine && facts.via === 'direct' && state.phase === 'polling') {
    problems.push({
      code: 'past-gateway',
      message: `the worker polls past the gateway: ${PAST_WITH_LEASE}`,
      hint: 'let it take its API root from TELEGRAM_API_ROOT (README: Frameworks)',
    });
  }
  problems.push(...gatewayProblems(facts, nowMs));
  const log = facts.log();
  if (log?.problem) {
    problems.push({
      code: 'log',
      message: `${log.problem}; polling goes on`,
      hint: 'make room or let it be written: it goes on by itself',
    });
  }
  const alerts = facts.alerts();
  if (alerts?.failing) {
    problems.push({
      code: 'alerts',
      message: `alerts are not delivered: ${alerts.entry.lastError ?? 'unknown why'}; polling goes on`,
      hint: 'singlepoll ping    # for the admin chat; for a URL: check --alert-url and --alert-format',
    });
  }
  if (facts.apiProblem) {
    const waits = state.phase === 'backoff' && state.next === 'probe';
    const message = `${facts.apiProblem}${waits ? '; the next worker is started once it answers' : ''}`;
    problems.push({ code: 'api-unreachable', message });
  }
  return problems;
}

function isRecent(atMs: number | null, nowMs: number): boolean {
  return atMs !== null && nowMs - atMs < RECENT_MS;
}

/** What only the gateway sees. */
function gatewayProblems(facts: Facts, nowMs: number): Problem[] {
  const problems: Problem[] = [];
  const recent = (atMs: number | null) => isRecent(atMs, nowMs);
  if (facts.webhookOfWorker) {
    problems.push({
      code: 'webhook-set',
      message: `nobody polls: ${WORKERS_WEBHOOK}`,
      hint: 'singlepoll restart    # without --allow-set-webhook it could not',
    });
  }
  if (recent(facts.lastUnsealedAtMs)) problems.push({ code: 'not-sealed', message: UNSEALED });
  if (facts.pausedUntilMs > nowMs) {
    problems.push({
      code: 'api-pause',
      message: `the Bot API asked for a pause (429): nobody polls for another ${duration(facts.pausedUntilMs - nowMs)}`,
    });
  }
  const pollers = facts.pollers();
  const owner = pollers.find((it) => it.role === 'owner');
  const held = pollers.filter((it) => it.role === 'held');
  if (owner && held.length > 0) {
    const others = held.map((it) => it.pid ?? 'another loop').join(', ');
    const loops = held.every((it) => it.pid === owner.pid);
    problems.push({
      code: 'second-poller',
      message: loops
        ? `the worker polls in two loops of process ${owner.pid ?? 'unknown'}: one polls, the other is held and answered empty`
        : `the worker polls more than once: pid ${owner.pid ?? 'unknown'} polls, ${others} ${held.length === 1 ? 'is' : 'are'} held and answered empty`,
      hint: loops ? SECOND_CURE_LOOP : SECOND_CURE,
    });
  }
  if (facts.overlap) {
    const { isRival, kicks, sinceMs } = facts.overlap;
    problems.push({
      code: isRival ? 'rival' : 'conflict',
      message: `${isRival ? 'a rival' : 'another poller'} takes the poll: ${count(kicks, 'conflict')} (409) in ${duration(nowMs - sinceMs)}`,
      hint: isRival ? RIVAL_CURE : 'singlepoll who    # an old run that is about to end goes away by itself',
    });
  }
  if (recent(facts.lastStolenAtMs)) {
    problems.push({
      code: 'stolen',
      message: `${stolenWords(facts.stolen)}, the last ${duration(nowMs - (facts.lastStolenAtMs ?? nowMs))} ago`,
      hint: STOLEN_CURE,
    });
  }
  if (recent(facts.lastWebhookAttemptAtMs)) {
    problems.push({
      code: 'worker-sets-webhook',
      message: `the worker tries to set a webhook (${facts.webhookAttempts} so far, turned down)`,
      hint: 'take setWebhook out of the bot, or: singlepoll start --allow-set-webhook',
    });
  }
  if (recent(facts.lastDeafAtMs)) {
    problems.push({
      code: 'deaf',
      message: `the worker lived without polling and was replaced (${facts.deafReplaced} so far), the last time ${duration(nowMs - (facts.lastDeafAtMs ?? nowMs))} ago`,
      hint:
        facts.via === 'direct'
          ? 'it polls past the gateway: let it take its API root from TELEGRAM_API_ROOT (README: Frameworks)'
          : 'its own log says what it was doing; --deaf-after sets the patience',
    });
  }
  return problems;
}
