/** Updates a minute, from the counter in successive documents. Pure. */

interface Sample {
  readonly atMs: number;
  readonly updates: number;
}

/** What the counter of one supervisor's run stood at. */
export interface Counted {
  /** Tells one run of a supervisor from the next; null: none is known. */
  readonly run: string | null;
  /** In the order of time; only the first may be older than the window. */
  readonly samples: readonly Sample[];
}

export interface Rate {
  readonly perMinute: number;
  /** False: reckoned from less than a minute. */
  readonly exact: boolean;
}

export const nothingCounted: Counted = { run: null, samples: [] };

const WINDOW_MS = 60_000;
/** Less tells nothing. */
const KNOWN_AFTER_MS = 10_000;

/** `startedAtMs`: of the run, whose counter began at 0. All times of one clock. */
export function counted(
  before: Counted,
  run: string,
  startedAtMs: number,
  updates: number,
  nowMs: number,
): Counted {
  const last = before.samples.at(-1);
  const isSameRun = before.run === run && last !== undefined && last.updates <= updates;
  const isYoung = startedAtMs <= nowMs && nowMs - startedAtMs < WINDOW_MS;
  const known = isSameRun ? before.samples : isYoung ? [{ atMs: startedAtMs, updates: 0 }] : [];
  // The counter stands still between two samples: those of the same height tell nothing new.
  const samples = known.at(-1)?.updates === updates ? known : [...known, { atMs: nowMs, updates }];
  return { run, samples: samples.slice(firstInWindow(samples, nowMs)) };
}

/** Null: not known yet. */
export function rate({ samples }: Counted, nowMs: number): Rate | null {
  const first = samples[firstInWindow(samples, nowMs)];
  const last = samples.at(-1);
  if (!last || !first) return null;
  const grown = last.updates - first.updates;
  const spanMs = nowMs - first.atMs;
  if (spanMs >= WINDOW_MS) return { perMinute: grown, exact: true };
  if (spanMs < KNOWN_AFTER_MS) return null;
  return { perMinute: Math.round((grown * WINDOW_MS) / spanMs), exact: false };
}

/** The one that was valid when the window began. */
function firstInWindow(samples: readonly Sample[], nowMs: number): number {
  return Math.max(
    0,
    samples.findLastIndex(({ atMs }) => atMs <= nowMs - WINDOW_MS),
  );
}
