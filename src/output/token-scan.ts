/**
 * Finds Bot API tokens in bytes: `<digits>:<secret>`, also with `%3A` for the colon, as the Bot API writes them
 * (core.telegram.org/bots/api, "Authorizing your bot"). Pure: knows nothing of streams, never copies, never decodes.
 *
 * Logs are mostly letters and blanks, so the scan looks at every fifth byte only: a token has at least five digits
 * before its separator, one of which must stand there. Digits are rarer than letters, which makes this several times
 * cheaper than looking for long secrets, and than looking for colons in lines that hold a time of day.
 */

/** A secret behind at least five digits and a separator, e.g. `123456:` */
const SECRET_MIN_BYTES = 20;
/** The same where `bot` stands right before the digits, as in a path of the API: `/bot123456:` */
const BOT_SECRET_MIN_BYTES = 8;
/** Longest number taken for a bot id where `bot` stands before it; bounds the look back. */
const ID_MAX_BYTES = 24;
/** No token reaches further back than this from any byte of a secret that may still turn out to be one. */
export const CONTEXT_BYTES = 64;

const COLON = 0x3a;
const PERCENT = 0x25;
const THREE = 0x33;

/** What a byte can be part of: 1 a secret, 2 a separator only, 0 neither: no token reaches across such a byte. */
const CLASS = new Uint8Array(256);
for (const c of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-')
  CLASS[c.charCodeAt(0)] = 1;
CLASS[COLON] = 2;
CLASS[PERCENT] = 2;

/** End of the run of secret bytes that begins at `from`; `from` itself where there is none. */
export function runEnd(bytes: Uint8Array, from: number): number {
  const end = bytes.length;
  let at = from;
  while (at < end && CLASS[bytes[at]!] === 1) at++;
  return at;
}

/** Index after the first byte in `from` to `end` that no token reaches across; `end` where there is none. */
export function endOfReach(bytes: Uint8Array, from: number, end: number): number {
  for (let at = from; at < end; at++) if (CLASS[bytes[at]!] === 0) return at + 1;
  return end;
}

/** Start of the last bytes before `end` (at most CONTEXT_BYTES) that a token could still reach across. */
export function contextStart(bytes: Uint8Array, end: number): number {
  const least = Math.max(0, end - CONTEXT_BYTES);
  let at = end;
  while (at > least && CLASS[bytes[at - 1]!] !== 0) at--;
  return at;
}

/**
 * Index of the first `:` or `%` that has five digits right before it, or -1. Only digits at or after `from` count as
 * found, but they may continue a number that began before.
 */
export function nextSeparator(bytes: Uint8Array, from: number): number {
  const end = bytes.length;
  const unrolledEnd = end - 15;
  let at = from + 4;
  for (;;) {
    // A byte minus 48 is below 10, taken as unsigned, for digits alone: one comparison for two bounds.
    while (at < unrolledEnd) {
      if ((bytes[at]! - 48) >>> 0 < 10) break;
      if ((bytes[at + 5]! - 48) >>> 0 < 10) {
        at += 5;
        break;
      }
      if ((bytes[at + 10]! - 48) >>> 0 < 10) {
        at += 10;
        break;
      }
      if ((bytes[at + 15]! - 48) >>> 0 < 10) {
        at += 15;
        break;
      }
      at += 20;
    }
    if (at >= end) return -1;
    if (!isDigit(bytes[at]!)) {
      at += 5;
      continue;
    }
    let after = at + 1;
    while (after < end && (bytes[after]! - 48) >>> 0 < 10) after++;
    if (after === end) return -1;
    const byte = bytes[after]!;
    if ((byte === COLON || byte === PERCENT) && hasFiveDigitsBefore(bytes, after)) return after;
    at = after + 5;
  }
}

function isDigit(byte: number): boolean {
  return byte >= 48 && byte <= 57;
}

function hasFiveDigitsBefore(bytes: Uint8Array, end: number): boolean {
  if (end < 5) return false;
  for (let at = end - 5; at < end; at++) if (!isDigit(bytes[at]!)) return false;
  return true;
}

/** What stands behind a separator that `nextSeparator` found. */
export interface Candidate {
  /** First byte that a mask replaces: the secret's, or the `%` of a `%3A`, which becomes a colon. */
  readonly from: number;
  /** Where the run of secret bytes ends; before that where the separator is not one. */
  readonly to: number;
  /** `token`: mask it. `open`: the bytes end before this can be told. `no`: not a token. */
  readonly verdict: 'token' | 'open' | 'no';
  readonly encoded: boolean;
}

/** Judges the separator at `at`, which has five digits before it. */
export function judge(bytes: Uint8Array, at: number): Candidate {
  let secretAt = at + 1;
  const encoded = bytes[at] === PERCENT;
  if (encoded) {
    const length = bytes.length;
    if (secretAt === length) return { from: at, to: length, verdict: 'open', encoded };
    if (bytes[secretAt] !== THREE) return { from: at, to: secretAt, verdict: 'no', encoded };
    if (secretAt + 1 === length) return { from: at, to: length, verdict: 'open', encoded };
    const last = bytes[secretAt + 1]!;
    if (last !== 0x41 && last !== 0x61) return { from: at, to: secretAt, verdict: 'no', encoded };
    secretAt += 2;
  }
  const to = runEnd(bytes, secretAt);
  const from = encoded ? at : secretAt;
  const size = to - secretAt;
  if (size >= SECRET_MIN_BYTES || (size >= BOT_SECRET_MIN_BYTES && hasBotBefore(bytes, at)))
    return { from, to, verdict: 'token', encoded };
  return { from, to, verdict: to === bytes.length ? 'open' : 'no', encoded };
}

/** Does `bot` stand right before the number that ends at `end`? */
function hasBotBefore(bytes: Uint8Array, end: number): boolean {
  let at = end;
  const least = Math.max(0, end - ID_MAX_BYTES);
  while (at > least && isDigit(bytes[at - 1]!)) at--;
  return at >= 3 && bytes[at - 1] === 0x74 && bytes[at - 2] === 0x6f && bytes[at - 3] === 0x62;
}

/** Does a `%3A` behind at least five digits end at `end`? */
export function hasEncodedColonBefore(bytes: Uint8Array, end: number): boolean {
  if (end < 3 || bytes[end - 3] !== PERCENT || bytes[end - 2] !== THREE) return false;
  return (bytes[end - 1] === 0x41 || bytes[end - 1] === 0x61) && hasFiveDigitsBefore(bytes, end - 3);
}
