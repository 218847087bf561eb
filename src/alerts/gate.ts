/**
 * Which events become alerts: each kind at most once within the cooldown; what happens meanwhile is counted and told with the next one.
 * After a problem "recovered" comes once, when all has been well for a while. PURE but for its own state: times are given, ms since
 * 1970. Memory is bounded by the number of kinds.
 */

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

/** A stray that was stopped, updates that are gone and a lease that was taken over are news: there is nothing to recover from. */
const PROBLEMS: ReadonlySet<AlertKind> = new Set([
  'crash-loop',
  'rival',
  'stray-back',
  'webhook-set',
  'deaf',
  'lease-lost',
  'ended',
]);

export interface AlertEvent {
  readonly kind: AlertKind;
  /** A sentence without its full stop. */
  readonly text: string;
  /** The next command, or another cure. */
  readonly hint: string | null;
  /** The worker's last lines. */
  readonly lines: readonly string[];
  /** When it happened; of "recovered": since when there were problems. */
  readonly atMs: number;
}

export interface Alert extends AlertEvent {
  /** How many more of its kind were kept back since the last alert of it. */
  readonly more: number;
  /** Within how long they came. */
  readonly moreInMs: number;
  /** The problems that are over; only "recovered" has any. */
  readonly over: readonly AlertKind[];
}

interface Kept {
  /** When an alert of this kind was last given out. */
  sentAt: number;
  held: number;
  heldSince: number;
  latest: AlertEvent | null;
}

export interface AlertGate {
  /** Takes what has happened since the last call and whether the bot is polled undisturbed; returns the alerts to send now. */
  step(nowMs: number, events: readonly AlertEvent[], isWell: boolean): readonly Alert[];
  /** When to step again though nothing happens; null: not before something does. */
  dueMs(): number | null;
  /** A problem was told and "recovered" not yet: it is worth looking whether all is well. */
  isOwed(): boolean;
  /** The state that a supervisor which is started again must know, as JSON. */
  saved(): unknown;
}

const SETTLE_MS = 10_000;
/** A problem that is older has been forgotten by everybody. */
const OWED_FOR_MS = 24 * 3_600_000;

/** `saved` is what a file says: anything in it that makes no sense is passed over. */
export function createAlertGate(cooldownMs: number, saved: unknown, nowMs: number): AlertGate {
  const kinds = new Map<AlertKind, Kept>();
  /** Problems that were told of since the last "recovered", and when the first. */
  let owed: { readonly kinds: AlertKind[]; readonly since: number } | null = null;
  let wellSince: number | null = null;
  restore();

  function restore(): void {
    const file = (saved ?? {}) as { kinds?: Record<string, unknown>; owed?: Record<string, unknown> | null };
    for (const kind of ALERT_KINDS) {
      const { sentAt, held } = (file.kinds?.[kind] ?? {}) as { sentAt?: unknown; held?: unknown };
      const count = Number.isSafeInteger(held) ? Math.max(0, held as number) : 0;
      if (isWithin(sentAt, count > 0 ? OWED_FOR_MS : cooldownMs, nowMs))
        kinds.set(kind, { sentAt, held: count, heldSince: sentAt, latest: null });
    }
    const { kinds: of, since } = file.owed ?? {};
    const told = Array.isArray(of) ? ALERT_KINDS.filter((it) => of.includes(it)) : [];
    if (told.length > 0 && isWithin(since, OWED_FOR_MS, nowMs)) owed = { kinds: told, since };
  }

  return {
    step(atMs, events, isWell) {
      const out: Alert[] = [];
      wellSince = isWell ? (wellSince ?? atMs) : null;
      const cools = (kind: AlertKind) => isWithin(kinds.get(kind)?.sentAt, cooldownMs, atMs);
      const hasSettled = () => wellSince !== null && atMs - wellSince >= SETTLE_MS;
      const give = (
        event: AlertEvent,
        more: number,
        owes: boolean,
        over: readonly AlertKind[] = [],
      ): void => {
        const { kind } = event;
        out.push({ ...event, more, moreInMs: more > 0 ? atMs - kinds.get(kind)!.heldSince : 0, over });
        kinds.set(kind, { sentAt: atMs, held: 0, heldSince: atMs, latest: null });
        if (!owes || !PROBLEMS.has(kind)) return;
        owed ??= { kinds: [], since: atMs };
        if (!owed.kinds.includes(kind)) owed.kinds.push(kind);
      };
      for (const event of events) {
        const kept = kinds.get(event.kind);
        if (PROBLEMS.has(event.kind)) wellSince = null;
        if (kept && cools(event.kind)) {
          if (kept.held === 0) kept.heldSince = atMs;
          kept.held += 1;
          kept.latest = event;
        } else give(event, kept?.held ?? 0, true);
      }
      for (const { latest, held } of [...kinds.values()]) {
        // A problem that is told late, when all has been well for a while already, needs no "recovered".
        if (latest && !cools(latest.kind)) give(latest, held - 1, !hasSettled());
      }
      if (owed && hasSettled() && !cools('recovered')) {
        const { kinds: over, since } = owed;
        owed = null;
        give({ kind: 'recovered', text: '', hint: null, lines: [], atMs: since }, 0, false, over);
      }
      return out;
    },
    dueMs() {
      const due = [...kinds.values()].flatMap(({ latest, sentAt }) => (latest ? [sentAt + cooldownMs] : []));
      if (owed && wellSince !== null)
        due.push(Math.max(wellSince + SETTLE_MS, (kinds.get('recovered')?.sentAt ?? 0) + cooldownMs));
      return due.length === 0 ? null : Math.min(...due);
    },
    isOwed: () => owed !== null,
    saved: () => ({
      kinds: Object.fromEntries([...kinds].map(([kind, { sentAt, held }]) => [kind, { sentAt, held }])),
      owed,
    }),
  };
}

/** False also for a time to come: a clock that was set back must not silence alerts for long. */
function isWithin(atMs: unknown, periodMs: number, nowMs: number): atMs is number {
  return typeof atMs === 'number' && atMs <= nowMs && nowMs - atMs < periodMs;
}
