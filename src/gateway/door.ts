/**
 * The door to getUpdates: of all polls that the worker's processes have open, one at a time goes to the Bot API. One poller owns the door;
 * others are held and answered empty at their own timeout. The next one takes over when the owner is gone or has stopped polling. Errors
 * upstream are retried within the worker's own timeout. An answer that could not be delivered needs no handling, since the Bot API keeps
 * updates until a later offset confirms them. Pure: events carry the time (ms, monotonic), effects come out as data.
 *
 * Invariants (test/simulation/door.ts): at most one poll is open upstream; one is sent only when none is; every poll is
 * answered at most once, and soon after its timeout at the latest; only the owner is ever given updates.
 */
import { inOrder, spread } from '../turns.ts';

/** One getUpdates request that a process of the worker has open. */
export interface Poll {
  readonly id: number;
  /** Pid of the process that polls; null: the system does not tell, so that only connections distinguish loops. */
  readonly poller: number | null;
  readonly connection: number;
  readonly askedAtMs: number;
  /** Clamped like at the server: 0 … 50 s. */
  readonly timeoutMs: number;
}

interface UpstreamPoll {
  readonly attempt: number;
  readonly poll: Poll;
  readonly startedAtMs: number;
  /** The API has let it wait instead of refusing it. */
  readonly accepted: boolean;
  /** It was given up and its connection is being closed; nothing else is sent before that has happened. */
  readonly aborting: boolean;
}

interface Owner {
  readonly poller: number | null;
  /** The connection of its latest poll; null: it has closed. */
  readonly connection: number | null;
  readonly sinceMs: number;
}

export type Door = Readonly<typeof closedDoor>;

const closedDoor = {
  open: false,
  /** In the order of their arrival. */
  polls: [] as readonly Poll[],
  owner: null as Owner | null,
  upstream: null as UpstreamPoll | null,
  attempts: 0,
  /** When the next poll may be sent, after a back-off or the pause that a 429 asked for. */
  notBeforeMs: 0,
  /** Attempts in a row that had to be retried. */
  failures: 0,
  /** Connections on which the owner's process runs further polling loops. */
  seconds: [] as readonly number[],
  /** When `due` is to be sent; null: not at all. */
  wakeAtMs: null as number | null,
};

/**
 * How the poll upstream ended. `updates`: a 200, which is passed to the worker; `verdict`: an error that concerns the worker
 * (400, 401 …) and is passed on unchanged; all others are retried.
 */
export type PollResult =
  | { readonly kind: 'updates' | 'verdict' | 'conflict' | 'webhook' | 'outage' }
  | { readonly kind: 'flood'; readonly retryAfterMs: number };

export type DoorEvent = { readonly atMs: number } & (
  | { readonly kind: 'asked'; readonly poll: Poll }
  /** The client's connection has ended, and with it all its polls. */
  | { readonly kind: 'closed'; readonly connection: number }
  | { readonly kind: 'gone'; readonly poller: number | null }
  /** `random` (0 … 1) spreads the retries. */
  | { readonly kind: 'ended'; readonly attempt: number; readonly result: PollResult; readonly random: number }
  /** `cleared`: the webhook that blocked polls is gone, so retry now. `released`: the worker is to end, so answer all polls. */
  | { readonly kind: 'cleared' | 'due' | 'opened' | 'shut' | 'released' }
);

/** `overdue`: the Bot API accepted the poll but has not answered in time. */
type EmptyBecause = 'held' | 'retrying' | 'overdue' | 'shut' | 'released' | 'gone';

export type DoorEffect =
  /** Send this poll to the Bot API; `timeoutMs` is the rest of its own timeout. */
  | { readonly do: 'send'; readonly attempt: number; readonly poll: Poll; readonly timeoutMs: number }
  | { readonly do: 'abort'; readonly attempt: number }
  | { readonly do: 'pass'; readonly poll: Poll; readonly attempt: number }
  | { readonly do: 'empty'; readonly poll: Poll; readonly why: EmptyBecause }
  | { readonly do: 'accepted' }
  /** A second poller of the worker has to wait. */
  | { readonly do: 'held'; readonly poll: Poll };

export interface DoorPolicy {
  /** An owner that has not polled for this long has stopped. Its handlers may take long between two polls. */
  readonly ownerIdleMs: number;
  /** How long after the poll's timeout an answer may come. */
  readonly graceMs: number;
  /** A poll that has waited this long counts as accepted. */
  readonly acceptedAfterMs: number;
  /** No poll is answered empty sooner than this, even if its timeout is shorter, as its loop would spin. */
  readonly shortestMs: number;
}

export const DOOR_POLICY: DoorPolicy = {
  ownerIdleMs: 30_000,
  graceMs: 1_500,
  acceptedAfterMs: 1_000,
  shortestMs: 1_000,
};

type DoorStep = readonly [Door, readonly DoorEffect[]];

function stepDoor(door: Door, event: DoorEvent, policy: DoorPolicy): DoorStep {
  const effects: DoorEffect[] = [];
  const taken = take(awake(door, event.atMs), event, effects);
  const settled = settle(taken, event.atMs, policy, effects);
  return [{ ...settled, wakeAtMs: nextDueMs(settled, event.atMs, policy) }, effects];
}

/** A timer this late was delayed by a stop of our own process, so the owner's latest requests are still unread. */
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
    effects.push({ do: 'held', poll });
    return next;
  }
  // findOwner() is about to find the owner's loop again.
  if (owner.connection === null || owner.connection === poll.connection) return next;
  if (busyElsewhere(door, poll) || door.seconds.includes(poll.connection))
    return heldBeside(next, poll, effects);
  // A client may use another connection of its pool for the next poll of the same loop.
  return { ...next, owner: { ...owner, connection: poll.connection } };
}

/** Another connection of the same process has a poll open, so this poll is of a second loop. */
function busyElsewhere(door: Door, poll: Poll): boolean {
  return door.polls.some(
    (it) =>
      it.poller === poll.poller && it.connection !== poll.connection && !door.seconds.includes(it.connection),
  );
}

function heldBeside(door: Door, poll: Poll, effects: DoorEffect[]): Door {
  effects.push({ do: 'held', poll });
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

/** The connections of a dead process may end later, or never if a child has inherited them. */
function gone(door: Door, poller: number | null, atMs: number, effects: DoorEffect[]): Door {
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
  // Even if the worker no longer waits for it, the result says when to ask again.
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

/** First wait, factor, longest wait. The first is short, since a rival or an outage may soon be over. */
const RETRIES = {
  conflict: [1_000, 1.5, 5_000],
  // Normally the `cleared` event comes first; this is the fallback.
  webhook: [2_000, 1.5, 10_000],
  outage: [250, 2, 5_000],
} as const;

/** A front end may ask for a pause of 0 s. */
const FLOOD_MIN_MS = 1_000;

/** Back-off before the next attempt, spread by ±20 %. */
function retryMs(kind: keyof typeof RETRIES, failures: number, random: number): number {
  const [first, factor, longest] = RETRIES[kind];
  return Math.round(spread(Math.min(longest, first * factor ** failures), random));
}

function answered(door: Door, poll: Poll, atMs: number): Door {
  const polls = door.polls.filter((it) => it.id !== poll.id);
  // Answering a held loop does not show that the owner still polls.
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

/** Answers polls that are due, finds the owner, and sends the next poll. */
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
  if (upstream && atMs >= acceptedAtMs(upstream, policy)) {
    effects.push({ do: 'accepted' });
    door = { ...door, upstream: { ...upstream, accepted: true } };
  }
  if (!door.open) return door;
  door = findOwner(door, atMs, policy);
  const poll = door.polls.find((it) => isNext(door, it) && hasTime(it, atMs, policy));
  if (door.upstream || !poll || atMs < door.notBeforeMs) return door;
  const attempt = door.attempts + 1;
  effects.push({ do: 'send', attempt, poll, timeoutMs: timeLeftMs(poll, atMs, policy) ?? 0 });
  const sent: UpstreamPoll = { attempt, poll, startedAtMs: atMs, accepted: false, aborting: false };
  return { ...door, attempts: attempt, upstream: sent };
}

function findOwner(door: Door, atMs: number, policy: DoorPolicy): Door {
  const { owner } = door;
  if (owner) {
    // A loop whose connection has ended may go on over a connection on which it was held before.
    const mine = door.polls.find((it) => it.poller === owner.poller && hasTime(it, atMs, policy));
    if (owner.connection === null && mine) return ownedBy(door, mine, owner.sinceMs);
    if (door.polls.some((it) => isNext(door, it))) return door;
    if (door.upstream?.poll.poller === owner.poller || atMs < owner.sinceMs + policy.ownerIdleMs) return door;
  }
  // A poll without time left would only delay the others.
  const first = door.polls.find((it) => hasTime(it, atMs, policy));
  return first ? ownedBy(door, first, atMs) : door;
}

/** All other connections on which the same process polls, now or before, belong to further loops. */
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

/** The timeout with which this poll may be sent: its own while it is new, otherwise the rest of it; null: too little is left. */
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

/** When this poll is answered empty unless it was answered before. */
function deadlineMs(door: Door, poll: Poll, policy: DoorPolicy): number {
  const timeoutMs = Math.max(poll.timeoutMs, policy.shortestMs);
  const isOut = door.upstream?.poll.id === poll.id && !door.upstream.aborting;
  // The server may raise timeouts below 3 s to 3 s (if the same offset is repeated within that time).
  const dueMs = isOut ? Math.max(poll.timeoutMs, 3_000) + policy.graceMs : timeoutMs;
  return poll.askedAtMs + dueMs;
}

/** Infinity: it counts as accepted already, or was given up. */
function acceptedAtMs({ accepted, aborting, startedAtMs }: UpstreamPoll, policy: DoorPolicy): number {
  return accepted || aborting ? Number.POSITIVE_INFINITY : startedAtMs + policy.acceptedAfterMs;
}

function nextDueMs(door: Door, atMs: number, policy: DoorPolicy): number | null {
  let next = Number.POSITIVE_INFINITY;
  const at = (dueMs: number) => {
    if (dueMs > atMs) next = Math.min(next, dueMs);
  };
  for (const poll of door.polls) at(deadlineMs(door, poll, policy));
  if (door.upstream) at(acceptedAtMs(door.upstream, policy));
  if (door.polls.length > 0) at(door.notBeforeMs);
  if (door.owner) at(door.owner.sinceMs + policy.ownerIdleMs);
  return Number.isFinite(next) ? next : null;
}

/** An event without its time, which the loop adds. */
export type Untimed<E> = E extends unknown ? Omit<E, 'atMs'> : never;

/** Performs the effects: polls.ts with sockets, test/simulation/door-gateway.ts in the simulation. */
interface DoorEdges {
  now(): number;
  /** Calls `due` at this time, never earlier; returns how to cancel that. */
  timer(atMs: number, due: () => void): () => void;
  /** May send events, which wait until all effects of this step are performed. */
  perform(effect: DoorEffect): void;
  /** Called at every step before its effects are performed. */
  stepped?(event: DoorEvent, after: Door, effects: readonly DoorEffect[]): void;
}

/** Runs the door: handles events one after the other, performs their effects in order, and keeps its one timer. */
export function createDoorLoop(edges: DoorEdges, policy: DoorPolicy = DOOR_POLICY) {
  let door: Door = closedDoor;
  let cancelTimer = () => {};

  const handle = inOrder((event: DoorEvent) => {
    const [after, effects] = stepDoor(door, event, policy);
    door = after;
    edges.stepped?.(event, after, effects);
    for (const effect of effects) edges.perform(effect);
    cancelTimer();
    const { wakeAtMs } = after;
    cancelTimer = wakeAtMs === null ? () => {} : edges.timer(wakeAtMs, () => send({ kind: 'due' }));
  });

  function send(event: Untimed<DoorEvent>): void {
    handle({ ...event, atMs: edges.now() } as DoorEvent);
  }

  return {
    get door() {
      return door;
    },
    send,
    stop: () => cancelTimer(),
  };
}
