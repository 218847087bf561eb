/**
 * Whether a time of day has come in a time zone, once on each date. Called at least every minute, it copes with any jump of the
 * clock: a skipped time comes at the jump, one that comes twice counts the first time. PURE but for the zone rules of Intl.
 */
import type { AlertConfig } from '../config/checks.ts';

/** True once for each date of the zone whose time has come since `startMs`; times are ms since 1970 and may jump. */
export function createDaily(
  { hour, minute, zone }: NonNullable<AlertConfig['digest']>,
  startMs: number,
): (nowMs: number) => boolean {
  const format = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'short' });
  const time = [hour, minute].map((it) => String(it).padStart(2, '0')).join(':');
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
