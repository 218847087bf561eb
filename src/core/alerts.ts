/**
 * Which happenings become alerts: each kind at most once within the cooldown, what happens meanwhile is counted and told with the
 * next one, and "recovered" comes once after a problem, when all has been well for a while. Pure; times are ms of one clock that
 * only rises. Memory is bounded by the number of kinds.
 */

/** What may be told. Those of PROBLEMS are owed a "recovered". */
export const ALERT_KINDS = [
  'crash-loop',
  'rival',
  'stray-stopped',
  'stray-back',
  'webhook-set',
  'deaf',
  'stolen',
  'lease-taken',
  'lease-lost',
  'ended',
  'recovered',
] as const;
export type AlertKind = (typeof ALERT_KINDS)[number];

/** A stray that was stopped, updates that are gone and a lease that was taken over are news, and over. */
const PROBLEMS: ReadonlySet<AlertKind> = new Set([
  'crash-loop',
  'rival',
  'stray-back',
  'webhook-set',
  'deaf',
  'lease-lost',
  'ended',
]);

/** What has happened, in words. */
export interface Happening {
  readonly kind: AlertKind;
  /** One sentence, without an end. */
  readonly text: string;
  /** The next command, or another cure. */
  readonly hint: string | null;
  /** The worker's last lines. */
  readonly lines: readonly string[];
  /** Since when, or when; ms since 1970. */
  readonly atUnixMs: number;
}

export interface Alert extends Happening {
  /** How many more of its kind were kept back since the last alert of it. */
  readonly more: number;
  /** Within how long they came. */
  readonly moreInMs: number;
}

interface Kept {
  /** When an alert of this kind was last given out. */
  readonly sentAtMs: number;
  readonly held: number;
  readonly heldSinceMs: number;
  readonly latest: Happening | null;
}

export interface Alerts {
  readonly kinds: { readonly [K in AlertKind]?: Kept };
  /** Problems that were told of since the last "recovered", the first one's time. */
  readonly owed: { readonly kinds: readonly AlertKind[]; readonly sinceMs: number } | null;
  readonly wellSinceMs: number | null;
}

export interface AlertPolicy {
  readonly cooldownMs: number;
  /** How long all must have been well. */
  readonly settleMs: number;
}

export const SETTLE_MS = 10_000;

export const noAlerts: Alerts = { kinds: {}, owed: null, wellSinceMs: null };

export interface AlertEvent {
  readonly atMs: number;
  readonly unixMs: number;
  readonly happenings: readonly Happening[];
  /** The worker polls, and nothing is in its way. */
  readonly well: boolean;
}

/** Happenings and a look at whether all is well: the alerts to send now. To be called at `dueMs`, too, and while one is owed. */
export function stepAlerts(
  before: Alerts,
  event: AlertEvent,
  policy: AlertPolicy,
): readonly [Alerts, readonly Alert[]] {
  const { atMs, well } = event;
  const kinds: { [K in AlertKind]?: Kept } = { ...before.kinds };
  let { owed } = before;
  let wellSinceMs = well ? (before.wellSinceMs ?? atMs) : null;
  const out: Alert[] = [];
  const cools = (kind: AlertKind) =>
    atMs - (kinds[kind]?.sentAtMs ?? Number.NEGATIVE_INFINITY) < policy.cooldownMs;
  const give = (happening: Happening, more: number, owes: boolean) => {
    const { kind } = happening;
    const sinceMs = kinds[kind]?.heldSinceMs ?? atMs;
    out.push({ ...happening, more, moreInMs: more > 0 ? atMs - sinceMs : 0 });
    kinds[kind] = { sentAtMs: atMs, held: 0, heldSinceMs: atMs, latest: null };
    if (!owes || !PROBLEMS.has(kind)) return;
    const told = owed?.kinds ?? [];
    owed = { kinds: told.includes(kind) ? told : [...told, kind], sinceMs: owed?.sinceMs ?? atMs };
  };

  for (const happening of event.happenings) {
    const { kind } = happening;
    const kept = kinds[kind];
    if (PROBLEMS.has(kind)) wellSinceMs = null;
    if (kept && cools(kind)) {
      const heldSinceMs = kept.held === 0 ? atMs : kept.heldSinceMs;
      kinds[kind] = { ...kept, held: kept.held + 1, heldSinceMs, latest: happening };
    } else give(happening, kept?.held ?? 0, true);
  }
  for (const kind of ALERT_KINDS) {
    const kept = kinds[kind];
    // Told late; what has been well for a while since then needs no "recovered".
    const settled = wellSinceMs !== null && atMs - wellSinceMs >= policy.settleMs;
    if (kept?.latest && !cools(kind)) give(kept.latest, kept.held - 1, !settled);
  }
  if (owed && wellSinceMs !== null && atMs - wellSinceMs >= policy.settleMs && !cools('recovered')) {
    const { kinds: over, sinceMs } = owed;
    owed = null;
    give(recovered(over, event.unixMs - (atMs - sinceMs)), 0, false);
  }
  return [{ kinds, owed, wellSinceMs }, out];
}

/** When to look again though nothing happens; null: not before something does. */
export function alertsDueMs({ kinds, owed, wellSinceMs }: Alerts, policy: AlertPolicy): number | null {
  const due = ALERT_KINDS.flatMap((kind) => {
    const kept = kinds[kind];
    return kept?.latest ? [kept.sentAtMs + policy.cooldownMs] : [];
  });
  if (owed && wellSinceMs !== null) {
    const sentAtMs = kinds.recovered?.sentAtMs ?? Number.NEGATIVE_INFINITY;
    due.push(Math.max(wellSinceMs + policy.settleMs, sentAtMs + policy.cooldownMs));
  }
  return due.length === 0 ? null : Math.min(...due);
}

/** Happenings that no alert has told of yet. */
export function heldBack({ kinds }: Alerts): number {
  return ALERT_KINDS.reduce((sum, kind) => sum + (kinds[kind]?.held ?? 0), 0);
}

const CALLED: Readonly<Record<AlertKind, string>> = {
  'crash-loop': 'crash loop',
  rival: 'rival',
  'stray-stopped': 'stray stopped',
  'stray-back': 'stray that stays',
  'webhook-set': 'webhook set again',
  deaf: 'deaf worker',
  stolen: 'updates taken',
  'lease-taken': 'lease taken over',
  'lease-lost': 'lease lost',
  ended: 'ended',
  recovered: 'recovered',
};

export function alertName(kind: AlertKind): string {
  return CALLED[kind];
}

function recovered(over: readonly AlertKind[], sinceUnixMs: number): Happening {
  return {
    kind: 'recovered',
    text: `all is well again after: ${over.map(alertName).join(', ')}`,
    hint: null,
    lines: [],
    atUnixMs: sinceUnixMs,
  };
}

/** What outlives a supervisor, so that one that is started again and again does not tell the same each time. Unix times. */
export interface SavedAlerts {
  readonly kinds: { readonly [kind: string]: { readonly sentAt: number; readonly held: number } };
  readonly owed: { readonly kinds: readonly string[]; readonly since: number } | null;
}

/** A problem that is older has been forgotten by everybody. */
const OWED_FOR_MS = 24 * 3_600_000;

export function saveAlerts({ kinds, owed }: Alerts, nowMs: number, unixMs: number): SavedAlerts {
  const unix = (atMs: number) => Math.round(unixMs - (nowMs - atMs));
  return {
    kinds: Object.fromEntries(
      Object.entries(kinds).map(([kind, { sentAtMs, held }]) => [kind, { sentAt: unix(sentAtMs), held }]),
    ),
    owed: owed && { kinds: owed.kinds, since: unix(owed.sinceMs) },
  };
}

/** Of what a file says; anything in it that makes no sense is passed over. */
export function restoreAlerts(saved: unknown, nowMs: number, unixMs: number, policy: AlertPolicy): Alerts {
  const { kinds, owed } = (saved ?? {}) as {
    kinds?: Record<string, unknown>;
    owed?: Record<string, unknown> | null;
  };
  const ageOf = (at: unknown) => (typeof at === 'number' ? unixMs - at : Number.NaN);
  const restored: { [K in AlertKind]?: Kept } = {};
  for (const kind of ALERT_KINDS) {
    const { sentAt, held } = (kinds?.[kind] ?? {}) as { sentAt?: unknown; held?: unknown };
    const ageMs = ageOf(sentAt);
    const count = Number.isSafeInteger(held) ? Math.max(0, held as number) : 0;
    // A clock that was set back must not silence alerts for long.
    if (!(ageMs >= 0 && ageMs < (count > 0 ? OWED_FOR_MS : policy.cooldownMs))) continue;
    const sentAtMs = nowMs - ageMs;
    restored[kind] = { sentAtMs, held: count, heldSinceMs: sentAtMs, latest: null };
  }
  const ageMs = ageOf(owed?.since);
  const owedKinds = Array.isArray(owed?.kinds)
    ? ALERT_KINDS.filter((it) => (owed.kinds as unknown[]).includes(it))
    : [];
  const isOwed = ageMs >= 0 && ageMs < OWED_FOR_MS && owedKinds.length > 0;
  return {
    kinds: restored,
    owed: isOwed ? { kinds: owedKinds, sinceMs: nowMs - ageMs } : null,
    wellSinceMs: null,
  };
}
