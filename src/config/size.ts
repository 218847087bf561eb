/** Sizes and counts as people type them: `10MB`, `512K`, `5`. A unit is a power of 1024, as with docker and logrotate. */
import { type Parsed, parsed, unparsed } from './parsed.ts';

const UNIT_BYTES: Readonly<Record<string, number>> = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 };
/** Less would hold only some lines, and be rotated all the time. */
const SMALLEST_BYTES = 4 * 1024;
const COUNT_MAX = 999;

export const SIZE_ACCEPTED = 'a size such as 512K, 10MB, 1G (a number alone is bytes), at least 4K';

/** `10MB` → 10485760. */
export function parseSize(text: string): Parsed<number> {
  const match = /^(\d+(?:\.\d+)?)\s*(?:([kmg])(?:i?b)?|b)?$/i.exec(text.trim());
  if (!match) return unparsed(text.trim() === '' ? 'it is empty' : 'it is not a size');
  const bytes = Math.round(Number(match[1]) * UNIT_BYTES[(match[2] ?? '').toLowerCase()]!);
  if (bytes < SMALLEST_BYTES) return unparsed('it is smaller than 4K');
  return Number.isSafeInteger(bytes) ? parsed(bytes) : unparsed('it is too big');
}

/** `5` → 5; 0 is one, too. */
export function parseCount(text: string): Parsed<number> {
  if (!/^\s*\d+\s*$/.test(text)) return unparsed('it is not a number');
  return Number(text) <= COUNT_MAX ? parsed(Number(text)) : unparsed(`it is more than ${COUNT_MAX}`);
}
