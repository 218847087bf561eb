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
  /** When we were kicked, the latest last; at most the last twenty. */
  readonly kicksAtMs: readonly number[];
  readonly kicks: number;
  /** How long our polls lived before they were kicked, beside `kicksAtMs`. */
  readonly livesMs: readonly number[];
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

export interface Rhythm {
  /** Between two kicks, the median. */
  readonly everyMs: number;
  /** From our poll to the kick, the median: how long the other one waits before it polls again, and up to 3 s more. */
  readonly reactionMs: number;
}

export const atPeace: Rivalry = {
  overlap: null,
  polledSinceKick: false,
  calmSinceMs: null,
  incumbent: false,
};

const KICKS_KEPT = 20;
/** A kick so soon after an overlap that seemed over: it was the pause of a slow one. Back-offs of libraries end at 30 s. */
const SAME_WITHIN_MS = 45_000;
const QUIET_MIN_MS = 10_000;
const QUIET_MAX_MS = 90_000;

export type RivalryStep = readonly [Rivalry, readonly RivalrySaying[]];

/** Our poll has been ended by another one after `livedMs`. */
export function kicked(before: Rivalry, atMs: number, livedMs: number, policy: RivalryPolicy): RivalryStep {
  const incumbent = before.incumbent || hasBeenCalm(before, atMs, policy);
  const sayings: RivalrySaying[] = [];
  let overlap = before.overlap;
  if (overlap === null || atMs - lastKick(overlap) > (overlap.over ? SAME_WITHIN_MS : QUIET_MAX_MS)) {
    overlap = { sinceMs: atMs, kicksAtMs: [], kicks: 0, livesMs: [], isRival: false, over: false };
    sayings.push({ what: 'overlap', again: false });
  } else if (overlap.over) {
    overlap = { ...overlap, over: false };
    sayings.push({ what: 'overlap', again: true });
  }
  overlap = {
    ...overlap,
    kicks: overlap.kicks + 1,
    kicksAtMs: [...overlap.kicksAtMs, atMs].slice(-KICKS_KEPT),
    livesMs: [...overlap.livesMs, livedMs].slice(-KICKS_KEPT),
  };
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
  return before.calmSinceMs === null ? before : { ...before, calmSinceMs: null };
}

/** Looks whether an overlap is over; to be called when `quietAtMs` says so. */
export function looked(before: Rivalry, atMs: number, policy: RivalryPolicy): RivalryStep {
  const incumbent = before.incumbent || hasBeenCalm(before, atMs, policy);
  const { overlap } = before;
  const dueMs = quietAtMs(before);
  if (!overlap || dueMs === null || atMs < dueMs || !before.polledSinceKick)
    return [{ ...before, incumbent }, []];
  const lastedMs = lastKick(overlap) - overlap.sinceMs;
  const saying: RivalrySaying = {
    what: 'overlap-over',
    lastedMs,
    kicks: overlap.kicks,
    wasRival: overlap.isRival,
  };
  return [{ ...before, incumbent, overlap: { ...overlap, over: true } }, [saying]];
}

/** When an overlap may be over: after twice its usual pause, at least 10 s. Null: there is none. */
export function quietAtMs({ overlap }: Rivalry): number | null {
  if (!overlap || overlap.over) return null;
  const everyMs = rhythmOf(overlap)?.everyMs ?? 0;
  return lastKick(overlap) + Math.min(QUIET_MAX_MS, Math.max(QUIET_MIN_MS, 2 * everyMs));
}

export function rhythmOf({ kicksAtMs, livesMs }: Overlap): Rhythm | null {
  if (kicksAtMs.length < 2) return null;
  const gaps = kicksAtMs.slice(1).map((atMs, i) => atMs - kicksAtMs[i]!);
  return { everyMs: median(gaps) ?? 0, reactionMs: median(livesMs) ?? 0 };
}

function hasBeenCalm({ calmSinceMs }: Rivalry, atMs: number, { incumbentAfterMs }: RivalryPolicy): boolean {
  return calmSinceMs !== null && atMs - calmSinceMs >= incumbentAfterMs;
}

function lastKick({ kicksAtMs, sinceMs }: Overlap): number {
  return kicksAtMs.at(-1) ?? sinceMs;
}

/** The upper one of two in the middle; null of none. */
export function median(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? null;
}

interface Band {
  /** Delays below this, milliseconds. */
  readonly belowMs: number;
  readonly hint: string;
}

const BANDS: readonly Band[] = [
  { belowMs: 150, hint: 'as node-telegram-bot-api (0.x, 1.x) does, or a hand-written loop' },
  {
    belowMs: 350,
    hint: 'as pyTelegramBotAPI and node-telegram-bot-api (0.x, 1.x) do, or a hand-written loop',
  },
  { belowMs: 900, hint: 'as pyTelegramBotAPI does, or a hand-written loop' },
  { belowMs: 2_700, hint: 'as python-telegram-bot and aiogram do, or a hand-written loop' },
  {
    belowMs: Number.POSITIVE_INFINITY,
    hint: 'as a hand-written loop does, a library that backs off, or a program that ends at the conflict and is started again',
  },
];

/** A clause that goes on after "it polls again … after a 409, ". */
export function hintOfRetry(retryMs: number): string {
  return (BANDS.find(({ belowMs }) => retryMs < belowMs) ?? BANDS.at(-1)!).hint;
}
