/** What the supervisor knows beside the state of its table; `status` is made of both. */
import type { Config } from '../config/load.ts';
import type { Overlap } from '../gateway/rivals.ts';
import type { Poller } from '../gateway/server.ts';
import type { LogFacts } from '../output/log.ts';
import { plainCommand } from '../output/plain.ts';
import type { Seen } from '../service/watchdog.ts';
import type { Me } from '../telegram/bot-api.ts';
import { VERSION } from '../version.ts';
import type { AlertsEntry, LeaseEntry, Problem, StatusDocument, StrayEntry } from './status.ts';
import type { Phase } from './table.ts';

/** What the supervisor knows beside the state of its table. Wall-clock times are ISO 8601. */
export interface Facts {
  readonly bot: StatusDocument['bot'];
  readonly polling: boolean;
  /** See --deaf-after. */
  readonly deafAfterMs: number;
  readonly pid: number;
  readonly version: string;
  readonly command: readonly string[];
  readonly cwd: string;
  readonly startedAt: string;
  workerStartedAt: string | null;
  /** The same, elapsed ms: ages come from the clock that nobody sets. */
  workerStartedAtMs: number | null;
  lastExitAt: string | null;
  /** How the worker polls, as far as it has been seen. */
  via: 'gateway' | 'direct';
  /** Polls that were answered through the gateway. */
  polls: number;
  lastPollAt: string | null;
  /** The same, elapsed ms. */
  lastPollAtMs: number | null;
  offset: number | null;
  updates: number;
  /** Updates that somebody else has taken, and when the last. */
  stolen: number;
  lastStolenAtMs: number | null;
  conflicts: { poller: number; webhook: number };
  /** When the worker last named a 409 of another poller, elapsed ms. */
  lastConflictAtMs: number | null;
  /** What is said of a rival that was not found on this machine; null: nothing yet. */
  rivalElsewhere: string | null;
  /** What is known of one that was found here and can't be stopped from here. */
  rivalHere: string | null;
  /** One of this machine that has reacted to a poll of ours, which is no proof yet. */
  rivalSuspect: string | null;
  webhook: StatusDocument['webhook'];
  webhookSetAgain: number;
  lastWebhookSetAtMs: number | null;
  /** The last try to reach the Bot API failed with this. */
  apiProblem: string | null;
  /** An overlap with another poller that goes on. */
  overlap: Overlap | null;
  /** Polls of processes outside of the worker's tree, turned away. */
  refused: number;
  /** setWebhook of the worker, turned down. */
  webhookAttempts: number;
  lastWebhookAttemptAtMs: number | null;
  /** The worker has set a webhook of its own, as it was allowed to. */
  webhookOfWorker: boolean;
  /** A 429 asked for a pause until then, elapsed ms. */
  pausedUntilMs: number;
  /** When the worker last used the real token in place of its sealed one. */
  lastUnsealedAtMs: number | null;
  deafReplaced: number;
  straysStopped: number;
  /** At the start and while running. */
  webhooksCleared: number;
  lastDeafAtMs: number | null;
  /** Of the worker's recent calls, the median. */
  latencyMs: () => number | null;
  pollers: () => readonly Poller[];
  /** For how long the poll that is open upstream has been; 0: none is. */
  pollOpenMs: () => number;
  /** This run polled undisturbed for long enough before the other poller came. */
  isIncumbent: () => boolean;
  /** Null: there is none. */
  lease: () => LeaseEntry | null;
  leaseProblem: () => Problem | null;
  /** Null: none is written. */
  log: () => LogFacts | null;
  /** Null: none are sent. */
  alerts: () => { readonly entry: AlertsEntry; readonly failing: boolean } | null;
  /** How workers ended, and how often: see Tally in alerts/events.ts. */
  readonly ends: Record<string, number>;
  /** Of the last one that was stopped. */
  lastStray: string | null;
  /** The last webhook that somebody set while we polled, masked. */
  lastWebhook: string | null;
  /** From other machines, and of which one the last. */
  leasesTaken: number;
  lastHolder: string | null;
  leasesLost: number;
  lastLeaseLoss: string | null;
  /** Exits within a period; null: no crash loop. */
  crashLoop: { readonly exits: number; readonly periodMs: number } | null;
  strays: readonly StrayEntry[];
  uninspectable: number;
}

export function newFacts(
  config: Config,
  me: Me | null,
  command: readonly string[],
  startedAt: string,
): Facts {
  return {
    bot: me
      ? { id: me.id, username: me.username ?? null }
      : config.botId === null
        ? null
        : { id: config.botId, username: null },
    polling: config.polling,
    deafAfterMs: config.deafAfterMs,
    pid: process.pid,
    version: VERSION,
    command: command.map((word) => plainCommand([word])),
    cwd: config.cwd,
    startedAt,
    workerStartedAt: null,
    workerStartedAtMs: null,
    lastExitAt: null,
    via: config.gateway ? 'gateway' : 'direct',
    polls: 0,
    lastPollAt: null,
    lastPollAtMs: null,
    offset: null,
    updates: 0,
    stolen: 0,
    lastStolenAtMs: null,
    conflicts: { poller: 0, webhook: 0 },
    lastConflictAtMs: null,
    rivalElsewhere: null,
    rivalHere: null,
    rivalSuspect: null,
    webhook: null,
    webhookSetAgain: 0,
    lastWebhookSetAtMs: null,
    apiProblem: null,
    overlap: null,
    refused: 0,
    webhookAttempts: 0,
    lastWebhookAttemptAtMs: null,
    webhookOfWorker: false,
    pausedUntilMs: 0,
    lastUnsealedAtMs: null,
    deafReplaced: 0,
    straysStopped: 0,
    webhooksCleared: 0,
    lastDeafAtMs: null,
    latencyMs: () => null,
    pollers: () => [],
    pollOpenMs: () => 0,
    isIncumbent: () => false,
    lease: () => null,
    leaseProblem: () => null,
    log: () => null,
    alerts: () => null,
    ends: {},
    lastStray: null,
    lastWebhook: null,
    leasesTaken: 0,
    lastHolder: null,
    leasesLost: 0,
    lastLeaseLoss: null,
    crashLoop: null,
    strays: [] as readonly StrayEntry[],
    uninspectable: 0,
  };
}

/** What feeds a watchdog. */
export function seenBy(phase: Phase, facts: Facts): Seen {
  const seen = facts.polling && facts.via === 'gateway';
  const lease = facts.lease();
  // An engine out of reach is no fault of the keeper's.
  const plannedAt = lease?.decision && lease.reachable ? Date.parse(lease.decision.at) : Number.NaN;
  return {
    phase,
    polls: seen ? facts.polls : null,
    helpless:
      facts.apiProblem !== null ||
      facts.overlap !== null ||
      facts.webhookOfWorker ||
      facts.pausedUntilMs > performance.now(),
    keeperLateMs: Number.isNaN(plannedAt) ? 0 : Math.max(0, Date.now() - plannedAt),
  };
}
