/**
 * The judge of the door: keeps its own books of polls, flights and owners from what goes in and comes out, and holds every step
 * against what must hold. Takes nothing from the door's own state.
 */
import type { Door, DoorEffect, DoorEvent, DoorPolicy, Poll } from '../../src/gateway/door.ts';
import type { Clock } from './clock.ts';
import type { Ask, SimProcess } from './door-worker.ts';
import type { Story } from './story.ts';

export type DoorJudge = ReturnType<typeof createDoorJudge>;

interface OpenPoll {
  readonly poll: Poll;
  readonly ask: Ask;
}

interface OwnerBook {
  readonly poller: number | null;
  /** Null where the system does not tell. */
  readonly process: SimProcess | null;
  /** The loop that polls: the connection of its last flight; null before its first. */
  active: number | null;
  /** When that one's last poll ended. */
  endedMs: number;
  /** In waking time of the supervisor. */
  endedWakingMs: number;
}

/** Timers may come late, and times are rounded. */
const LATE_MS = 25;
/** The end of a connection is heard of so late at most. */
const NOTICED_WITHIN_MS = 60;
const LONGEST_WAIT_MS = { conflict: 6_000, webhook: 12_000, outage: 6_000 } as const;
const SHORTEST_WAIT_MS = { conflict: 800, webhook: 1_600, outage: 200 } as const;
/** More calls of the timer for nothing in a second than this: somebody spins. */
const DUES_MAX = 6;
/** A timer that is late by less is no sign that the supervisor was stopped. */
const STOP_UNSEEN_MS = 100;
/** From the end of a stop until all that came meanwhile is read, and more. */
const READ_WITHIN_MS = 1_000;

export function createDoorJudge(story: Story, clock: Clock, policy: DoorPolicy, pidsKnown: boolean) {
  const { fail, count } = story;
  const open = new Map<number, OpenPoll>();
  const answeredPolls = new Set<number>();
  const openConnections = new Set<number>();
  /** Connections that were made to wait for another one. */
  const heldOnce = new Set<number>();
  let isOpen = false;
  let owner: OwnerBook | null = null;
  let flight: { readonly attempt: number; readonly poll: Poll; aborted: boolean } | null = null;
  /** Of the present event, if that is a result. */
  let down: { readonly attempt: number; readonly poll: Poll } | null = null;
  let mayFlyMs = 0;
  let mustFlyMs = 0;
  let sleptMs = 0;
  let stops = 0;
  let wokenAtMs: number | null = null;
  let starvingSinceMs: number | null = null;
  /** As the door names it; undefined: none. */
  let seenOwner: number | null | undefined;
  let dues = { second: 0, count: 0 };

  const wakingMs = () => clock.now() - sleptMs;
  const show = ({ id, poller, connection }: Poll) => `poll ${id} (${poller}, connection ${connection})`;

  function latestMs({ id, askedAtMs, timeoutMs }: Poll): number {
    return flight?.poll.id === id
      ? askedAtMs + Math.max(timeoutMs, 3_000) + policy.graceMs
      : askedAtMs + Math.max(timeoutMs, policy.shortestMs);
  }

  /** There is enough of its time left to ask for. */
  function canFly({ askedAtMs, timeoutMs }: Poll): boolean {
    const nowMs = clock.now();
    return nowMs - askedAtMs < Math.min(1_000, policy.graceMs) || askedAtMs + timeoutMs - nowMs >= 1_000;
  }

  /** Every loop of its process keeps one connection: then connections tell them apart. */
  function keepsConnections(poll: Poll): boolean {
    const it = open.get(poll.id)!.ask.process;
    return pidsKnown && it.habits.every(({ connections, abandons }) => connections === 'own' && !abandons);
  }

  function isOneLoop({ process }: OwnerBook): boolean {
    return process !== null && process.habits.length === 1 && !process.habits[0]!.abandons;
  }

  function ended(poll: Poll, retried = false): void {
    open.delete(poll.id);
    if (owner?.poller !== poll.poller) return;
    if (!retried && owner.active !== null && owner.active !== poll.connection && !isOneLoop(owner)) return;
    owner.endedMs = clock.now();
    owner.endedWakingMs = wakingMs();
  }

  function answered(poll: Poll, how: string): boolean {
    if (answeredPolls.has(poll.id)) fail(`${show(poll)} is answered twice (${how})`);
    else if (!open.has(poll.id)) fail(`${show(poll)} is answered (${how}) though it is not open`);
    const was = open.has(poll.id);
    answeredPolls.add(poll.id);
    if (flight?.poll.id === poll.id && how !== 'pass' && !flight.aborted)
      fail(`${show(poll)} is answered ${how} while its flight goes on`);
    ended(poll, how === 'empty: retrying');
    return was;
  }

  function activeIsOpen(it: OwnerBook): boolean {
    return [...open.values()].some(
      ({ poll }) => poll.poller === it.poller && (poll.connection === it.active || isOneLoop(it)),
    );
  }

  function isIdle(it: OwnerBook): boolean {
    if (activeIsOpen(it)) return false;
    // What came in a stop of the supervisor has to be read before anybody is called idle.
    const idleMs = clock.now() - it.endedMs;
    const stopSeen = clock.now() === wokenAtMs && idleMs >= policy.ownerIdleMs + STOP_UNSEEN_MS;
    return (stopSeen ? wakingMs() - it.endedWakingMs : idleMs) >= policy.ownerIdleMs;
  }

  function tookOver(poller: number | null): void {
    const first = [...open.values()].find(({ poll }) => poll.poller === poller);
    if (!first) return void fail(`${poller} takes over without a poll`);
    if (owner && owner.poller !== poller) {
      count('takeovers');
      const dead = owner.process !== null && !owner.process.alive;
      if (!dead && !isIdle(owner)) fail(`${poller} takes over from ${owner.poller}, which polls`);
    }
    const process = pidsKnown ? first.ask.process : null;
    owner = { poller, process, active: null, endedMs: clock.now(), endedWakingMs: wakingMs() };
    heldOnce.clear();
    for (const { poll } of open.values()) if (poll.poller === poller) heldOnce.add(poll.connection);
  }

  function seeOwner(door: Door): void {
    const poller = door.owner?.poller;
    if (poller !== undefined && poller !== seenOwner) tookOver(poller);
    seenOwner = poller;
  }

  function flew(effect: Extract<DoorEffect, { do: 'send' }>): void {
    const { attempt, poll, timeoutMs } = effect;
    const nowMs = clock.now();
    count('flights');
    if (flight) fail(`flight ${attempt} while flight ${flight.attempt} is open`);
    if (!isOpen) fail(`flight ${attempt} through a shut door`);
    flight = { attempt, poll, aborted: false };
    if (!open.has(poll.id)) return void fail(`flight ${attempt} for ${show(poll)}, which is not open`);
    if (nowMs < mayFlyMs) fail(`flight ${attempt} ${mayFlyMs - nowMs} ms before the pause is over`);
    if (timeoutMs !== poll.timeoutMs) {
      const leftMs = poll.askedAtMs + poll.timeoutMs - nowMs;
      if (timeoutMs < 0 || timeoutMs % 1_000 !== 0 || timeoutMs > Math.max(0, leftMs))
        fail(`flight ${attempt} asks for ${timeoutMs} ms of ${leftMs}`);
    } else if (nowMs - poll.askedAtMs > policy.graceMs)
      fail(`flight ${attempt} asks for time that has passed`);
    if (!owner || owner.poller !== poll.poller)
      return void fail(`flight ${attempt} for ${show(poll)}, not the owner`);
    const other = owner.active !== null && owner.active !== poll.connection;
    if (other && openConnections.has(owner.active!) && heldOnce.has(poll.connection)) {
      if (keepsConnections(poll) && !isIdle(owner))
        fail(`flight ${attempt} for ${show(poll)}, held beside connection ${owner.active}`);
    }
    moved(owner, poll.connection);
  }

  /** A new connection, and none but held ones of its process has a poll open. */
  function mayHaveMoved(it: OwnerBook, connection: number): void {
    if (it.active === null || !openConnections.has(it.active) || heldOnce.has(connection)) return;
    const mine = [...open.values()].map(({ poll }) => poll).filter(({ poller }) => poller === it.poller);
    if (mine.every((poll) => heldOnce.has(poll.connection) && poll.connection !== it.active))
      moved(it, connection);
  }

  /** Between two polls nobody can tell another connection of one loop from another loop: then either may be the loop's. */
  function moved(it: OwnerBook, connection: number): void {
    if (it.active !== null && it.active !== connection) heldOnce.delete(it.active);
    it.active = connection;
  }

  function pollEnded(event: Extract<DoorEvent, { kind: 'ended' }>): void {
    if (flight?.attempt !== event.attempt) return void fail(`flight ${event.attempt} lands, unknown`);
    const { result } = event;
    count(result.kind);
    if (result.kind === 'flood') mayFlyMs = mustFlyMs = clock.now() + Math.max(1_000, result.retryAfterMs);
    else if (result.kind !== 'updates' && result.kind !== 'verdict' && !flight.aborted) {
      mayFlyMs = clock.now() + SHORTEST_WAIT_MS[result.kind];
      mustFlyMs = clock.now() + LONGEST_WAIT_MS[result.kind];
    }
    down = flight;
    flight = null;
  }

  /** What happened, before the door has decided. */
  function happened(event: DoorEvent): void {
    switch (event.kind) {
      case 'closed':
        openConnections.delete(event.connection);
        for (const { poll } of [...open.values()]) {
          if (poll.connection !== event.connection) continue;
          count('closed with an open poll');
          ended(poll);
        }
        return;
      case 'ended':
        return void pollEnded(event);
      case 'cleared':
        mayFlyMs = 0;
        mustFlyMs = Math.min(mustFlyMs, clock.now());
        return;
      case 'gone':
        if (owner?.poller === event.poller) owner = null;
        return;
      case 'opened':
        isOpen = true;
        if (pidsKnown && owner && !owner.process?.alive) owner = null;
        return;
      case 'shut':
        isOpen = false;
        return;
      case 'due': {
        const second = Math.floor(clock.now() / 1_000);
        if (dues.second !== second) dues = { second, count: 0 };
      }
    }
  }

  function decided(event: DoorEvent, effect: DoorEffect): void {
    switch (effect.do) {
      case 'send':
        return void flew(effect);
      case 'abort':
        if (flight?.attempt !== effect.attempt || flight.aborted) fail(`abort of flight ${effect.attempt}`);
        if (flight) flight.aborted = true;
        return;
      case 'pass': {
        if (down?.attempt !== effect.attempt || down.poll.id !== effect.poll.id)
          fail(`${show(effect.poll)} is given what is not its own`);
        if (owner?.poller !== effect.poll.poller) fail(`${show(effect.poll)} is held and given an answer`);
        answered(effect.poll, 'pass');
        return;
      }
      case 'empty': {
        const { poll, why } = effect;
        count(`empty: ${why}`);
        if (why === 'held') heldOnce.add(poll.connection);
        // It was the loop that polls, although nothing could fly for it.
        if (why === 'retrying') heldOnce.delete(poll.connection);
        const sooner = clock.now() < poll.askedAtMs + Math.max(poll.timeoutMs, policy.shortestMs);
        const asked = ['shut', 'released', 'opened', 'gone'].includes(event.kind);
        if (sooner && !asked) fail(`${show(poll)} is answered empty (${why}) before its time`);
        answered(poll, `empty: ${why}`);
        return;
      }
      case 'held':
        count('held');
        if (!open.has(effect.poll.id)) fail(`${show(effect.poll)} is held and not open`);
        heldOnce.add(effect.poll.connection);
    }
  }

  /** Why a poll ought to be on its way now; null: none ought. */
  function starving(): string | null {
    if (!isOpen || flight || clock.now() <= mustFlyMs) return null;
    const able = [...open.values()].filter(({ poll }) => canFly(poll));
    if (able.length === 0) return null;
    if (!owner) return 'nobody owns the door';
    const { poller } = owner;
    if (isOneLoop(owner) && able.some(({ poll }) => poll.poller === poller)) return `${poller} polls`;
    if (activeIsOpen(owner)) return null;
    const longMs = policy.ownerIdleMs + stops * (READ_WITHIN_MS + STOP_UNSEEN_MS);
    return wakingMs() - owner.endedWakingMs > longMs ? `${poller} has stopped polling` : null;
  }

  function lookForStarvation(): void {
    const why = starving();
    if (why === null) starvingSinceMs = null;
    else starvingSinceMs ??= clock.now();
    if (starvingSinceMs !== null && clock.now() - starvingSinceMs > NOTICED_WITHIN_MS)
      fail(`${why}, and none flies of ${[...open.values()].map(({ poll }) => show(poll)).join(', ')}`);
  }

  return {
    asked(poll: Poll, ask: Ask) {
      count('polls');
      if (owner?.poller === poll.poller) mayHaveMoved(owner, poll.connection);
      open.set(poll.id, { poll, ask });
      openConnections.add(poll.connection);
    },
    stepped(event: DoorEvent, door: Door, effects: readonly DoorEffect[]) {
      const { wakeAtMs } = door;
      down = null;
      happened(event);
      for (const effect of effects) {
        // What is answered shows whether the owner still polls, and only an owner may fly.
        if (effect.do === 'send') seeOwner(door);
        decided(event, effect);
      }
      seeOwner(door);
      if (event.kind === 'due' && effects.length === 0 && ++dues.count === DUES_MAX)
        fail(`${DUES_MAX} calls of the timer for nothing within a second`);
      if (wakeAtMs !== null && wakeAtMs <= event.atMs) fail(`the timer is wanted in the past`);
      if ((event.kind === 'shut' || event.kind === 'released') && open.size > 0)
        fail(`${event.kind}, and ${open.size} polls stay open`);
    },
    /** After every event of the world. */
    always(asleep: boolean) {
      if (asleep) {
        starvingSinceMs = null;
        return;
      }
      for (const { poll } of open.values()) {
        const lateMs = clock.now() - latestMs(poll);
        if (lateMs <= LATE_MS) continue;
        fail(`${show(poll)} is not answered ${lateMs} ms after its time`);
        open.delete(poll.id);
      }
      lookForStarvation();
    },
    /** The supervisor was stopped for so long. */
    slept(ms: number) {
      sleptMs += ms;
      stops += 1;
      wokenAtMs = clock.now();
    },
  };
}
