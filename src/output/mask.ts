/**
 * Masks bot tokens in a stream of bytes, or in one text. Everything else passes byte for byte. What is masked:
 * any `<digits>:<secret>` of a token's shape (see token-scan.ts), our own tokens whatever their shape's lengths, and our
 * own secrets alone. Tokens may be split over writes at any byte: what could become one is held back, at most some
 * dozens of bytes, and a secret that never ends is swallowed without being stored.
 * Reads no clock: who pumps decides when a hold has lasted too long and calls `release`.
 */
import { createFloodScanner, type FloodScanner } from './flood-scanner.ts';
import {
  beginningAtEnd,
  COLON_ELLIPSIS,
  ELLIPSIS,
  indexOfNeedle,
  type Needle,
  needlesOf,
} from './own-token.ts';
import {
  CONTEXT_BYTES,
  contextStart,
  endOfReach,
  hasEncodedColonBefore,
  judge,
  nextSeparator,
  runEnd,
} from './token-scan.ts';

export interface Masker {
  /**
   * Takes the next bytes and returns what may be written now. The argument becomes the masker's: the answer is mostly the
   * argument itself or a view of it, with tokens masked in place. The caller may use its memory again once the answer
   * has been written. `headroom`: so many bytes right before the chunk, in its memory, are the masker's too.
   */
  push(chunk: Buffer, headroom?: number): Buffer;
  /** Gives up waiting: returns what is held, except eight or more bytes of one of our own secrets. */
  release(): Buffer;
  /** The stream has ended: returns the rest, with the beginning of an own secret (eight bytes or more) masked. */
  flush(): Buffer;
  /** Bytes held back at present. */
  readonly held: number;
  /** From the first flood on: into its `room` chunks had better be read. */
  readonly scanner: FloodScanner | null;
  /** How much has been looked at in JavaScript so far, in bytes: with a scanner only what may be a token. */
  readonly toil: number;
}

/** After so many chunks of this size it pays to get the scanner for floods. Each takes a millisecond until it is there. */
const FLOOD_CHUNKS = 2;
const FLOOD_CHUNK_BYTES = 16 * 1024;
/** To judge one separator takes as long as to look for it in so many bytes. */
const JUDGE_BYTES = 256;

const EMPTY = Buffer.alloc(0);

/** Bytes `from` to `to` are printed as `replacement`. */
interface Cut {
  readonly from: number;
  readonly to: number;
  readonly replacement: Buffer;
}

/** `more`: bytes may follow; `release`: they may, but do not wait for them; `end`: none will. */
type Outlook = 'more' | 'release' | 'end';

/** Makes a masker for one stream. `tokens`: our own, as `<digits>:<secret>`; anything else in the list is ignored. */
export function createMasker(tokens: readonly string[]): Masker {
  const needles = needlesOf(tokens);
  const longestNeedle = Math.max(0, ...needles.map((needle) => needle.bytes.length));
  const seamBytes = 4 * CONTEXT_BYTES + longestNeedle;
  /** The last bytes that went out, as they came, as far as a token can reach across them. */
  const context = Buffer.alloc(CONTEXT_BYTES);
  let contextLength = 0;
  let held: Buffer = EMPTY;
  /** Inside a secret whose mask is written already. */
  let swallowing = false;

  let cuts: Cut[] = [];
  let holdFrom = 0;
  let floodChunks = 0;
  let toil = 0;
  /** Undefined: not needed yet. */
  let scanner: FloodScanner | null | undefined;

  function push(chunk: Buffer, headroom = 0): Buffer {
    let start = 0;
    if (swallowing) {
      start = runEnd(chunk, 0);
      if (start < CONTEXT_BYTES) remember(joinContext(chunk.subarray(0, start)), contextLength + start);
      else remember(chunk, start);
      if (start === chunk.length) return EMPTY;
      swallowing = false;
    }
    const lead = contextLength + held.length;
    if (lead === 0) {
      examine(chunk, start, 'more');
      settle(chunk);
      return cutOut(chunk, start);
    }
    if (start === 0 && lead <= headroom) {
      const joined = Buffer.from(chunk.buffer, chunk.byteOffset - lead, lead + chunk.length);
      const joinedStart = contextLength;
      context.copy(joined, 0, 0, contextLength);
      if (held.length > 0) held.copy(joined, contextLength);
      examine(joined, joinedStart, 'more');
      settle(joined);
      return cutOut(joined, joinedStart);
    }
    // Look at the seam in a small copy, up to a byte that no token reaches across, or where there is none nearby so far
    // that all that is still open there lies in this chunk; then at the rest in place.
    const seam = endOfReach(chunk, start, Math.min(chunk.length, start + seamBytes));
    const first = chunk.subarray(start, seam);
    const joined = joinContext(held.length === 0 ? first : Buffer.concat([held, first]));
    const joinedStart = contextLength;
    examine(joined, joinedStart, 'more');
    const open = joined.length - holdFrom;
    const untouched = held.length === 0 && cuts.length === 0;
    settle(joined);
    const head = untouched ? EMPTY : cutOut(joined, joinedStart);
    if (seam === chunk.length) return untouched ? chunk.subarray(start, seam - open) : head;
    held = EMPTY;
    const restAt = swallowing ? runEnd(chunk, seam) : seam - open;
    if (swallowing && restAt === chunk.length) {
      remember(chunk, restAt);
      return head;
    }
    examine(chunk, restAt, 'more');
    settle(chunk);
    const rest = cutOut(chunk, untouched ? start : restAt);
    return head.length === 0 ? rest : Buffer.concat([head, rest]);
  }

  function flush(): Buffer {
    const out = letGo('end');
    contextLength = 0;
    held = EMPTY;
    swallowing = false;
    return out;
  }

  function letGo(outlook: Outlook): Buffer {
    if (held.length === 0) return EMPTY;
    const joined = joinContext(held);
    const start = contextLength;
    examine(joined, start, outlook);
    settle(joined);
    return cutOut(joined, start);
  }

  /** Sets `cuts` and `holdFrom` for bytes[start..]; what stands before is context that went out already. */
  function examine(bytes: Buffer, start: number, outlook: Outlook): void {
    cuts = [];
    holdFrom = bytes.length;
    swallowing = false;
    const next = scannerFor(bytes);
    for (let at = next(contextStart(bytes, start)); at >= 0; ) {
      const found = judge(bytes, at);
      toil += JUDGE_BYTES;
      if (found.verdict === 'token' && found.to > start) {
        const from = Math.max(found.from, start);
        const colonToo = found.encoded && from === found.from;
        cuts.push({ from, to: found.to, replacement: colonToo ? COLON_ELLIPSIS : ELLIPSIS });
        swallowing = found.to === bytes.length;
      } else if (found.verdict === 'open' && outlook === 'more') {
        holdFrom = Math.max(found.from, start);
      }
      // A number at the end of this run may stand before a separator of its own.
      at = next(Math.max(at + 1, found.to - 5));
    }
    if (needles.length > 0) examineOwn(bytes, start, outlook);
    if (holdFrom < bytes.length) {
      for (const cut of cuts) if (cut.to > holdFrom) holdFrom = Math.min(holdFrom, cut.from);
      cuts = cuts.filter((cut) => cut.from < holdFrom);
    }
  }

  function scannerFor(bytes: Buffer): (from: number) => number {
    if (bytes.length >= FLOOD_CHUNK_BYTES && ++floodChunks > FLOOD_CHUNKS) {
      scanner ??= createFloodScanner();
      if (scanner !== null && bytes.length <= scanner.maxBytes) {
        scanner.load(bytes);
        return scanner.next;
      }
    }
    toil += bytes.length;
    return (from) => nextSeparator(bytes, from);
  }

  function examineOwn(bytes: Buffer, start: number, outlook: Outlook): void {
    // An id has gone out before its secret comes; of a secret, a few bytes may have been released.
    const reach = Math.max(0, start - longestNeedle);
    const shapes = cuts;
    for (const needle of needles) {
      let next = 0;
      for (let at = indexOfNeedle(bytes, reach, needle, shapes.length > 0); at >= 0; ) {
        const to = at + needle.bytes.length;
        while (next < shapes.length && shapes[next]!.to <= at + needle.maskAt) next++;
        const covered = next < shapes.length && shapes[next]!.from < to;
        if (to > start && !covered) {
          if (cuts === shapes) cuts = shapes.slice();
          cuts.push(ownCut(bytes, at, to, start, needle));
        }
        at = indexOfNeedle(bytes, to, needle, true);
      }
    }
    if (cuts !== shapes) cuts = withoutOverlaps(cuts);
    const free = cuts.at(-1)?.to ?? 0;
    for (const needle of needles) {
      const size = beginningAtEnd(bytes, reach, needle.bytes);
      const at = bytes.length - size;
      if (size <= needle.maskAt || at + needle.maskAt < free) continue;
      const guarded = size >= needle.guardedBytes;
      if (outlook === 'end' && guarded) {
        cuts.push(ownCut(bytes, at, bytes.length, start, needle));
        return;
      }
      if (outlook === 'more' || (outlook === 'release' && guarded))
        holdFrom = Math.min(holdFrom, Math.max(at + needle.maskAt, start));
    }
  }

  /** What of bytes[start..holdFrom] is printed; `bytes` are spoilt, so `settle` comes first. */
  function cutOut(bytes: Buffer, start: number): Buffer {
    if (cuts.length === 0)
      return start === 0 && holdFrom === bytes.length ? bytes : bytes.subarray(start, holdFrom);
    let grows = false;
    for (const cut of cuts) grows ||= cut.replacement.length > cut.to - cut.from;
    return grows ? rebuild(bytes, start) : shorten(bytes, start);
  }

  /** In place: bytes after a cut move down. */
  function shorten(bytes: Buffer, start: number): Buffer {
    let read = start;
    let write = start;
    for (const { from, to, replacement } of cuts) {
      if (write !== read) bytes.copyWithin(write, read, from);
      write += from - read;
      for (let i = 0; i < replacement.length; i++) bytes[write++] = replacement[i]!;
      read = to;
    }
    bytes.copyWithin(write, read, holdFrom);
    return bytes.subarray(start, write + holdFrom - read);
  }

  /** Only secrets of one or two bytes are shorter than their mask. */
  function rebuild(bytes: Buffer, start: number): Buffer {
    const parts: Buffer[] = [];
    let read = start;
    for (const { from, to, replacement } of cuts) {
      parts.push(bytes.subarray(read, from), replacement);
      read = to;
    }
    parts.push(bytes.subarray(read, holdFrom));
    return Buffer.concat(parts);
  }

  /** Keeps for the next call what is needed of bytes that are examined and printed. */
  function settle(bytes: Buffer): void {
    held = holdFrom < bytes.length ? Buffer.from(bytes.subarray(holdFrom)) : EMPTY;
    remember(bytes, holdFrom);
  }

  function remember(bytes: Buffer, end: number): void {
    const from = contextStart(bytes, end);
    contextLength = end - from;
    if (contextLength > 0) bytes.copy(context, 0, from, end);
  }

  function joinContext(bytes: Buffer): Buffer {
    return contextLength === 0 ? bytes : Buffer.concat([context.subarray(0, contextLength), bytes]);
  }

  return {
    push,
    release: () => letGo('release'),
    flush,
    get held() {
      return held.length;
    },
    get scanner() {
      return scanner ?? null;
    },
    get toil() {
      return toil;
    },
  };
}

/** Masks tokens in a text of ours: a message, an error, an argument. */
export function maskText(text: string, tokens: readonly string[]): string {
  const masker = createMasker(tokens);
  const bytes = Buffer.from(text);
  const masked = Buffer.concat([masker.push(bytes), masker.flush()]);
  return masked.equals(bytes) ? text : masked.toString();
}

function ownCut(bytes: Buffer, at: number, to: number, start: number, needle: Needle): Cut {
  const from = at + needle.maskAt;
  if (from < start) return { from: start, to, replacement: ELLIPSIS };
  const encoded = needle.maskAt === 0 && at - 3 >= start && hasEncodedColonBefore(bytes, at);
  return encoded
    ? { from: at - 3, to, replacement: COLON_ELLIPSIS }
    : { from, to, replacement: needle.replacement };
}

/** In order; of two that overlap the one that begins first, of two that begin together the longer. */
function withoutOverlaps(cuts: Cut[]): Cut[] {
  const kept: Cut[] = [];
  for (const cut of cuts.sort((a, b) => a.from - b.from || b.to - a.to))
    if (cut.from >= (kept.at(-1)?.to ?? 0)) kept.push(cut);
  return kept;
}
