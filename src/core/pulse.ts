/**
 * Whether a service manager's watchdog is to be fed: by polls that succeed, not by a clock of ours that still ticks. Fed without them only
 * where nobody polls for a reason that a restart of singlepoll could not mend. Pure.
 */
import type { Phase } from './supervisor.ts';

export interface Seen {
  readonly phase: Phase;
  /** Polls answered so far, where they can be seen; null: deploy mode, or a worker that polls past the gateway. */
  readonly polls: number | null;
  /** The Bot API is out of reach or asked for a pause, a rival takes the poll, the worker set a webhook as it was allowed to. */
  readonly helpless: boolean;
  /** How far the lease's keeper is behind its own plan, ms; 0 without a lease. */
  readonly keeperLateMs: number;
}

export interface Pulse {
  /** Call it at every tick; true: feed. */
  beats(seen: Seen, nowMs: number): boolean;
}

/** A worker that has not polled for `patienceMs` gets no more food; that is more than singlepoll's own cures take. */
export function createPulse(patienceMs: number, nowMs: number): Pulse {
  let goodAtMs = nowMs;
  let polls = 0;
  const isGood = (seen: Seen): boolean => {
    if (seen.phase === 'standby') return seen.keeperLateMs < patienceMs;
    if (seen.phase === 'exited' || seen.helpless) return true;
    return seen.polls === null ? seen.phase === 'polling' : seen.polls > polls;
  };
  return {
    beats(seen, atMs) {
      if (isGood(seen)) goodAtMs = atMs;
      polls = seen.polls ?? 0;
      // A keeper that has stopped is no matter of patience: the lateness is.
      if (seen.phase === 'standby') return goodAtMs === atMs;
      return atMs - goodAtMs < patienceMs;
    },
  };
}
