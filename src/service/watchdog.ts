/**
 * Whether a service manager's watchdog is to be fed: by polls that succeed, not by a clock of ours that still ticks. Fed without them only
 * where nobody polls for a reason that a restart of singlepoll could not mend. PURE.
 */
import type { Phase } from '../supervisor/table.ts';

export interface Seen {
  readonly phase: Phase;
  /** Polls answered so far, where they can be seen; null: deploy mode, or a worker that polls past the gateway. */
  readonly polls: number | null;
  /** The Bot API is out of reach or asked for a pause, a rival takes the poll, the worker set a webhook as it was allowed to. */
  readonly helpless: boolean;
  /** How far the lease's keeper is behind its own plan, ms; 0 without a lease. */
  readonly keeperLateMs: number;
}

/**
 * To be asked at every tick; true: feed. A worker that has not polled for `patienceMs` gets no more food; that is more than
 * singlepoll's own cures take.
 */
export function createWatchdog(patienceMs: number, startMs: number): (seen: Seen, nowMs: number) => boolean {
  let goodAtMs = startMs;
  let polls = 0;
  return (seen, nowMs) => {
    // A keeper that has stopped is no matter of patience: the lateness is.
    if (seen.phase === 'standby') {
      const isOnTime = seen.keeperLateMs < patienceMs;
      if (isOnTime) goodAtMs = nowMs;
      return isOnTime;
    }
    const hasPolled = seen.polls === null ? seen.phase === 'polling' : seen.polls > polls;
    if (hasPolled || seen.phase === 'exited' || seen.helpless) goodAtMs = nowMs;
    polls = seen.polls ?? 0;
    return nowMs - goodAtMs < patienceMs;
  };
}
