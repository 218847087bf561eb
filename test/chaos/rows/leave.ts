// Holders that go: asked to, or not.
import { nowMs } from '../journal.ts';
import type { Row } from '../row.ts';
import { checkTakeover } from './bounds.ts';

/** The promise is 100 ms, which `handover` measures on a quiet machine; a standby that nothing wakes needs most of a second and more. */
const HANDOVER_MS = 500;

export const sigterm: Row = {
  id: '1',
  fault: 'SIGTERM to the holder',
  async run(scene) {
    const { a, b } = await scene.pair();
    const askedAtMs = scene.fault();
    a.run.signal('SIGTERM');
    const { at } = await scene.workerOf(b, askedAtMs);
    const end = scene.journal().find(({ ev, name }) => ev === 'end' && name === 'A');
    const { code } = await a.run.exit();
    scene.figures.handoverMs = at - (end?.at ?? askedAtMs);
    scene.takes('hand-over', scene.figures.handoverMs, HANDOVER_MS);
    scene.check('the holder ends with 0', code === 0, code);
    await scene.pollOf(b, at);
  },
};

export const sigkill: Row = {
  id: '2',
  fault: 'SIGKILL of supervisor and worker',
  async run(scene) {
    const { a, b } = await scene.pair();
    const killedAtMs = scene.fault();
    a.crash();
    const { at } = await scene.workerOf(b, killedAtMs);
    checkTakeover(scene, killedAtMs, at);
    await scene.pollOf(b, at);
  },
};

export const sigkillSupervisor: Row = {
  id: '2b',
  fault: 'SIGKILL of the supervisor alone',
  async run(scene) {
    const { a, b } = await scene.pair();
    const killedAtMs = scene.fault();
    a.run.signal('SIGKILL');
    const { at } = await scene.workerOf(b, killedAtMs);
    checkTakeover(scene, killedAtMs, at);
    await scene.pollOf(b, at);
  },
};

export const restart: Row = {
  id: '2c',
  fault: 'SIGKILL of the supervisor, started again on the same machine',
  async run(scene) {
    const { a } = await scene.pair();
    const killedAtMs = scene.fault();
    a.run.signal('SIGKILL');
    await a.run.exit();
    const startedAtMs = nowMs();
    await a.start();
    const { at } = await scene.workerOf(a, startedAtMs);
    scene.figures.takeoverMs = at - killedAtMs;
    scene.takes('taken back', at - startedAtMs, 2_000);
    await scene.pollOf(a, at);
  },
};
