/**
 * Decides whether to feed a service manager's watchdog: polls that succeed feed it, not a mere timer. It is fed without them only
 * if there is no polling for a reason that a restart of singlepoll could not cure. PURE.
 */
import type { Phase } from '../supervisor/table.ts';

export interface Seen {
  readonly phase: Phase;
  /** Polls answered so far; null: they can't be seen (deploy mode, or a worker that bypasses the gateway). */
  readonly polls: number | null;
  /** The Bot API is out of reach or asked for a pause, a rival polls, or the worker set an allowed webhook. */
  readonly helpless: boolean;
  /** How late the lease's keeper is, in ms; 0 without a lease. */
  readonly keeperLateMs: number;
}

/**
 * The result is called at every tick; true: feed. Feeding ends when the worker has not polled for `patienceMs`, which is longer
 * than singlepoll needs to cure that itself.
 */
export function createWatchdog(patienceMs: number, startMs: number): (seen: Seen, nowMs: number) => boolean {
  let goodAtMs = startMs;
  let polls = 0;
  return (seen, nowMs) => {
    // In standby no polls are expected; only the keeper's lateness counts.
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
