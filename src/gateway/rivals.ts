/**
 * What repeated 409s say about another poller: an overlap that ends by itself (a deploy, an old poll that lingers), or a rival
 * that stays; and who gives way then. Pure: time comes in as ms, monotonic.
 *
 * Source of the rhythm: the one that is aborted retries after its own wait and aborts us in turn, and the server holds back
 * each second 409 of a fight by 3 s (tdlib/telegram-bot-api Client::fail_query_conflict).
 */
export interface RivalryPolicy {
  /** An overlap that lasts longer than this is a rival. */
  readonly rivalAfterMs: number;
  /** A run that has polled so long without a conflict is an incumbent, and stays one. */
  readonly incumbentAfterMs: number;
  /** Null: a newcomer yields, an incumbent insists. */
  readonly onRival: 'yield' | 'insist' | null;
}

export interface Overlap {
  readonly sinceMs: number;
  readonly lastKickMs: number;
  readonly kicks: number;
  /** How long our polls lived that were kicked, all but the first, which may have been open for long before. */
  readonly livedMs: number;
  readonly isRival: boolean;
  /** Quiet, and said to be over; a kick soon after opens it again. */
  readonly over: boolean;
}

export interface Rivalry {
  readonly overlap: Overlap | null;
  /** A poll has gone undisturbed since the last kick. */
  readonly polledSinceKick: boolean;
  /** Since when polls go undisturbed; null while they don't. */
  readonly calmSinceMs: number | null;
  readonly incumbent: boolean;
}

export type RivalrySaying =
  | { readonly what: 'overlap'; readonly again: boolean }
  | {
      readonly what: 'overlap-over';
      readonly lastedMs: number;
      readonly kicks: number;
      readonly wasRival: boolean;
    }
  | {
      readonly what: 'rival';
      readonly kicks: number;
      readonly lastedMs: number;
      readonly rhythm: Rhythm | null;
      readonly yields: boolean;
      readonly incumbent: boolean;
    };

/** Means. */
export interface Rhythm {
  /** Between two kicks. */
  readonly everyMs: number;
  /** From our poll to the kick: how long the other one waits before it polls again, and up to 3 s more. */
  readonly reactionMs: number;
}

export const atPeace: Rivalry = {
  overlap: null,
  polledSinceKick: false,
  calmSinceMs: null,
  incumbent: false,
};

/** A kick so soon after an overlap that seemed over: it was the pause of a slow one. Back-offs of libraries end at 30 s. */
const SAME_WITHIN_MS = 45_000;
const QUIET_MIN_MS = 10_000;
const QUIET_MAX_MS = 90_000;

export type RivalryStep = readonly [Rivalry, readonly RivalrySaying[]];

/** Our poll has been ended by another one after `livedMs`. */
export function kicked(before: Rivalry, atMs: number, livedMs: number, policy: RivalryPolicy): RivalryStep {
  const incumbent = isIncumbent(before, atMs, policy);
  const sayings: RivalrySaying[] = [];
  let { overlap } = before;
  if (overlap === null || atMs - overlap.lastKickMs > (overlap.over ? SAME_WITHIN_MS : QUIET_MAX_MS)) {
    overlap = { sinceMs: atMs, lastKickMs: atMs, kicks: 1, livedMs: 0, isRival: false, over: false };
    sayings.push({ what: 'overlap', again: false });
  } else {
    if (overlap.over) sayings.push({ what: 'overlap', again: true });
    const { kicks } = overlap;
    overlap = {
      ...overlap,
      lastKickMs: atMs,
      kicks: kicks + 1,
      livedMs: overlap.livedMs + livedMs,
      over: false,
    };
  }
  if (!overlap.isRival && atMs - overlap.sinceMs >= policy.rivalAfterMs) {
    overlap = { ...overlap, isRival: true };
    sayings.push({
      what: 'rival',
      kicks: overlap.kicks,
      lastedMs: atMs - overlap.sinceMs,
      rhythm: rhythmOf(overlap),
      yields: policy.onRival === 'yield' || (policy.onRival === null && !incumbent),
      incumbent,
    });
  }
  return [{ overlap, polledSinceKick: false, calmSinceMs: null, incumbent }, sayings];
}

/**
 * A poll of ours goes undisturbed so far. `surely`: it was answered, or has waited for longer than the server holds back a
 * 409; before that it may have been taken already.
 */
export function undisturbed(before: Rivalry, atMs: number, surely: boolean): Rivalry {
  return {
    ...before,
    polledSinceKick: before.polledSinceKick || surely,
    calmSinceMs: before.calmSinceMs ?? atMs,
  };
}

/** Polling stands still for another reason (an outage): that is no calm. */
export function interrupted(before: Rivalry): Rivalry {
  return { ...before, calmSinceMs: null };
}

/** Looks whether an overlap is over; to be called when `quietAtMs` says so. */
export function looked(before: Rivalry, atMs: number, policy: RivalryPolicy): RivalryStep {
  const next = { ...before, incumbent: isIncumbent(before, atMs, policy) };
  const { overlap } = before;
  const dueMs = quietAtMs(before);
  if (!overlap || dueMs === null || atMs < dueMs || !before.polledSinceKick) return [next, []];
  const { sinceMs, lastKickMs, kicks, isRival } = overlap;
  const lastedMs = lastKickMs - sinceMs;
  const saying = { what: 'overlap-over', lastedMs, kicks, wasRival: isRival } as const;
  return [{ ...next, overlap: { ...overlap, over: true } }, [saying]];
}

/** When an overlap may be over: after twice its usual pause, at least 10 s. Null: there is none. */
export function quietAtMs({ overlap }: Rivalry): number | null {
  if (!overlap || overlap.over) return null;
  const everyMs = rhythmOf(overlap)?.everyMs ?? 0;
  return overlap.lastKickMs + Math.min(QUIET_MAX_MS, Math.max(QUIET_MIN_MS, 2 * everyMs));
}

export function rhythmOf({ sinceMs, lastKickMs, kicks, livedMs }: Overlap): Rhythm | null {
  if (kicks < 2) return null;
  return { everyMs: (lastKickMs - sinceMs) / (kicks - 1), reactionMs: livedMs / (kicks - 1) };
}

function isIncumbent({ incumbent, calmSinceMs }: Rivalry, atMs: number, policy: RivalryPolicy): boolean {
  return incumbent || (calmSinceMs !== null && atMs - calmSinceMs >= policy.incumbentAfterMs);
}
