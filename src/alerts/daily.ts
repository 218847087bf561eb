/**
 * Whether a time of day has come in a time zone, once on each date: looked at at least every minute, so that clocks may jump as they like. A time
 * that a day skips comes when the clocks jump, one that a day has twice comes the first time. PURE but for the zone rules of Intl.
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
    // `2026-11-29 09:00`, which sorts as it stands.
    const [date = '', now = ''] = format.format(nowMs).split(' ');
    if (date <= last || now < time) return false;
    last = date;
    return true;
  };
  isDue(startMs);
  return isDue;
}
