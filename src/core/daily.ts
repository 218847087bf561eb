/**
 * The moments of a wall time, day by day, in a time zone: one on each day that the zone has. A time that a day skips (clocks go
 * forward) is the moment of the jump; of one that comes twice it is the first. Pure but for the zone rules of Intl.
 */

export interface Daily {
  readonly hour: number;
  readonly minute: number;
  /** Of the IANA database: `Europe/Berlin`. */
  readonly zone: string;
}

const DAY_MS = 86_400_000;

/** The next one after `afterUnixMs`. */
export function nextDaily({ hour, minute, zone }: Daily, afterUnixMs: number): number {
  const offset = zoneOffset(zone);
  const today = new Date(afterUnixMs + offset(afterUnixMs));
  // Yesterday's too: far from Greenwich a jump may have moved it. The first four days always hold one.
  for (let day = -1; day <= 3; day++) {
    const midnight = Date.UTC(today.getUTCFullYear(), today.getUTCMonth(), today.getUTCDate() + day);
    const at = moment(midnight, (hour * 60 + minute) * 60_000, offset);
    if (at !== null && at > afterUnixMs) return at;
  }
  return afterUnixMs + DAY_MS;
}

/** `midnight`: the date, as if it were one of UTC. Null: this zone has no such day. */
function moment(midnight: number, timeMs: number, offset: (unixMs: number) => number): number | null {
  const wall = midnight + timeMs;
  const early = offset(wall - DAY_MS);
  const late = offset(wall + DAY_MS);
  const candidates = [wall - early, wall - late].filter((at) => at + offset(at) === wall);
  if (candidates.length > 0) return Math.min(...candidates);
  // Skipped: the clock jumps somewhere between the two readings.
  let before = wall - Math.max(early, late);
  let after = wall - Math.min(early, late);
  if (before + offset(before) >= wall) return null;
  while (after - before > 1_000) {
    const middle = before + Math.floor((after - before) / 2_000) * 1_000;
    if (middle + offset(middle) < wall) before = middle;
    else after = middle;
  }
  // A whole day may be skipped (Samoa in 2011).
  return after + offset(after) < midnight + DAY_MS ? after : null;
}

/** How far the zone's clocks are ahead of UTC, ms. */
function zoneOffset(zone: string): (unixMs: number) => number {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    hourCycle: 'h23',
    ...{ year: 'numeric', month: 'numeric', day: 'numeric' },
    ...{ hour: 'numeric', minute: 'numeric', second: 'numeric' },
  });
  return (unixMs) => {
    const whole = Math.floor(unixMs / 1_000) * 1_000;
    const part = Object.fromEntries(
      format.formatToParts(whole).map(({ type, value }) => [type, Number(value)]),
    );
    const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = part;
    return Date.UTC(year, month - 1, day, hour, minute, second) - whole;
  };
}

/** The machine's own zone. */
export function ownZone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';
}
