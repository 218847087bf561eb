/**
 * Times and rates as people type them: `15s`, `500ms`, `1m30s`, `MIN,MAX`, `N/PERIOD`. A number alone is seconds, as with
 * systemd. Everything becomes whole milliseconds; zero is refused, and so is what a timer of Node cannot hold.
 */
import { type Parsed, parsed, unparsed } from './parsed.ts';

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Timers fire at once beyond 2^31-1 ms; 24 days stay below it. */
const LONGEST_MS = 24 * 86_400_000;

export const DURATION_ACCEPTED = 'a time such as 500ms, 15s, 1m30s, 2h (a number alone is seconds)';

export interface DurationRange {
  readonly minMs: number;
  readonly maxMs: number;
}

export interface Rate {
  readonly count: number;
  readonly periodMs: number;
}

/** `1m30s` → 90000. */
export function parseDuration(text: string): Parsed<number> {
  const trimmed = text.trim();
  if (trimmed === '') return unparsed('it is empty');
  if (/^-\s*[\d.]/.test(trimmed)) return unparsed('it is negative');
  const seconds = /^\d+(?:\.\d+)?$/.test(trimmed);
  if (!seconds && !/^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/.test(trimmed)) {
    const unit = /^\d+(?:\.\d+)?\s*([a-zA-Z]+)$/.exec(trimmed)?.[1];
    return unparsed(unit && !Object.hasOwn(UNIT_MS, unit) ? `${unit} is no unit` : 'it is not a time');
  }
  let ms = 0;
  for (const [, amount, unit] of trimmed.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)?/g)) {
    ms += Number(amount) * UNIT_MS[unit ?? 's']!;
  }
  ms = Math.round(ms);
  if (ms === 0) return unparsed('it is zero');
  if (ms > LONGEST_MS) return unparsed('it is longer than 24 days');
  return parsed(ms);
}

/** `1s,30s` → `{minMs: 1000, maxMs: 30000}`. */
export function parseDurationRange(text: string): Parsed<DurationRange> {
  const parts = text.split(',');
  if (parts.length !== 2) return unparsed('it is not two times with a comma between them');
  const min = parseDuration(parts[0]!);
  if (!min.ok) return unparsed(`MIN is wrong: ${min.problem}`);
  const max = parseDuration(parts[1]!);
  if (!max.ok) return unparsed(`MAX is wrong: ${max.problem}`);
  if (min.value > max.value) return unparsed('MIN is greater than MAX');
  return parsed({ minMs: min.value, maxMs: max.value });
}

/** `10/5m` → `{count: 10, periodMs: 300000}`. */
export function parseRate(text: string): Parsed<Rate> {
  const parts = text.split('/');
  if (parts.length !== 2) return unparsed('it is not a number, a slash and a time');
  const count = parts[0]!.trim();
  if (!/^\d{1,6}$/.test(count)) return unparsed('N is not a whole number up to 999999');
  if (Number(count) === 0) return unparsed('N is zero (for no restart at all: --restart never)');
  const period = parseDuration(parts[1]!);
  if (!period.ok) return unparsed(`PERIOD is wrong: ${period.problem}`);
  return parsed({ count: Number(count), periodMs: period.value });
}

/** The shortest text that parses to the same: 90000 → `90s`, 120000 → `2m`, 1500 → `1500ms`. */
export function formatDuration(ms: number): string {
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    if (ms >= UNIT_MS[unit]! && ms % UNIT_MS[unit]! === 0) return `${ms / UNIT_MS[unit]!}${unit}`;
  }
  return `${ms}ms`;
}
