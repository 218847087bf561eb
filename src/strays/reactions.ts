/**
 * Who reacted to a getUpdates of ours. PURE: listings of sockets with their times in, reactions out.
 *
 * The Bot API gives the newest long poll the bot and answers the older one with 409, at once, or 3.0 s later where another 409
 * was answered within the last 3 s (tdlib/telegram-bot-api Client::fail_query_conflict). So a client socket whose request
 * was held before our poll, and which receives an answer in one of these two windows, belongs to somebody who polls this
 * bot, if the answer is as long as a 409, or comes at every poll of ours. The kernel tells when data came last: a listing
 * that is late under load changes nothing.
 */

/** What is known of one connection at one moment. */
export interface Counters {
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly lastSendMs: number;
  readonly lastReceiveMs: number;
  /** It was destroyed; these are its last counters. */
  readonly isGone?: boolean;
}

/** One listing. A connection is named by whoever lists it: namespace, both ends. */
export interface Sample {
  /** Monotonic, right after the listing. */
  readonly atMs: number;
  readonly sockets: ReadonlyMap<string, Counters>;
}

/** A getUpdates of ours that went out. */
export interface Poke {
  readonly sentAtMs: number;
  /** The Bot API's usual answer time. */
  readonly rttMs: number;
  /** How long a 409 is on the wire, headers and all; null where that is not known. */
  readonly conflictBytes: number | null;
}

export interface Reaction {
  readonly socket: string;
  /** What it received; null where it vanished and nobody told how much that was. */
  readonly bytes: number | null;
  /** As long as a 409 is. */
  readonly isConflict: boolean;
  /** Longer than a 409 can be: the answer to something else. */
  readonly isTooLong: boolean;
  /** The next request may have been before the answer: a message may have been sent just then. */
  readonly isUnclear: boolean;
}

/** A request that has waited this long is held by the server; the answer to a message or an upload does not take that long. */
const HELD_MS = 500;
/** An answer that is as long as a 409 counts from here on: several that take turns hold the poll for a moment each. */
export const HELD_LEAST_MS = 150;
/** A message is answered sooner than this many round trips. */
const HELD_ROUND_TRIPS = 4;
/** The server's answer is late by this much at most beside its usual time. */
const WINDOW_MS = 100;
/** tdlib/telegram-bot-api: FailQueryConflictSleepActor. */
const CONFLICT_HELD_BACK_MS = 3_000;
/** Kernel ticks, and the time that a listing takes. */
const TOLERANCE_MS = 25;
/** Less: `Connection: close` in place of keep-alive. More: TLS records, one header more. An empty answer and the shortest update are outside. */
const SHORTER_BYTES = 24;
const LONGER_BYTES = 56;
/** A 409 has a body of 143 bytes, compressed some 120. */
const LEAST_BYTES = 100;
/** A server further away does not answer within one tick of the kernel's clock (10 ms at most). */
const ONE_TICK_MS = 12;
/** So often something unclear must agree: a sender would have to send in each of these short windows, and never beside them. */
const UNCLEAR_TIMES = 3;
/** Two reactions of one poller differ by a digit of the date, or a record. */
const AGREE_BYTES = 16;

/** The times in which a 409 can come, after the poke: [from, to] in ms. */
export function windowsOf({ rttMs }: Pick<Poke, 'rttMs'>): readonly (readonly [number, number])[] {
  const lastMs = 2 * rttMs + WINDOW_MS;
  return [
    [0, lastMs],
    [CONFLICT_HELD_BACK_MS, CONFLICT_HELD_BACK_MS + lastMs],
  ];
}

/** When the second window is over and nobody more can react to this poke. */
export function endOfWindows(poke: Poke): number {
  return poke.sentAtMs + windowsOf(poke)[1]![1] + TOLERANCE_MS;
}

/** A request was sent, is unanswered, and has been for so long. */
export function isHeld({ bytesSent, lastSendMs, lastReceiveMs, bytesReceived }: Counters, forMs = HELD_MS) {
  return bytesSent > 0 && lastSendMs >= forMs && (bytesReceived === 0 || lastSendMs <= lastReceiveMs);
}

/**
 * The reactions that `samples` (in order of time) show. The last sample before the poke is what is compared with; a connection
 * that is not in it, or whose request was not held then, never counts.
 */
export function reactionsTo(poke: Poke, samples: readonly Sample[]): Reaction[] {
  const before = samples.filter((it) => it.atMs <= poke.sentAtMs).at(-1);
  if (!before) return [];
  const after = samples.filter((it) => it.atMs > poke.sentAtMs);
  const found: Reaction[] = [];
  for (const [socket, base] of before.sockets) {
    if (!isHeld(base, Math.max(HELD_LEAST_MS, HELD_ROUND_TRIPS * poke.rttMs))) continue;
    const reaction = reactionOf(socket, base, poke, after);
    if (reaction && (reaction.isConflict || isHeld(base))) found.push(reaction);
  }
  return found;
}

function reactionOf(socket: string, base: Counters, poke: Poke, after: readonly Sample[]): Reaction | null {
  // Within one tick of the kernel's clock nobody can say which came first: a server nearby answers a message as quickly.
  const mayBeIdle =
    poke.rttMs < ONE_TICK_MS && base.bytesReceived > 0 && base.lastSendMs === base.lastReceiveMs;
  let isUnclear = false;
  let bytes: number | null = null;
  for (const [index, sample] of after.entries()) {
    const now = sample.sockets.get(socket);
    if (!now) {
      // Vanished without a word: known only to within two listings.
      const fromMs = (after[index - 1]?.atMs ?? poke.sentAtMs) - poke.sentAtMs;
      return isInWindow(poke, fromMs) || isInWindow(poke, sample.atMs - poke.sentAtMs)
        ? judged(socket, bytes, isUnclear || mayBeIdle, poke)
        : null;
    }
    const received = now.bytesReceived - base.bytesReceived;
    if (received <= 0) {
      // The next request before the answer of this one: no client that waits.
      if (now.bytesSent > base.bytesSent) return null;
      if (!now.isGone) continue;
    }
    if (bytes === null) {
      // Then only an answer that comes before a new request is one to the request that was held.
      isUnclear = mayBeIdle && now.bytesSent > base.bytesSent;
      const atMs = sample.atMs - now.lastReceiveMs - poke.sentAtMs;
      if (!isInWindow(poke, now.isGone && received <= 0 ? sample.atMs - poke.sentAtMs : atMs)) return null;
    }
    bytes = Math.max(bytes ?? 0, received);
    // Complete: the next request, the end, or as long as it must be.
    if (now.bytesSent > base.bytesSent || now.isGone) break;
  }
  return bytes === null ? null : judged(socket, bytes, isUnclear, poke);
}

function isInWindow(poke: Poke, ms: number): boolean {
  return windowsOf(poke).some(([from, to]) => ms >= from - TOLERANCE_MS && ms <= to + TOLERANCE_MS);
}

function judged(socket: string, bytes: number | null, isUnclear: boolean, { conflictBytes }: Poke): Reaction {
  const isConflict =
    bytes !== null &&
    conflictBytes !== null &&
    bytes >= conflictBytes - SHORTER_BYTES &&
    bytes <= conflictBytes + LONGER_BYTES;
  const isTooLong = bytes !== null && conflictBytes !== null && bytes > conflictBytes + LONGER_BYTES;
  return { socket, bytes, isConflict, isTooLong, isUnclear };
}

/** `once`: one answer as long as a 409; `twice`: two, to different polls of ours, that agree. */
export type Strength = 'once' | 'twice';

/** What the reactions of one process to different pokes amount to; null: nothing yet. */
export function strengthOf(
  reactions: readonly { readonly poke: number; readonly reaction: Reaction }[],
): Strength | null {
  const answers = reactions.filter(
    ({ reaction: { bytes, isTooLong } }) => !isTooLong && (bytes === null || bytes >= LEAST_BYTES),
  );
  for (const one of answers) {
    const agreeing = answers.filter(({ reaction }) => agree(reaction, one.reaction));
    const clear = new Set(agreeing.filter(({ reaction }) => !reaction.isUnclear).map(({ poke }) => poke));
    const all = new Set(agreeing.map(({ poke }) => poke));
    if (clear.size >= 2 || (all.size >= UNCLEAR_TIMES && one.reaction.isConflict)) return 'twice';
  }
  return answers.some(({ reaction }) => reaction.isConflict && !reaction.isUnclear) ? 'once' : null;
}

function agree({ bytes: a }: Reaction, { bytes: b }: Reaction): boolean {
  return a === null || b === null ? a === b : Math.abs(a - b) <= AGREE_BYTES;
}
