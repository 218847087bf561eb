/**
 * Masks bot tokens in a stream of bytes, or in one text: `123456:…`. What is masked: any token of the usual shape, also with `%3A` for the
 * colon, and our own secrets alone. A token may be split over writes at any byte: what could become one is held back, some dozens of bytes at
 * most, until `release`, and a secret that never ends is swallowed without being stored. Everything else passes byte for byte.
 */
import { BOT_SECRET_MIN, SECRET_MIN, secretOf } from '../config/token.ts';

/** Characters `from` to `to` are not printed; a separator of id and secret at `from` shows as a colon. */
interface Cut {
  readonly from: number;
  readonly to: number;
  /** More of the secret may follow, and is not printed either. */
  readonly isOpen: boolean;
}

/** `more`: bytes may follow; `release`: they may, but do not wait for them; `end`: none will. */
type Outlook = 'more' | 'release' | 'end';

const ELLIPSIS = '…';
/** `…` in UTF-8, as streams are read as latin1: a character for each byte. */
const ELLIPSIS_BYTES = Buffer.from(ELLIPSIS).toString('latin1');
const EMPTY = Buffer.alloc(0);

/** A beginning of an own secret of this length is never let go. */
const GUARDED = 8;
/** No token of the usual shape reaches further back than this from a byte that may still belong to it. */
const CONTEXT = 64;

// Five digits by name are found at some 2 GB/s, by their number (`{5}`) at a fifth of that.
const TOKEN = new RegExp(`[0-9][0-9][0-9][0-9][0-9](?::|%3[Aa])([\\w-]{${BOT_SECRET_MIN},})`, 'g');
const ID_BYTES = 5;
const BOT_ID_BEFORE = /bot\d{5,24}$/;
const ENCODED_BEFORE = /\d{5}%3[Aa]$/;
/** At the end of a text: behind an id, a separator or part of one, and a secret that may go on. */
const UNFINISHED = /(?<=\d{5})(?:%(?:3(?:[Aa][\w-]*)?)?|:[\w-]*)$/;
/** All at the end of a text that a token can reach across. */
const REACH = /[\w:%-]*$/;
const SECRET_GOES_ON = /^[\w-]*/;

/** Makes a masker for one stream. `tokens`: our own, as `<digits>:<secret>`. */
export function createMasker(tokens: readonly string[]) {
  const secrets = secretsOf(tokens);
  const contextMax = Math.max(CONTEXT, ...secrets.map(({ length }) => length));
  /** The last of the stream that a token can reach across, the part that is held back included. */
  let last = '';
  let held = 0;
  /** Inside a secret whose mask is written already. */
  let swallowing = false;

  /** Decides about the bytes that are held and these, gives what goes out, and remembers what the next call needs. */
  function take(chunk: Buffer, outlook: Outlook): Buffer {
    const added = chunk.toString('latin1');
    const skipped = swallowing ? (SECRET_GOES_ON.exec(added)?.[0].length ?? 0) : 0;
    const before = last.length;
    const start = before - held + skipped;
    const text = last + added;
    if (start === text.length) {
      last = text.slice(-contextMax);
      return EMPTY;
    }
    const found = cutsIn(text, secrets, outlook === 'end').filter(({ to }) => to > start);
    let end = outlook === 'end' ? text.length : openFrom(text, outlook, found.at(-1));
    // What may still become a longer token decides how one of our own within it shows.
    const cuts = found.filter((cut) => {
      if (cut.to > end) end = Math.min(end, secretAt(text, cut.from));
      return cut.to <= end;
    });
    end = Math.max(start, end);
    const final = cuts.at(-1);
    swallowing = final?.isOpen === true && final.to === text.length;
    held = text.length - end;
    last = (REACH.exec(text.slice(Math.max(0, end - contextMax), end))?.[0] ?? '') + text.slice(end);
    if (cuts.length === 0 && start >= before) return chunk.subarray(start - before, end - before);
    return Buffer.from(withoutCuts(text, start, end, cuts, ELLIPSIS_BYTES), 'latin1');
  }

  /** Where that begins which may become a token, if it does. `final`: the last that is one already. */
  function openFrom(text: string, outlook: Outlook, final: Cut | undefined): number {
    let from = text.length;
    const isSwallowing = final?.isOpen === true && final.to === text.length;
    if (outlook === 'more' && !isSwallowing) {
      const found = UNFINISHED.exec(text.slice(-CONTEXT));
      if (found) from = secretAt(text, Math.max(0, text.length - CONTEXT) + found.index);
    }
    for (const secret of secrets) {
      const size = beginningAtEnd(text, secret);
      const isHeld = outlook === 'more' || size >= GUARDED;
      if (isHeld && text.length - size >= (final?.to ?? 0)) from = Math.min(from, text.length - size);
    }
    return from;
  }

  return {
    /** Takes the next bytes and returns what may be written now: mostly the argument itself, or a view of it. */
    push: (chunk: Buffer): Buffer => take(chunk, 'more'),
    /** Gives up waiting: returns what is held, except eight or more bytes of one of our own secrets. */
    release: (): Buffer => take(EMPTY, 'release'),
    /** The stream has ended: returns the rest, with the beginning of an own secret (eight bytes or more) masked. */
    flush(): Buffer {
      const out = take(EMPTY, 'end');
      last = '';
      swallowing = false;
      return out;
    },
    get held(): number {
      return held;
    },
  };
}

/** Masks tokens in a text of ours: a message, an error, an argument. */
export function maskText(text: string, tokens: readonly string[]): string {
  const cuts = cutsIn(text, secretsOf(tokens), true);
  return cuts.length === 0 ? text : withoutCuts(text, 0, text.length, cuts, ELLIPSIS);
}

/** Of our own tokens, whose secrets are masked wherever they stand. */
const secretsOf = (tokens: readonly string[]): string[] => tokens.map(secretOf);

/** In order, none overlapping another. `ended`: a beginning of an own secret at the end will not go on. */
function cutsIn(text: string, secrets: readonly string[], ended: boolean): Cut[] {
  const cuts: Cut[] = [];
  TOKEN.lastIndex = 0;
  for (let found = TOKEN.exec(text); found; found = TOKEN.exec(text)) {
    const to = TOKEN.lastIndex;
    const from = found.index + ID_BYTES;
    const isToken =
      (found[1]?.length ?? 0) >= SECRET_MIN || BOT_ID_BEFORE.test(text.slice(Math.max(0, from - 27), from));
    if (isToken) cuts.push({ from, to, isOpen: true });
    // The end of one secret may be the id of the next.
    TOKEN.lastIndex = to - ID_BYTES;
  }
  const add = (at: number, size: number): void => {
    const isEncoded = ENCODED_BEFORE.test(text.slice(Math.max(0, at - 8), at));
    cuts.push({ from: isEncoded ? at - 3 : at, to: at + size, isOpen: false });
  };
  for (const secret of secrets) {
    for (let at = text.indexOf(secret); at >= 0; at = text.indexOf(secret, at + secret.length))
      add(at, secret.length);
    const size = ended ? beginningAtEnd(text, secret) : 0;
    if (size >= GUARDED) add(text.length - size, size);
  }
  if (cuts.length < 2) return cuts;
  cuts.sort((a, b) => a.from - b.from || b.to - a.to);
  let free = 0;
  return cuts.filter(({ from, to }) => {
    if (from < free) return false;
    free = to;
    return true;
  });
}

/** The first character that is not printed: a colon is, while `%3A` becomes one. */
const secretAt = (text: string, at: number): number => (text[at] === ':' ? at + 1 : at);

/** Length of the longest proper beginning of our own that the text ends with. */
function beginningAtEnd(text: string, secret: string): number {
  let size = Math.min(secret.length - 1, text.length);
  while (size > 0 && !text.endsWith(secret.slice(0, size))) size--;
  return size;
}

function withoutCuts(
  text: string,
  start: number,
  end: number,
  cuts: readonly Cut[],
  ellipsis: string,
): string {
  let printed = '';
  let at = start;
  for (const { from, to } of cuts) {
    const isSeparator = from >= start && (text[from] === ':' || text[from] === '%');
    printed += `${text.slice(at, Math.max(at, from))}${isSeparator ? ':' : ''}${ellipsis}`;
    at = to;
  }
  return printed + text.slice(at, end);
}
