// Supervisors that stand still past their lease and wake up.
import { setTimeout as pause } from 'node:timers/promises';
import type { Row } from '../row.ts';
import type { Scene } from '../scene.ts';
import { ROOM_MS } from './bounds.ts';

async function paused(scene: Scene, what: 'supervisor' | 'all'): Promise<void> {
  const { a, b } = await scene.pair();
  const frozenAtMs = scene.fault();
  await a.freeze(what);
  const { at } = await scene.workerOf(b, frozenAtMs);
  await scene.pollOf(b, at);
  scene.figures.takeoverMs = at - frozenAtMs;
  const limitMs = scene.waitMs + ROOM_MS;
  scene.takes('taken over', scene.figures.takeoverMs, limitMs);
  await pause(2 * scene.timing.renewMs);
  const standingBy = a.run.stderr().length;
  a.thaw();
  await scene.backToStandby(a, standingBy);
  await pause(2 * scene.timing.renewMs);
  scene.check('B holds it still', !/lost: /.test(b.run.stderr()));
  const again = scene
    .journal()
    .filter(({ ev, name, at: when }) => ev === 'start' && name === 'A' && when > frozenAtMs);
  scene.check('A starts no worker while B polls', again.length === 0, again.length);
}

export const supervisor: Row = {
  id: '6',
  fault: 'SIGSTOP of the supervisor past the ttl, then SIGCONT',
  workersMayOverlap: true,
  run: (scene) => paused(scene, 'supervisor'),
};

export const machine: Row = {
  id: '7',
  fault: 'SIGSTOP of supervisor and worker past the ttl, then SIGCONT',
  limit: { stale: 1, overlapMs: 1_000 },
  workersMayOverlap: true,
  run: (scene) => paused(scene, 'all'),
};
