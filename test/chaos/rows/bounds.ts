// How long things may take, by the times of the profile.
import type { Scene } from '../scene.ts';

/** The promise: 15.5 s by default, 6.5 s with the fast profile. */
export const takenWithinMs = (scene: Scene): number => scene.timing.ttlMs + 500;

/** A rule that is late by more than this is broken; for what no promise names. */
export const ROOM_MS = 1_000;

/** `at`: the first instruction of the worker that took over. */
export function checkTakeover(scene: Scene, killedAtMs: number, at: number): void {
  const tookMs = at - killedAtMs;
  const limitMs = takenWithinMs(scene);
  scene.figures.takeoverMs = tookMs;
  scene.takes('taken over', tookMs, limitMs);
}
