/**
 * The door to getUpdates: of all polls that the worker's processes have open, one at a time goes to the Bot API. One poller
 * owns the door; others are held and answered empty at their own timeout, and the next takes over when the owner is gone or
 * has stopped polling. Trouble upstream is retried inside the worker's own timeout, so that the worker never sees it.
 * Pure: events carry the time (ms, monotonic), effects come out as data.
 *
 * Invariants (test/simulation/door.ts): at most one poll is open upstream; one is sent only when none is; every poll is
 * answered at most once, and at the latest at its timeout and a little; only the owner is ever given updates.
 *
 * An answer that could not be delivered needs no care, since the Bot API keeps updates until a later offset confirms them.
 */

/** One getUpdates request that a process of the worker has open. */
export interface Poll {
  readonly id: number;
  /** Which process polls; the same for all where the system does not tell, so that only connections tell loops apart. */
  readonly poller: string;
  readonly connection: number;
  readonly askedAtMs: number;
  /** As the server would clamp it: 0 … 50 s. */
  readonly timeoutMs: number;
}

export interface UpstreamPoll {
  readonly attempt: number;
  readonly poll: Poll;
  readonly startedAtMs: number;
  /** The API has taken it: it waits, and was not turned down. */
  readonly accepted: boolean;
  /** Given up; its connection is being closed, and nothing else goes out before that has happened. */
  readonly aborting: boolean;
}

interface Owner {
  readonly poller: string;
  /** Of its latest poll; null when that has been closed. */
  readonly connection: number | null;
  /** When its latest poll ended. */
  readonly sinceMs: number;
}

export interface Door {
  readonly open: boolean;
  /** In the order of their arrival. */
  readonly polls: readonly Poll[];
  readonly owner: Owner | null;
  readonly upstream: UpstreamPoll | null;
  readonly attempts: number;
  /** Nothing is sent before this: a back-off, or what a 429 asked for. */
  readonly notBeforeMs: number;
  /** Attempts in a row that had to be retried. */
  readonly failures: number;
  /** Connections of the owner's process with a loop of their own beside the owner's. */
  readonly seconds: readonly number[];
  /** `due` is wanted then; null: not at all. */
  readonly wakeAtMs: number | null;
}

/**
 * How the poll upstream ended. `updates`: a 200, which goes to the worker; `verdict`: an error that is the worker's own business
 * (400, 401 …), passed on unchanged; all others are retried.
 */
export type PollResult =
  | { readonly kind: 'updates'; readonly count: number }
  | { readonly kind: 'verdict' | 'conflict' | 'webhook' | 'outage' }
  | { readonly kind: 'flood'; readonly retryAfterMs: number };

export type DoorEvent = { readonly atMs: number } & (
  | { readonly kind: 'asked'; readonly poll: Poll }
  /** The client's connection has ended; with it all its polls. */
  | { readonly kind: 'closed'; readonly connection: number }
  /** The process is dead. */
  | { readonly kind: 'gone'; readonly poller: string }
  /** `random` 0 … 1 spreads the retries. */
  | { readonly kind: 'ended'; readonly attempt: number; readonly result: PollResult; readonly random: number }
  /** `cleared`: what stood in the way (a webhook) is gone, so retry now; `released`: the worker was asked to end, nobody need wait. */
  | { readonly kind: 'cleared' | 'due' | 'opened' | 'shut' | 'released' }
);

/** `overdue`: the Bot API took the poll and has not answered in time. */
export type EmptyBecause = 'held' | 'retrying' | 'overdue' | 'shut' | 'released' | 'gone';

export type DoorEffect =
  /** Ask the Bot API for this poll; `timeoutMs`: what is left of the worker's own. */
  | { readonly do: 'send'; readonly attempt: number; readonly poll: Poll; readonly timeoutMs: number }
  | { readonly do: 'abort'; readonly attempt: number }
  /** Give this poll the answer that came from upstream. */
  | { readonly do: 'pass'; readonly poll: Poll; readonly attempt: number }
  | { readonly do: 'empty'; readonly poll: Poll; readonly why: EmptyBecause }
  | { readonly do: 'accepted'; readonly attempt: number }
  /** A second poller in the worker has been made to wait. */
  | { readonly do: 'held'; readonly poll: Poll; readonly owner: string }
  | { readonly do: 'owner'; readonly poller: string; readonly before: string | null };

export interface DoorPolicy {
  /** An owner that lives and has not polled for this long has stopped. Its handlers may take their time between two polls. */
  readonly ownerIdleMs: number;
  /** An answer may come this much after the poll's timeout. */
  readonly graceMs: number;
  /** A poll that has waited this long has not been turned down. */
  readonly acceptedAfterMs: number;
  /** A poll with a shorter timeout than this is not answered empty sooner: its loop would spin. */
  readonly shortestMs: number;
}

export const DOOR_POLICY: DoorPolicy = {
  ownerIdleMs: 30_000,
  graceMs: 1_500,
  acceptedAfterMs: 1_000,
  shortestMs: 1_000,
};

export const closedDoor: Door = {
  open: false,
  polls: [],
  owner: null,
  upstream: null,
  attempts: 0,
  notBeforeMs: 0,
  failures: 0,
  seconds: [],
  wakeAtMs: null,
};

export type DoorStep = readonly [Door, readonly DoorEffect[]];

/** Decides: the next state, and what is to be done, in order. */
export function stepDoor(door: Door, event: DoorEvent, policy: DoorPolicy = DOOR_POLICY): DoorStep {
  const effects: DoorEffect[] = [];
  const taken = take(awake(door, event.atMs), event, effects);
  const settled = settle(taken, event.atMs, policy, effects);
  return [{ ...settled, wakeAtMs: nextDueMs(settled, event.atMs, policy) }, effects];
}

/** A timer this late was held up by a stop of our own process, so what the owner has sent meanwhile is still unread. */
const LATE_MS = 100;
const READ_WITHIN_MS = 1_000;

function awake(door: Door, atMs: number): Door {
  const { owner, wakeAtMs } = door;
  if (owner === null || wakeAtMs === null || atMs - wakeAtMs < LATE_MS) return door;
  return { ...door, owner: { ...owner, sinceMs: owner.sinceMs + atMs - wakeAtMs + READ_WITHIN_MS } };
}

function take(door: Door, event: DoorEvent, effects: DoorEffect[]): Door {
  switch (event.kind) {
    case 'asked':
      return asked(door, event.poll, effects);
    case 'closed':
      return closed(door, event.connection, event.atMs, effects);
    case 'gone':
      return gone(door, event.poller, event.atMs, effects);
    case 'ended':
      return ended(door, event, effects);
    case 'cleared':
      return { ...door, notBeforeMs: event.atMs };
    case 'due':
      return door;
    case 'opened':
      return { ...door, open: true };
    case 'shut':
      return answerAll({ ...door, open: false }, event.atMs, 'shut', effects);
    case 'released':
      return answerAll(door, event.atMs, 'released', effects);
  }
}

function asked(door: Door, poll: Poll, effects: DoorEffect[]): Door {
  const next = { ...door, polls: [...door.polls, poll] };
  const { owner } = door;
  if (!owner || !door.open) return next;
  if (owner.poller !== poll.poller) {
    effects.push({ do: 'held', poll, owner: owner.poller });
    return next;
  }
  // Its loop is about to be found again, see findOwner().
  if (owner.connection === null || owner.connection === poll.connection) return next;
  if (busyElsewhere(door, poll) || door.seconds.includes(poll.connection))
    return heldBeside(next, poll, effects);
  // Between two polls of one loop, its client may take another connection of its pool.
  return { ...next, owner: { ...owner, connection: poll.connection } };
}

/** Another connection of the same process has a poll open: this is a loop of its own. */
function busyElsewhere(door: Door, poll: Poll): boolean {
  return door.polls.some(
    (it) =>
      it.poller === poll.poller && it.connection !== poll.connection && !door.seconds.includes(it.connection),
  );
}

function heldBeside(door: Door, poll: Poll, effects: DoorEffect[]): Door {
  effects.push({ do: 'held', poll, owner: poll.poller });
  if (door.seconds.includes(poll.connection)) return door;
  return { ...door, seconds: [...door.seconds, poll.connection] };
}

function closed(door: Door, connection: number, atMs: number, effects: DoorEffect[]): Door {
  const isOut = door.upstream?.poll.connection === connection;
  const upstream = isOut ? aborted(door.upstream, effects) : door.upstream;
  const polled = door.polls.some((it) => it.connection === connection);
  const owner =
    door.owner?.connection === connection
      ? // The end of an idle connection is no sign of polling.
        { ...door.owner, connection: null, sinceMs: polled ? atMs : door.owner.sinceMs }
      : door.owner;
  return {
    ...door,
    upstream,
    owner,
    polls: door.polls.filter((it) => it.connection !== connection),
    seconds: door.seconds.filter((it) => it !== connection),
  };
}

/** The connections of a dead process may end later, or never where a child has inherited them. */
function gone(door: Door, poller: string, atMs: number, effects: DoorEffect[]): Door {
  const left = answerAll(door, atMs, 'gone', effects, (it) => it.poller === poller);
  return left.owner?.poller === poller ? { ...left, owner: null, seconds: [] } : left;
}

function aborted(upstream: UpstreamPoll | null, effects: DoorEffect[]): UpstreamPoll | null {
  if (!upstream || upstream.aborting) return upstream;
  effects.push({ do: 'abort', attempt: upstream.attempt });
  return { ...upstream, aborting: true };
}

function ended(door: Door, event: Extract<DoorEvent, { kind: 'ended' }>, effects: DoorEffect[]): Door {
  const { upstream } = door;
  if (upstream?.attempt !== event.attempt) return door;
  const down = { ...door, upstream: null };
  // Even where the worker no longer waits for it, the result says when to ask again.
  const wanted = !upstream.aborting && door.polls.some((it) => it.id === upstream.poll.id);
  const { result, atMs } = event;
  switch (result.kind) {
    case 'updates':
    case 'verdict':
      if (!wanted) return { ...down, failures: 0 };
      effects.push({ do: 'pass', poll: upstream.poll, attempt: event.attempt });
      return { ...answered(down, upstream.poll, atMs), failures: 0 };
    case 'flood':
      return { ...down, notBeforeMs: atMs + Math.max(result.retryAfterMs, FLOOD_MIN_MS) };
    default: {
      if (upstream.aborting) return down;
      const delayMs = retryMs(result.kind, door.failures, event.random);
      return { ...down, failures: door.failures + 1, notBeforeMs: atMs + delayMs };
    }
  }
}

/** The first wait, the factor, the longest wait. They begin short, since a rival may be about to leave and an outage about to end. */
const RETRIES = {
  conflict: [1_000, 1.5, 5_000],
  // Normally the `cleared` event comes first; this is the fallback.
  webhook: [2_000, 1.5, 10_000],
  outage: [250, 2, 5_000],
} as const;

/** A front end may ask for a pause of nothing. */
const FLOOD_MIN_MS = 1_000;

/** Back-off before the next attempt, spread by ±20 %. */
export function retryMs(kind: keyof typeof RETRIES, failures: number, random: number): number {
  const [first, factor, longest] = RETRIES[kind];
  return Math.round(Math.min(longest, first * factor ** Math.min(failures, 30)) * (0.8 + 0.4 * random));
}

function answered(door: Door, poll: Poll, atMs: number): Door {
  const polls = door.polls.filter((it) => it.id !== poll.id);
  // A loop that is held beside the owner's must not keep the place of one that has stopped polling.
  const owner = door.owner && isNext(door, poll) ? { ...door.owner, sinceMs: atMs } : door.owner;
  return { ...door, polls, owner };
}

function answerAll(
  door: Door,
  atMs: number,
  why: 'shut' | 'released' | 'gone',
  effects: DoorEffect[],
  which: (poll: Poll) => boolean = () => true,
): Door {
  const mine = door.upstream !== null && which(door.upstream.poll);
  let next: Door = mine ? { ...door, upstream: aborted(door.upstream, effects) } : door;
  for (const poll of door.polls.filter(which)) {
    effects.push({ do: 'empty', poll, why });
    next = answered(next, poll, atMs);
  }
  return next;
}

/** Answers what is due, finds the owner, and sends the next poll on its way. */
function settle(before: Door, atMs: number, policy: DoorPolicy, effects: DoorEffect[]): Door {
  let door = before;
  for (const poll of door.polls) {
    if (atMs < deadlineMs(door, poll, policy)) continue;
    const isOut = door.upstream?.poll.id === poll.id;
    if (isOut) door = { ...door, upstream: aborted(door.upstream, effects) };
    const mine = door.owner === null || isNext(door, poll);
    const why = isOut ? 'overdue' : mine ? 'retrying' : 'held';
    effects.push({ do: 'empty', poll, why: door.open ? why : 'shut' });
    door = answered(door, poll, atMs);
  }
  const { upstream } = door;
  if (
    upstream &&
    !upstream.accepted &&
    !upstream.aborting &&
    atMs >= upstream.startedAtMs + policy.acceptedAfterMs
  ) {
    effects.push({ do: 'accepted', attempt: upstream.attempt });
    door = { ...door, upstream: { ...upstream, accepted: true } };
  }
  if (!door.open) return door;
  door = findOwner(door, atMs, policy, effects);
  const poll = door.polls.find((it) => isNext(door, it) && hasTime(it, atMs, policy));
  if (door.upstream || !poll || atMs < door.notBeforeMs) return door;
  const attempt = door.attempts + 1;
  effects.push({ do: 'send', attempt, poll, timeoutMs: timeLeftMs(poll, atMs, policy) ?? 0 });
  const sent: UpstreamPoll = { attempt, poll, startedAtMs: atMs, accepted: false, aborting: false };
  return { ...door, attempts: attempt, upstream: sent };
}

function findOwner(door: Door, atMs: number, policy: DoorPolicy, effects: DoorEffect[]): Door {
  const { owner } = door;
  if (owner) {
    // The loop whose connection has ended may go on over one that was held beside it: it had given up waiting there.
    const mine = door.polls.find((it) => it.poller === owner.poller && hasTime(it, atMs, policy));
    if (owner.connection === null && mine) return ownedBy(door, mine, owner.sinceMs);
    if (door.polls.some((it) => isNext(door, it))) return door;
    if (door.upstream?.poll.poller === owner.poller || atMs < owner.sinceMs + policy.ownerIdleMs) return door;
  }
  // A poll without time left would only keep the others waiting.
  const first = door.polls.find((it) => hasTime(it, atMs, policy));
  if (!first) return door;
  if (first.poller !== owner?.poller)
    effects.push({ do: 'owner', poller: first.poller, before: owner?.poller ?? null });
  return ownedBy(door, first, atMs);
}

/** Other connections on which the same process polls at this moment belong to loops of their own, as they may have before. */
function ownedBy(door: Door, { poller, connection }: Poll, sinceMs: number): Door {
  const before = door.owner?.poller === poller ? door.seconds : [];
  const beside = door.polls.filter((it) => it.poller === poller).map((it) => it.connection);
  const seconds = new Set([...before, ...beside]);
  seconds.delete(connection);
  return { ...door, owner: { poller, connection, sinceMs }, seconds: [...seconds] };
}

function isNext(door: Door, poll: Poll): boolean {
  return door.owner?.poller === poll.poller && !door.seconds.includes(poll.connection);
}

/** The timeout with which this poll may go out: the worker's own as long as that fits, else what is left; null: too little. */
function timeLeftMs({ askedAtMs, timeoutMs }: Poll, atMs: number, policy: DoorPolicy): number | null {
  const waitedMs = atMs - askedAtMs;
  if (waitedMs < Math.min(1_000, policy.graceMs)) return timeoutMs;
  const leftMs = Math.floor((timeoutMs - waitedMs) / 1_000) * 1_000;
  return leftMs < 1_000 ? null : leftMs;
}

function hasTime(poll: Poll, atMs: number, policy: DoorPolicy): boolean {
  return timeLeftMs(poll, atMs, policy) !== null;
}

/** Polls that wait for another poller to stop, the oldest first. */
export function heldPolls(door: Door): readonly Poll[] {
  return door.owner === null ? [] : door.polls.filter((it) => !isNext(door, it));
}

/** When this poll is answered empty if nothing else has answered it. */
function deadlineMs(door: Door, poll: Poll, policy: DoorPolicy): number {
  const timeoutMs = Math.max(poll.timeoutMs, policy.shortestMs);
  const isOut = door.upstream?.poll.id === poll.id && !door.upstream.aborting;
  // Timeouts below 3 s may become 3 s at the server (same offset again within that time).
  const dueMs = isOut ? Math.max(poll.timeoutMs, 3_000) + policy.graceMs : timeoutMs;
  return poll.askedAtMs + dueMs;
}

function nextDueMs(door: Door, atMs: number, policy: DoorPolicy): number | null {
  let next = Number.POSITIVE_INFINITY;
  const at = (dueMs: number) => {
    if (dueMs > atMs) next = Math.min(next, dueMs);
  };
  for (const poll of door.polls) at(deadlineMs(door, poll, policy));
  if (door.upstream && !door.upstream.accepted && !door.upstream.aborting)
    at(door.upstream.startedAtMs + policy.acceptedAfterMs);
  if (door.polls.length > 0) at(door.notBeforeMs);
  if (door.owner) at(door.owner.sinceMs + policy.ownerIdleMs);
  return Number.isFinite(next) ? next : null;
}

/** Without its time, which the loop knows. */
export type Untimed<E> = E extends unknown ? Omit<E, 'atMs'> : never;

/** What performs the effects: sockets in polls.ts, the simulation in test/simulation/door-gateway.ts. */
export interface DoorEdges {
  /** Elapsed time, ms. */
  now(): number;
  /** Calls `due` at this time, never before it; returns the way to cancel that. */
  timer(atMs: number, due: () => void): () => void;
  /** May send events: they wait until this effect and those beside it are performed. */
  perform(effect: DoorEffect): void;
  /** Sees every step before its effects are performed. */
  stepped?(event: DoorEvent, after: Door, effects: readonly DoorEffect[]): void;
}

/** Runs the door: one event after the other, their effects in order, one timer. */
export function createDoorLoop(edges: DoorEdges, policy: DoorPolicy = DOOR_POLICY) {
  const queue: DoorEvent[] = [];
  let door = closedDoor;
  let isBusy = false;
  let cancelTimer = () => {};

  function send(event: Untimed<DoorEvent>): void {
    queue.push({ ...event, atMs: edges.now() } as DoorEvent);
    if (isBusy) return;
    isBusy = true;
    try {
      for (let next = queue.shift(); next; next = queue.shift()) step(next);
    } finally {
      isBusy = false;
    }
  }

  function step(event: DoorEvent): void {
    const [after, effects] = stepDoor(door, event, policy);
    door = after;
    edges.stepped?.(event, after, effects);
    for (const effect of effects) edges.perform(effect);
    cancelTimer();
    const { wakeAtMs } = after;
    cancelTimer = wakeAtMs === null ? () => {} : edges.timer(wakeAtMs, () => send({ kind: 'due' }));
  }

  return {
    get door() {
      return door;
    },
    send,
    /** No timer comes any more. */
    stop: () => cancelTimer(),
  };
}
