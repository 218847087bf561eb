/**
 * Our own tokens as bytes to look for: their secrets alone where those are long enough not to be met by chance, else the
 * whole token in its three spellings. Pure: knows nothing of streams.
 */

/** An own secret alone is masked from this length on; shorter ones only behind their id. */
const SECRET_ALONE_MIN_BYTES = 16;
/** This much of an own secret is never let go, neither by `release` nor by `flush`. */
const GUARDED_BYTES = 8;

export const ELLIPSIS = Buffer.from('…');
export const COLON_ELLIPSIS = Buffer.from(':…');

/** One of our own tokens as bytes to look for. */
export interface Needle {
  readonly bytes: Buffer;
  readonly skips: Uint8Array;
  /** Where the byte stands that is met least in logs. */
  readonly rareAt: number;
  /** Where the part begins that is not printed: the secret, or the `%` of a `%3A`, which becomes a colon. */
  readonly maskAt: number;
  readonly replacement: Buffer;
  /** A beginning of this length is never let go. */
  readonly guardedBytes: number;
}

/** `tokens` as `<digits>:<secret>`; anything else in the list is ignored. */
export function needlesOf(tokens: readonly string[]): Needle[] {
  const needles = new Map<string, Needle>();
  for (const token of tokens) {
    const [, id, secret] = /^(\d+):([A-Za-z0-9_-]+)$/.exec(token) ?? [];
    if (id === undefined || secret === undefined) continue;
    if (secret.length >= SECRET_ALONE_MIN_BYTES) {
      needles.set(secret, {
        bytes: Buffer.from(secret),
        skips: skipsOf(Buffer.from(secret)),
        rareAt: rarestOf(secret),
        maskAt: 0,
        replacement: ELLIPSIS,
        guardedBytes: GUARDED_BYTES,
      });
      continue;
    }
    for (const separator of [':', '%3A', '%3a']) {
      const secretAt = id.length + separator.length;
      const encoded = separator !== ':';
      needles.set(id + separator + secret, {
        bytes: Buffer.from(id + separator + secret),
        skips: skipsOf(Buffer.from(id + separator + secret)),
        rareAt: rarestOf(id + separator + secret),
        maskAt: encoded ? id.length : secretAt,
        replacement: encoded ? COLON_ELLIPSIS : ELLIPSIS,
        guardedBytes: secretAt + GUARDED_BYTES,
      });
    }
  }
  return [...needles.values()];
}

/**
 * Index of the needle in bytes[from..], or -1. `near`: more tokens are about, so it is likely to be found soon, and a call
 * into native code for each, though faster for a long way, would cost more (Horspool's search).
 */
export function indexOfNeedle(bytes: Buffer, from: number, needle: Needle, near: boolean): number {
  if (!near) return indexOfFar(bytes, from, needle);
  const { bytes: pattern, skips } = needle;
  const last = pattern.length - 1;
  const end = bytes.length;
  let at = from + last;
  while (at < end) {
    const byte = bytes[at]!;
    if (byte === pattern[last]) {
      let i = 1;
      while (i <= last && bytes[at - i] === pattern[last - i]) i++;
      if (i > last) return at - last;
    }
    at += skips[byte]!;
  }
  return -1;
}

/**
 * Node looks for a needle by its first byte, which takes up to twenty times as long where that is a frequent one. By its rarest
 * byte it is as fast as can be in all that people and programs write; what is met too often is left to Node.
 */
function indexOfFar(bytes: Buffer, from: number, { bytes: pattern, rareAt }: Needle): number {
  const rare = pattern[rareAt]!;
  let at = from;
  for (let tries = 0; tries < TRIES; tries++) {
    const found = bytes.indexOf(rare, at + rareAt);
    if (found < 0) return -1;
    at = found - rareAt;
    let i = 0;
    while (i < pattern.length && bytes[at + i] === pattern[i]) i++;
    if (i === pattern.length) return at;
    at += 1;
  }
  return bytes.indexOf(pattern, at);
}

/** What tokens are made of, the rarest in logs first. */
const BY_RARITY = 'QZXJYKVWHUGBFPMLDCNRSOAITEqzjxkvwybf975834601h2gpmu_cdlrs-noiate%:';
const TRIES = 8;

function rarestOf(pattern: string): number {
  const ranks = [...pattern].map((letter) => BY_RARITY.indexOf(letter));
  return ranks.indexOf(Math.min(...ranks));
}

/** For each byte, how far the pattern may move when that byte stands under its last one. */
function skipsOf(pattern: Buffer): Uint8Array {
  const skips = new Uint8Array(256).fill(Math.min(255, pattern.length));
  for (let i = 0; i < pattern.length - 1; i++) skips[pattern[i]!] = Math.min(255, pattern.length - 1 - i);
  return skips;
}

/** Length of the longest proper beginning of `needle` that bytes[from..] ends with. */
export function beginningAtEnd(bytes: Buffer, from: number, needle: Buffer): number {
  const end = bytes.length;
  const first = needle[0];
  let at = Math.max(from, end - needle.length + 1);
  for (; at < end; at++) {
    if (bytes[at] !== first) continue;
    let size = 1;
    while (at + size < end && bytes[at + size] === needle[size]) size++;
    if (at + size === end) return size;
  }
  return 0;
}
