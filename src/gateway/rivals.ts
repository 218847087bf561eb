/**
 * Decides what repeated 409s mean: an overlap that ends by itself (a deploy, an old poll that lingers), or a rival that stays; and which side
 * gives way then. The rhythm comes from the poller that we abort, which retries after its own wait and aborts us in turn, and from the server,
 * which delays every second 409 by 3 s (tdlib/telegram-bot-api Client::fail_query_conflict). Pure: times are given, monotonic, in ms.
 */
export interface RivalryPolicy {
  /** An overlap that lasts longer than this is a rival. */
  readonly rivalAfterMs: number;
  /** A run that has polled this long without a conflict is an incumbent from then on. */
  readonly incumbentAfterMs: number;
  /** Null: a newcomer yields, an incumbent insists. */
  readonly onRival: 'yield' | 'insist' | null;
}

interface Overlap {
  readonly sinceMs: number;
  readonly lastKickMs: number;
  readonly kicks: number;
  /** How long our kicked polls had been open, without the first, which may have been open for long. */
  readonly livedMs: number;
  readonly isRival: boolean;
  /** It is quiet and was reported as over; a kick soon after reopens it. */
  readonly over: boolean;
}

export type Rivalry = Readonly<typeof atPeace>;

export const atPeace = {
  overlap: null as Overlap | null,
  /** A poll has been undisturbed since the last kick. */
  polledSinceKick: false,
  /** Since when polls are undisturbed; null while they are not. */
  calmSinceMs: null as number | null,
  incumbent: false,
};

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
  readonly everyMs: number;
  /** From our poll to the kick: how long the other poller waits before it polls again, plus up to 3 s. */
  readonly reactionMs: number;
}

/** A kick within this time continues an overlap that seemed over: back-offs of libraries reach 30 s. */
const SAME_WITHIN_MS = 45_000;
const QUIET_MIN_MS = 10_000;
const QUIET_MAX_MS = 90_000;

export type RivalryStep = readonly [Rivalry, readonly RivalrySaying[]];

/** Another poll has ended ours after `livedMs`. */
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
 * Our poll is undisturbed so far. `surely`: it was answered, or has waited for longer than the server holds back a 409; before
 * that, another poll may have ended it already.
 */
export function undisturbed(before: Rivalry, atMs: number, surely: boolean): Rivalry {
  const { polledSinceKick, calmSinceMs } = before;
  return { ...before, polledSinceKick: polledSinceKick || surely, calmSinceMs: calmSinceMs ?? atMs };
}

/** Polling stands still for another reason (an outage), which does not count as calm. */
export function interrupted(before: Rivalry): Rivalry {
  return { ...before, calmSinceMs: null };
}

/** Looks whether an overlap is over; to be called at `quietAtMs`. */
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

function rhythmOf({ sinceMs, lastKickMs, kicks, livedMs }: Overlap): Rhythm | null {
  if (kicks < 2) return null;
  return { everyMs: (lastKickMs - sinceMs) / (kicks - 1), reactionMs: livedMs / (kicks - 1) };
}

function isIncumbent({ incumbent, calmSinceMs }: Rivalry, atMs: number, policy: RivalryPolicy): boolean {
  return incumbent || (calmSinceMs !== null && atMs - calmSinceMs >= policy.incumbentAfterMs);
}
