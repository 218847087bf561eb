/**
 * Which events become alerts: each kind at most once within the cooldown; what happens meanwhile is counted and told with the next one.
 * After a problem "recovered" comes once, when all has been well for a while. PURE but for its own state: times are given, ms since
 * 1970. Memory is bounded by the number of kinds.
 */

/** The name and level of each kind, and whether it `lasts` until a recovery is told or is `over` once it has been told. */
export const ALERT_KINDS = {
  'crash-loop': ['crash loop', 'problem', 'lasts'],
  rival: ['rival', 'problem', 'lasts'],
  'stray-stopped': ['stray stopped', 'notice', 'over'],
  'stray-back': ['stray that stays', 'problem', 'lasts'],
  'webhook-set': ['webhook set again', 'problem', 'lasts'],
  deaf: ['deaf worker', 'problem', 'lasts'],
  stolen: ['updates taken', 'problem', 'over'],
  'lease-taken': ['lease taken over', 'notice', 'over'],
  'lease-lost': ['lease lost', 'problem', 'lasts'],
  ended: ['ended', 'problem', 'lasts'],
  recovered: ['recovered', 'good', 'over'],
} as const;
export type AlertKind = keyof typeof ALERT_KINDS;

/** Something to recover from. */
export const lasts = (kind: AlertKind): boolean => ALERT_KINDS[kind][2] === 'lasts';

export interface AlertEvent {
  readonly kind: AlertKind;
  /** A sentence without its full stop. */
  readonly text: string;
  /** The next command, or another cure. */
  readonly hint: string | null;
  /** The worker's last lines. */
  readonly lines?: readonly string[];
  /** When it happened; of "recovered": since when there were problems. */
  readonly atMs: number;
}

export interface Alert extends AlertEvent {
  /** How many more of its kind were kept back since the last alert of it. */
  readonly more: number;
  /** The problems that are over; only "recovered" has any. */
  readonly over: readonly AlertKind[];
}

interface Kept {
  /** When an alert of this kind was last given out. */
  sentAt: number;
  held: number;
  latest: AlertEvent | null;
}

/** The state that is saved, as JSON, for the next supervisor of this bot. */
interface Saved {
  readonly kinds: Readonly<Partial<Record<AlertKind, Pick<Kept, 'sentAt' | 'held'>>>>;
  readonly owed: { readonly kinds: readonly AlertKind[]; readonly since: number } | null;
}

const SETTLE_MS = 10_000;
/** A problem that is older has been forgotten by everybody. */
const OWED_FOR_MS = 24 * 3_600_000;

/** False also for a time to come: a clock that was set back must not silence alerts for long. */
const isWithin = (atMs: unknown, periodMs: number, nowMs: number): boolean =>
  typeof atMs === 'number' && atMs <= nowMs && nowMs - atMs < periodMs;

/** `saved` is what a file says: what makes no sense in it is passed over. */
export function createAlertGate(cooldownMs: number, saved: unknown, nowMs: number) {
  const before = saved as Partial<Saved> | null;
  const kinds = new Map<AlertKind, Kept>();
  for (const kind of Object.keys(ALERT_KINDS) as AlertKind[]) {
    const { sentAt, held = 0 } = before?.kinds?.[kind] ?? {};
    if (sentAt !== undefined && held >= 0 && isWithin(sentAt, held > 0 ? OWED_FOR_MS : cooldownMs, nowMs))
      kinds.set(kind, { sentAt, held, latest: null });
  }
  /** Problems that were told of since the last "recovered", and when the first. */
  let owed: Saved['owed'] = isWithin(before?.owed?.since, OWED_FOR_MS, nowMs) ? before!.owed! : null;
  let wellSince: number | null = null;

  return {
    /** Takes what has happened since the last call and whether the bot is polled undisturbed; returns the alerts to send now. */
    step(atMs: number, events: readonly AlertEvent[], isWell: boolean): readonly Alert[] {
      const out: Alert[] = [];
      wellSince = isWell && !events.some(({ kind }) => lasts(kind)) ? (wellSince ?? atMs) : null;
      const hasSettled = wellSince !== null && atMs - wellSince >= SETTLE_MS;
      const cools = (kind: AlertKind) => isWithin(kinds.get(kind)?.sentAt, cooldownMs, atMs);
      const give = (event: AlertEvent, more: number, over: readonly AlertKind[] = []): void => {
        const { kind } = event;
        out.push({ ...event, more, over });
        kinds.set(kind, { sentAt: atMs, held: 0, latest: null });
        // A problem that is told late, when all has been well for a while already, needs no "recovered".
        if (lasts(kind) && !hasSettled)
          owed = { kinds: [...new Set([...(owed?.kinds ?? []), kind])], since: owed?.since ?? atMs };
      };
      for (const event of events) {
        const kept = kinds.get(event.kind);
        if (kept && cools(event.kind)) {
          kept.held += 1;
          kept.latest = event;
        } else give(event, kept?.held ?? 0);
      }
      for (const { latest, held } of [...kinds.values()])
        if (latest && !cools(latest.kind)) give(latest, held - 1);
      if (owed && hasSettled && !cools('recovered')) {
        const { kinds: over, since } = owed;
        owed = null;
        give({ kind: 'recovered', text: '', hint: null, atMs: since }, 0, over);
      }
      return out;
    },
    /** When to step again though nothing happens; null: not before something does. */
    dueMs(): number | null {
      const due = [...kinds.values()].flatMap(({ latest, sentAt }) => (latest ? [sentAt + cooldownMs] : []));
      if (owed && wellSince !== null)
        due.push(Math.max(wellSince + SETTLE_MS, (kinds.get('recovered')?.sentAt ?? 0) + cooldownMs));
      return due.length === 0 ? null : Math.min(...due);
    },
    /** A problem was told and "recovered" not yet: it is worth looking whether all is well. */
    isOwed: () => owed !== null,
    saved: (): Saved => ({
      kinds: Object.fromEntries([...kinds].map(([kind, { sentAt, held }]) => [kind, { sentAt, held }])),
      owed,
    }),
  };
}
