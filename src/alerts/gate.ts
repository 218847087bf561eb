/**
 * Decides which events become alerts: each kind at most once within the cooldown, further ones counted for the next alert; after a problem
 * "recovered" follows once, when all has been well for a while. And decides when the digest is due. PURE but for its state and Intl's zones.
 */
import type { AlertConfig } from '../config/checks.ts';

/** Name and level of each kind, and whether it `lasts` until a recovery or is `over` at once. */
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

const lasts = (kind: AlertKind): boolean => ALERT_KINDS[kind][2] === 'lasts';

export interface AlertEvent {
  readonly kind: AlertKind;
  /** A sentence without a full stop. */
  readonly text: string;
  /** The next command, or another cure. */
  readonly hint: string | null;
  /** The worker's last lines. */
  readonly lines?: readonly string[];
  /** When it happened; for "recovered": since when there were problems. */
  readonly atMs: number;
}

export interface Alert extends AlertEvent {
  /** How many more events of its kind were held back since the last alert. */
  readonly more: number;
  /** For "recovered" only: the problems that are over. */
  readonly over: readonly AlertKind[];
}

interface Kept {
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
/** Older problems are forgotten. */
const OWED_FOR_MS = 24 * 3_600_000;

/** False for future times, too: a clock that was set back must not silence alerts for long. */
const isWithin = (atMs: unknown, periodMs: number, nowMs: number): boolean =>
  typeof atMs === 'number' && atMs <= nowMs && nowMs - atMs < periodMs;

/** `saved` comes from a file; parts of it that make no sense are ignored. */
export function createAlertGate(cooldownMs: number, saved: unknown, nowMs: number) {
  const before = saved as Partial<Saved> | null;
  const kinds = new Map<AlertKind, Kept>();
  for (const kind of Object.keys(ALERT_KINDS) as AlertKind[]) {
    const { sentAt, held = 0 } = before?.kinds?.[kind] ?? {};
    if (sentAt !== undefined && held >= 0 && isWithin(sentAt, held > 0 ? OWED_FOR_MS : cooldownMs, nowMs))
      kinds.set(kind, { sentAt, held, latest: null });
  }
  /** Problems that were reported since the last "recovered", and the time of the first. */
  let owed: Saved['owed'] = isWithin(before?.owed?.since, OWED_FOR_MS, nowMs) ? before!.owed! : null;
  let wellSince: number | null = null;

  return {
    /** Takes the events since the last call, a few seconds ago, and whether all is well; returns the alerts to send now. */
    step(atMs: number, events: readonly AlertEvent[], isWell: boolean): readonly Alert[] {
      const out: Alert[] = [];
      wellSince = isWell && !events.some(({ kind }) => lasts(kind)) ? (wellSince ?? atMs) : null;
      const hasSettled = wellSince !== null && atMs - wellSince >= SETTLE_MS;
      const cools = (kind: AlertKind) => isWithin(kinds.get(kind)?.sentAt, cooldownMs, atMs);
      const give = (event: AlertEvent, more: number, over: readonly AlertKind[] = []): void => {
        const { kind } = event;
        out.push({ ...event, more, over });
        kinds.set(kind, { sentAt: atMs, held: 0, latest: null });
        // A problem that is reported only when all has been well for a while needs no "recovered".
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
    saved: (): Saved => ({
      kinds: Object.fromEntries([...kinds].map(([kind, { sentAt, held }]) => [kind, { sentAt, held }])),
      owed,
    }),
  };
}

/**
 * True once for each date of the zone whose time has come since `startMs`. Asked at least every minute, it copes with any jump of the
 * clock: a skipped time comes at the jump, one that comes twice counts the first time.
 */
export function createDaily(
  { time, zone }: NonNullable<AlertConfig['digest']>,
  startMs: number,
): (nowMs: number) => boolean {
  const format = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'short' });
  let last = '';
  const isDue = (nowMs: number): boolean => {
    // `2026-11-29 09:00`, so that strings sort by time.
    const [date = '', now = ''] = format.format(nowMs).split(' ');
    if (date <= last || now < time) return false;
    last = date;
    return true;
  };
  isDue(startMs);
  return isDue;
}
