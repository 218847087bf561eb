/**
 * The judge's own account of a supervisor's restarts: which ends of a worker nobody asked for, how long the back-off has to be,
 * when it is a crash loop. Written from the contract, not from the table.
 */
import { constants } from 'node:os';
import type { WorkerEnd } from '../../src/supervisor/loop.ts';
import type { Policy } from '../../src/supervisor/table.ts';

export function createRestarts(policy: Policy) {
  const exitsAtMs: number[] = [];
  let spawnMs: number | null = null;
  let polled = false;
  let asked = false;
  let failures = 0;
  /** The last end that nobody had asked for: after five minutes the next is a first one again. */
  let lastEndMs: number | null = null;
  /** False after an end in the very moment in which a run became good: either order of the two is right. */
  let sure = true;
  /** An end that may have had the Bot API for its reason: nobody is started before it answers. */
  let doubtful: { atMs: number; code: number; wasGood: boolean | 'unclear' } | null = null;
  /** What has to follow the last end. */
  let due: { atMs: number; leastMs: number; mostMs: number } | null = null;
  /** The worker's code, once it has to end the supervisor. */
  let ends: { readonly code: number; readonly reason: 'policy' | 'crash loop' } | null = null;

  function good(nowMs: number): boolean | 'unclear' {
    if (spawnMs === null) return false;
    const livedMs = nowMs - spawnMs;
    return polled || livedMs > policy.goodAfterMs || (livedMs === policy.goodAfterMs && 'unclear');
  }

  function wait(nowMs: number): typeof due {
    const base =
      failures === 0 ? 0 : Math.min(policy.backoffMaxMs, policy.backoffMinMs * 2 ** (failures - 1));
    const mostMs = Math.min(policy.backoffMaxMs, Math.ceil(base * 1.2)) + 1;
    return { atMs: nowMs, leastMs: Math.floor(base * 0.8), mostMs };
  }

  /** A good run lets the failures before it be forgotten. */
  function count(wasGood: boolean | 'unclear'): void {
    if (wasGood === true) failures = 0;
    if (wasGood !== false) sure = wasGood === true;
  }

  /** An end that counts, known since `sinceMs`. */
  function counts(atMs: number, code: number, wasGood: boolean | 'unclear', sinceMs: number): void {
    exitsAtMs.push(atMs);
    const recent = exitsAtMs.filter((it) => it > atMs - policy.maxRestartsPeriodMs).length;
    const isFirst = lastEndMs === null || atMs - lastEndMs > 300_000;
    lastEndMs = atMs;
    if (recent > policy.maxRestarts) {
      // The end of a supervisor that nobody asked to stop is never 0.
      ends = { code: code || 69, reason: 'crash loop' };
      return;
    }
    if (isFirst) {
      failures = 0;
      sure = true;
    } else {
      failures += 1;
      count(wasGood);
    }
    due = sure ? wait(sinceMs) : null;
  }

  return {
    get ends() {
      return ends;
    },
    /** Says what is wrong with a spawn now; `sweptMs` went into sweeps since the last end. */
    spawned(nowMs: number, sweptMs: number): string | null {
      const last = due;
      due = null;
      spawnMs = nowMs;
      polled = false;
      asked = false;
      if (doubtful) return 'before the Bot API was seen to answer';
      if (ends) return `where the supervisor had to end (${ends.reason})`;
      if (!last) return null;
      const waitedMs = nowMs - last.atMs;
      if (waitedMs < last.leastMs) return `after ${waitedMs} ms, back-off is at least ${last.leastMs} ms`;
      const mostMs = last.mostMs + sweptMs;
      return waitedMs > mostMs ? `after ${waitedMs} ms, back-off and sweeps are at most ${mostMs} ms` : null;
    },
    /** That spawn did not come to life, however late this is reported. */
    stillborn() {
      spawnMs = null;
    },
    polled() {
      polled = true;
    },
    /** A stop, a restart or an ending was asked for: what ends now does so on request. */
    asked(nowMs: number) {
      due = null;
      doubtful = null;
      if (!asked) count(good(nowMs));
      asked = true;
    },
    /** The lease was won: what was before is forgotten. */
    leased() {
      due = null;
      failures = 0;
      lastEndMs = null;
      sure = true;
    },
    /** True when nobody had asked for it. */
    ended(nowMs: number, end: WorkerEnd): boolean {
      if (asked) return false;
      const code = end.signal === null ? end.code! : 128 + constants.signals[end.signal as 'SIGKILL'];
      const failed = end.code !== 0 || end.conflict;
      const wasGood = end.conflict ? false : good(nowMs);
      spawnMs = null;
      if (policy.restart === 'never' || (policy.restart === 'on-failure' && !failed))
        ends = { code, reason: 'policy' };
      else if (end.apiInDoubt && !end.conflict) doubtful = { atMs: nowMs, code, wasGood };
      else counts(nowMs, code, wasGood, nowMs);
      return true;
    },
    /** The Bot API answers: an exit that waited for this does not count where it was out of reach. */
    probed(nowMs: number, wasOut: boolean) {
      const end = doubtful;
      doubtful = null;
      if (!end) return;
      if (wasOut) due = { atMs: nowMs, leastMs: 0, mostMs: 1 };
      else counts(end.atMs, end.code, end.wasGood, nowMs);
    },
  };
}
