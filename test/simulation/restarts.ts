/**
 * The judge's own account of a supervisor's restarts: which ends of a worker nobody asked for, how long the back-off has to be,
 * when it is a crash loop. Written from the contract, not from the table.
 */
import { constants } from 'node:os';
import type { Policy } from '../../src/core/supervisor.ts';
import type { Ended } from './machine.ts';

export interface Restarts {
  /** The worker's code, once it has to end the supervisor. */
  readonly ends: { readonly code: number; readonly reason: 'policy' | 'crash loop' } | null;
  /** Says what is wrong with a spawn now; `sweptMs` went into sweeps since the last end. */
  spawned(nowMs: number, sweptMs: number): string | null;
  /** That spawn did not come to life, however late this is reported. */
  stillborn(): void;
  polled(): void;
  /** A stop, a restart or an ending was asked for: what ends now does so on request. */
  asked(nowMs: number): void;
  /** The lease was won: what was before is forgotten. */
  leased(): void;
  /** True when nobody had asked for it. */
  ended(nowMs: number, end: Ended & { readonly conflict: boolean }): boolean;
}

export function createRestarts(policy: Policy): Restarts {
  const exitsAtMs: number[] = [];
  let spawnMs: number | null = null;
  let polled = false;
  let asked = false;
  let failures = 0;
  /** The last end that nobody had asked for: after five minutes the next is a first one again. */
  let lastEndMs: number | null = null;
  /** False after an end in the very moment in which a run became good: either order of the two is right. */
  let sure = true;
  /** What has to follow the last end. */
  let due: { atMs: number; leastMs: number; mostMs: number } | null = null;
  let ends: Restarts['ends'] = null;

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

  return {
    get ends() {
      return ends;
    },
    spawned(nowMs, sweptMs) {
      const last = due;
      due = null;
      spawnMs = nowMs;
      polled = false;
      asked = false;
      if (ends) return `where the supervisor had to end (${ends.reason})`;
      if (!last) return null;
      const waitedMs = nowMs - last.atMs;
      if (waitedMs < last.leastMs) return `after ${waitedMs} ms, back-off is at least ${last.leastMs} ms`;
      const mostMs = last.mostMs + sweptMs;
      return waitedMs > mostMs ? `after ${waitedMs} ms, back-off and sweeps are at most ${mostMs} ms` : null;
    },
    stillborn() {
      spawnMs = null;
    },
    polled() {
      polled = true;
    },
    asked(nowMs) {
      due = null;
      if (!asked) count(good(nowMs));
      asked = true;
    },
    leased() {
      due = null;
      failures = 0;
      lastEndMs = null;
      sure = true;
    },
    ended(nowMs, end) {
      if (asked) return false;
      exitsAtMs.push(nowMs);
      const recent = exitsAtMs.filter((at) => at > nowMs - policy.maxRestartsPeriodMs).length;
      const code = end.signal === null ? end.code! : 128 + constants.signals[end.signal as 'SIGKILL'];
      const failed = end.code !== 0 || end.conflict;
      const wasGood = end.conflict ? false : good(nowMs);
      const isFirst = lastEndMs === null || nowMs - lastEndMs > 300_000;
      lastEndMs = nowMs;
      spawnMs = null;
      if (policy.restart === 'never' || (policy.restart === 'on-failure' && !failed)) {
        ends = { code, reason: 'policy' };
      } else if (recent > policy.maxRestarts) {
        ends = { code, reason: 'crash loop' };
      } else {
        if (isFirst) {
          failures = 0;
          sure = true;
        } else {
          failures += 1;
          count(wasGood);
        }
        due = sure ? wait(nowMs) : null;
      }
      return true;
    },
  };
}
