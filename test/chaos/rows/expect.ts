// What rows expect to come of their faults, and how long it may take by the times of the profile.
import type { Machine } from '../machine.ts';
import type { Scene } from '../scene.ts';

/** A rule that is late by more than this is broken; for what no promise names. */
export const ROOM_MS = 1_000;

/** The promise: 15.5 s by default, 6.5 s with the fast profile. */
export const takenWithinMs = (scene: Scene): number => scene.timing.ttlMs + 500;

/** A worker starts on this machine and polls; gives its first instruction's time. */
export async function takenOver(
  scene: Scene,
  by: Machine,
  sinceMs: number,
  limitMs: number | null = takenWithinMs(scene),
  waitMs?: number,
): Promise<number> {
  const { at } = await scene.workerOf(by, sinceMs, waitMs);
  scene.figures.takeoverMs = at - sinceMs;
  if (limitMs !== null) scene.takes('taken over', at - sinceMs, limitMs);
  await scene.pollOf(by, at);
  return at;
}

/** Nothing has come of the fault: one worker all the while, the same one that holds the lease. */
export function undisturbed(scene: Scene, a: Machine, b: Machine | null, when = ''): void {
  const starts = scene.journal().filter(({ ev }) => ev === 'start');
  scene.check(`the same worker goes on${when}`, starts.length === 1, starts.length);
  scene.check('A has not lost it', !/lost: /.test(a.run.stderr()));
  if (b) scene.check('B stands by', !/lease\].*ours/.test(b.run.stderr()));
}

export function noPollAfterStop(scene: Scene, sinceMs: number, untilMs: number): void {
  const late = scene.polls().filter(({ fromMs }) => fromMs > sinceMs + scene.stopMs && fromMs < untilMs);
  scene.check('no poll after the stop point', late.length === 0, late.length);
}

export function noWorkerOf(scene: Scene, machine: Machine, sinceMs: number): void {
  const again = scene
    .journal()
    .filter(({ ev, name, at }) => ev === 'start' && name === machine.name && at > sinceMs);
  scene.check(`${machine.name} starts no worker while another polls`, again.length === 0, again.length);
}
