// Engines that stand still, go away, forget.
import { setTimeout as pause } from 'node:timers/promises';
import type { Row } from '../row.ts';
import { ROOM_MS } from './bounds.ts';

/** In proportion to the profile: 5 s and 25 s of the default one. */
const ofTtl = (ttlMs: number, ms: number) => (ttlMs * ms) / 15_000;

export const shortFreeze: Row = {
  id: '8a',
  fault: 'engine frozen for a third of the ttl',
  async run(scene) {
    const { a, b } = await scene.pair();
    const before = await scene.workerOf(a);
    scene.fault();
    await scene.engine.pause();
    await pause(ofTtl(scene.timing.ttlMs, 5_000));
    scene.engine.resume();
    await pause(scene.timing.ttlMs);
    const starts = scene.journal().filter(({ ev }) => ev === 'start');
    scene.check(
      'the same worker goes on',
      starts.length === 1 && starts[0]?.pid === before.pid,
      starts.length,
    );
    scene.check('B stands by', !/lease\].*ours/.test(b.run.stderr()));
  },
};

export const longFreeze: Row = {
  id: '8b',
  fault: 'engine frozen for 1⅔ ttl',
  async run(scene) {
    const { a, b } = await scene.pair();
    const frozenAtMs = scene.fault();
    await scene.engine.pause();
    await pause(ofTtl(scene.timing.ttlMs, 25_000));
    const late = scene.polls().filter(({ fromMs }) => fromMs > frozenAtMs + scene.stopMs);
    scene.check('no poll after the stop point', late.length === 0, late.length);
    const stopped = scene.journal().find(({ ev, name }) => ev === 'asked' && name === 'A');
    scene.check('the worker was stopped', stopped !== undefined);
    scene.engine.resume();
    const thawedAtMs = performance.now();
    await Promise.race([
      scene.pollOf(a, frozenAtMs + scene.stopMs),
      scene.pollOf(b, frozenAtMs + scene.stopMs),
    ]);
    scene.figures.resumedMs = performance.now() - thawedAtMs;
    const limitMs = scene.waitMs + ROOM_MS;
    scene.takes('polls again', scene.figures.resumedMs, limitMs);
  },
};
