/** What a run waits for at present, for the last line of a terminal. PURE. */
import { leaseWords, span } from '../output/words.ts';
import type { StatusRecord } from './record.ts';
import type { LeaseEntry } from './status.ts';

/** Sooner nobody wonders. */
const SLOW_MS = 3_000;

/** Null: nothing. `lease` of this moment, `nowMs` monotonic, `unixMs` the wall clock. */
export function waitWords(
  { state, stepMs, polls, pausedUntilMs, apiProblem }: StatusRecord,
  { lease, stopTimeoutMs }: { readonly lease: LeaseEntry | null; readonly stopTimeoutMs: number },
  nowMs: number,
  unixMs: number,
): string | null {
  const { phase, next, delayMs, pid, obstacle } = state;
  const sinceMs = nowMs - stepMs;
  const soFar = `for ${span(sinceMs)} so far`;
  if (phase === 'standby' && obstacle !== null) return `standing by until the other poller is gone, ${soFar}`;
  if (phase === 'standby')
    return lease
      ? `standing by: ${leaseWords(lease, unixMs)}`
      : `standing by until the worker of the new supervisor polls, ${soFar}`;
  if (phase === 'backoff')
    return next === 'probe'
      ? `waiting until the Bot API answers, ${soFar}`
      : `the next worker is started in ${span(Math.max(0, delayMs - sinceMs))}`;
  if (phase === 'stopping') {
    const leftMs = stopTimeoutMs - sinceMs;
    return leftMs > 0
      ? `waiting for the worker to end; SIGKILL in ${span(leftMs)}`
      : `waiting for the worker to be gone, ${soFar}`;
  }
  if (pausedUntilMs > nowMs)
    return `the Bot API asked for a pause (429), ${span(pausedUntilMs - nowMs)} left`;
  if (phase === 'starting' && polls && pid !== null && sinceMs > SLOW_MS)
    return apiProblem ?? `waiting for the worker's first poll, ${soFar}`;
  return null;
}
