/**
 * Runs the door (door.ts): one event after the other, their effects in order, one timer. What performs the effects is the
 * caller's: sockets here, the simulation's there.
 */
import {
  closedDoor,
  DOOR_POLICY,
  type Door,
  type DoorEffect,
  type DoorEvent,
  type DoorPolicy,
  stepDoor,
} from './door.ts';

export type Untimed<E> = E extends unknown ? Omit<E, 'atMs'> : never;

export interface DoorEdges {
  /** Elapsed time, ms. */
  now(): number;
  /** Calls `due` at this time, never before it; returns the way to cancel that. */
  timer(atMs: number, due: () => void): () => void;
  /** May send events: they wait until this effect and those beside it are performed. */
  perform(effect: Exclude<DoorEffect, { do: 'wake' }>): void;
  /** Sees every step before its effects are performed. */
  stepped?(before: Door, event: DoorEvent, after: Door, effects: readonly DoorEffect[]): void;
}

export interface DoorLoop {
  readonly door: Door;
  send(event: Untimed<DoorEvent>): void;
  /** No timer comes any more. */
  stop(): void;
}

export function createDoorLoop(edges: DoorEdges, policy: DoorPolicy = DOOR_POLICY): DoorLoop {
  const queue: DoorEvent[] = [];
  let door: Door = closedDoor;
  let busy = false;
  let cancelTimer = () => {};

  function send(event: Untimed<DoorEvent>): void {
    queue.push({ ...event, atMs: edges.now() } as DoorEvent);
    if (busy) return;
    busy = true;
    try {
      for (let next = queue.shift(); next; next = queue.shift()) step(next);
    } finally {
      busy = false;
    }
  }

  function step(event: DoorEvent): void {
    const before = door;
    const [after, effects] = stepDoor(before, event, policy);
    door = after;
    edges.stepped?.(before, event, after, effects);
    for (const effect of effects) {
      if (effect.do === 'wake') wake(effect.atMs);
      else edges.perform(effect);
    }
  }

  function wake(atMs: number | null): void {
    cancelTimer();
    cancelTimer = atMs === null ? () => {} : edges.timer(atMs, () => send({ kind: 'due' }));
  }

  return {
    get door() {
      return door;
    },
    send,
    stop: () => cancelTimer(),
  };
}
