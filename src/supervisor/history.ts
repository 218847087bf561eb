/**
 * The last seven days of a bot on this machine, minute by minute: who polled, and where nobody did, why. The supervisor tells what is so
 * from now on; here it becomes one letter a minute (the worst of that minute) and a list of the spans without undisturbed polling.
 * PURE: times are given. What lies between two looks is measured by a clock that nobody can set; when the wall clock was set ahead, what
 * was skipped is not known; when it was set back, what has been written ends there.
 */

/** From the best to the worst: of a minute the worst is kept. A `restart` that takes longer than GAP_MS is a gap. */
export const MINUTE_STATES = ['polled', 'standby', 'restart', 'outage', 'conflict', 'gap'] as const;
type MinuteState = (typeof MINUTE_STATES)[number];

/** Of a minute of which nothing is known, and of each state, by its place in MINUTE_STATES. */
const UNKNOWN = '.';
const LETTERS = `${UNKNOWN}psrocg`;

export interface Span {
  readonly state: MinuteState;
  /** Milliseconds since 1970. */
  readonly fromMs: number;
  readonly untilMs: number;
  /** Without the pauses between several. */
  readonly lastedMs: number;
  /** How many of the same kind and cause, one soon after the other. */
  readonly times: number;
  readonly cause: string | null;
}

/** What the file holds. */
export interface History {
  readonly version: number;
  /** Nothing is known of later times. */
  readonly untilMs: number;
  /** The last letter is that of the minute of `untilMs`. */
  readonly minutes: string;
  /** Oldest first, at most SPANS_MAX. */
  readonly spans: readonly Span[];
  /** It still lasts. */
  readonly open: Span | null;
  /** Why no supervisor runs any more; null: one does, or it was killed. */
  readonly end: string | null;
}

/** What is so from now on. */
export interface Condition {
  readonly state: MinuteState;
  /** Of a span that goes on the first one counts. */
  readonly cause: string | null;
  /** It began so long ago and is noticed only now. */
  readonly agoMs?: number;
  /** The supervisor ends. */
  readonly isOver?: boolean;
}

export interface Moment {
  readonly unixMs: number;
  /** Of a clock that includes suspend and that nobody can set. */
  readonly elapsedMs: number;
}

export interface Recording {
  readonly history: History;
  readonly now: Condition;
  readonly at: Moment;
}

/** Rises when an older release would misread it. */
const VERSION = 1;
export const MINUTE_MS = 60_000;
export const DAY_MS = 24 * 60 * MINUTE_MS;
export const KEPT_MS = 7 * DAY_MS;
const MINUTES_MAX = KEPT_MS / MINUTE_MS;
const SPANS_MAX = 300;
const CAUSE_MAX = 200;
const GAP_MS = 30_000;
/** Spans of the same kind and cause with pauses shorter than this are counted as one. */
const SAME_WITHIN_MS = 10 * MINUTE_MS;
/** The supervisor looks every few seconds: nothing ran for as long as that. */
const STANDSTILL_MS = 60_000;
/** Clocks that are being corrected drift less between two looks. */
const JUMP_MS = 2_000;
/** A machine without a clock of its own begins in 1970. */
const WRONG_CLOCK_MS = Date.UTC(2025, 0);

const NOBODY: Condition = { state: 'restart', cause: 'no supervisor ran: killed, or the machine was off' };
const STANDSTILL: Condition = {
  state: 'gap',
  cause: 'the supervisor stood still: suspended with its machine, or stopped by a signal',
};

const minuteOf = (ms: number) => Math.floor(ms / MINUTE_MS);
/** Both are time without a poll, told apart by its length. */
const isSame = (a: MinuteState, b: MinuteState) =>
  a === b || [a, b].every((it) => it === 'restart' || it === 'gap');

/** Goes on with what the last supervisor has left; null: nothing. */
export function resumed(saved: History | null, at: Moment, now: Condition): Recording {
  if (saved === null) {
    const history = { version: VERSION, untilMs: at.unixMs, minutes: '', spans: [], open: null, end: null };
    return { history, now, at };
  }
  if (at.unixMs < WRONG_CLOCK_MS) return { history: saved, now, at: { ...at, unixMs: saved.untilMs } };
  return { history: continued(saved, at.unixMs), now, at };
}

/** The history with the time since then, in which no supervisor ran. */
export function continued(saved: History, unixMs: number): History {
  const { end, untilMs } = saved;
  if (unixMs < untilMs) return clockSet(saved, unixMs);
  return passed(end === null ? closed(saved) : saved, unixMs, { ...NOBODY, cause: end ?? NOBODY.cause });
}

/** The time until `at` belongs to what was so before; `now` is so from then on. */
export function step(
  { history: old, now: before, at: last }: Recording,
  at: Moment,
  now: Condition,
): Recording {
  if (at.unixMs < WRONG_CLOCK_MS) return { history: old, now, at: { ...last, elapsedMs: at.elapsedMs } };
  const passedMs = at.elapsedMs - last.elapsedMs;
  const jumpMs = at.unixMs - last.unixMs - passedMs;
  let history = Math.abs(jumpMs) > JUMP_MS ? clockSet(old, old.untilMs + jumpMs) : old;
  history = passed(history, at.unixMs, passedMs > STANDSTILL_MS ? STANDSTILL : before);
  if (!isSame(before.state, now.state) || (now.isOver && !before.isOver)) history = closed(history);
  if (now.agoMs && now.state !== before.state)
    history = passed(closed(history), at.unixMs, now, at.unixMs - now.agoMs);
  return { history: { ...history, end: now.isOver ? now.cause : null }, now, at };
}

function passed(
  history: History,
  untilMs: number,
  { state, cause }: Condition,
  fromMs = history.untilMs,
): History {
  const { open: before } = history;
  if (untilMs <= fromMs) return history;
  const isOn = before !== null && isSame(before.state, state);
  const begun = isOn ? before : { state, fromMs, lastedMs: 0, times: 1, cause: null };
  const lastedMs = begun.lastedMs + untilMs - fromMs;
  const isGap = begun.state === 'gap' || (state === 'restart' && lastedMs >= GAP_MS);
  const now = isGap ? 'gap' : state;
  const why = begun.cause ?? cause?.slice(0, CAUSE_MAX) ?? null;
  return {
    ...(isOn ? history : closed(history)),
    untilMs,
    minutes: marked(history, begun.state === now ? fromMs : begun.fromMs, untilMs, now),
    open: state === 'polled' ? null : { ...begun, state: now, untilMs, lastedMs, cause: why },
  };
}

function marked(
  { minutes, untilMs: known }: History,
  fromMs: number,
  untilMs: number,
  state: MinuteState,
): string {
  const letter = LETTERS[MINUTE_STATES.indexOf(state) + 1]!;
  const all = lengthened(minutes, minuteOf(untilMs) - minuteOf(known) + (minutes === '' ? 1 : 0));
  const first = Math.max(0, all.length - 1 - (minuteOf(untilMs) - minuteOf(fromMs)));
  const worst = (old: string) => (LETTERS.indexOf(old) < LETTERS.indexOf(letter) ? letter : old);
  return all.slice(0, first) + [...all.slice(first)].map(worst).join('');
}

const lengthened = (minutes: string, by: number): string =>
  (minutes + UNKNOWN.repeat(Math.max(0, Math.min(by, MINUTES_MAX)))).slice(-MINUTES_MAX);

/** The span that lasts is over. */
function closed(history: History): History {
  const { open, spans, untilMs } = history;
  if (open === null) return history;
  const last = spans.at(-1);
  const isAgain =
    last?.state === open.state && last.cause === open.cause && open.fromMs - last.untilMs < SAME_WITHIN_MS;
  const one = isAgain
    ? { ...open, fromMs: last.fromMs, lastedMs: last.lastedMs + open.lastedMs, times: last.times + 1 }
    : open;
  const all = [...(isAgain ? spans.slice(0, -1) : spans), one];
  const kept = all.filter((it) => it.untilMs > untilMs - KEPT_MS).slice(-SPANS_MAX);
  return { ...history, spans: kept, open: null };
}

function clockSet(history: History, untilMs: number): History {
  const { minutes, spans } = closed(history);
  const shift = minuteOf(untilMs) - minuteOf(history.untilMs);
  return {
    ...{ ...history, untilMs, open: null },
    minutes: shift < 0 ? minutes.slice(0, shift) : lengthened(minutes, shift),
    spans: spans
      .filter(({ fromMs }) => fromMs < untilMs)
      .map((it) => ({ ...it, untilMs: Math.min(it.untilMs, untilMs) })),
  };
}

/** What was written by this release; null: something else. */
export function historyOf(value: unknown): History | null {
  const { version, minutes, spans } = { ...(value as Partial<History>) };
  return version === VERSION && typeof minutes === 'string' && Array.isArray(spans)
    ? (value as History)
    : null;
}

/** What is told of the last minutes, wherever it is told. */
export interface Summary {
  readonly fromMs: number;
  readonly untilMs: number;
  /** One letter a minute, see LETTERS. */
  readonly minutes: string;
  /** How many minutes of each state. */
  readonly sums: Readonly<Record<MinuteState | 'unknown', number>>;
  /** The longest first. */
  readonly spans: readonly (Span & { readonly lasts: boolean })[];
  /** Time in which the worker polled, and in which nobody did, here or elsewhere, as far as it is known. */
  readonly polledMs: number;
  readonly notPolledMs: number;
}

export function summarise({ minutes, untilMs, spans, open }: History, spanMs: number): Summary {
  const count = Math.ceil(spanMs / MINUTE_MS);
  const fromMs = untilMs - spanMs;
  const last = minutes.slice(-count).padStart(count, UNKNOWN);
  const sum = (letter: string) => last.split(letter).length - 1;
  const sums = Object.fromEntries(MINUTE_STATES.map((state, i) => [state, sum(LETTERS[i + 1]!)]));
  const within = [
    ...spans.map((it) => ({ ...it, lasts: false })),
    ...(open ? [{ ...open, lasts: true }] : []),
  ]
    .filter((it) => it.untilMs > fromMs)
    .map((it) => {
      const begun = Math.max(it.fromMs, fromMs);
      return { ...it, fromMs: begun, lastedMs: Math.min(it.lastedMs, it.untilMs - begun) };
    })
    .sort((a, b) => b.lastedMs - a.lastedMs);
  const total = (...states: readonly MinuteState[]) =>
    within.reduce((all, it) => all + (states.includes(it.state) ? it.lastedMs : 0), 0);
  const notPolledMs = total('restart', 'gap', 'outage');
  const knownMs = Math.min(spanMs, (count - sum(UNKNOWN)) * MINUTE_MS);
  return {
    ...{ fromMs, untilMs, minutes: last, spans: within, notPolledMs },
    sums: { ...sums, unknown: sum(UNKNOWN) } as Summary['sums'],
    polledMs: Math.max(0, knownMs - notPolledMs - total('standby')),
  };
}

/** The minutes as so many cells, each the worst of its minutes. */
export function cellsOf(minutes: string, count: number): readonly (MinuteState | 'unknown')[] {
  return Array.from({ length: count }, (_, i) => {
    const from = Math.floor((i * minutes.length) / count);
    const cell = minutes.slice(from, Math.max(from + 1, Math.floor(((i + 1) * minutes.length) / count)));
    const worst = Math.max(...[...cell].map((letter) => LETTERS.indexOf(letter)));
    return worst <= 0 ? 'unknown' : MINUTE_STATES[worst - 1]!;
  });
}
