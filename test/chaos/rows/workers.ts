// Workers that do not go when they are asked to; many standbys.
import { setTimeout as pause } from 'node:timers/promises';
import { nowMs } from '../journal.ts';
import { WORKER } from '../machine.ts';
import type { Row } from '../row.ts';
import { checkTakeover } from './bounds.ts';

const stubborn = { worker: [process.execPath, WORKER, 'stubborn'] };

export const stubbornLost: Row = {
  id: '13a',
  fault: 'worker ignores SIGTERM, has a child in a session of its own; way to the engine frozen',
  async run(scene) {
    const { a, b } = await scene.pair({ a: stubborn });
    const cutAtMs = scene.fault();
    a.line.freeze('both');
    const { at } = await scene.workerOf(b, cutAtMs);
    scene.figures.takeoverMs = at - cutAtMs;
    await scene.pollOf(b, at);
    a.line.thaw();
    await pause(2 * scene.timing.renewMs);
  },
};

export const stubbornAsked: Row = {
  id: '13b',
  fault: 'worker ignores SIGTERM, has a child in a session of its own; SIGTERM to the holder',
  async run(scene) {
    const { a, b } = await scene.pair({ a: { ...stubborn, args: ['--stop-timeout', '2s'] } });
    const askedAtMs = scene.fault();
    a.run.signal('SIGTERM');
    const { at } = await scene.workerOf(b, askedAtMs);
    scene.figures.takeoverMs = at - askedAtMs;
    scene.check('released after the kill', at - askedAtMs > 1_900 && at - askedAtMs < 4_000, at - askedAtMs);
    await scene.pollOf(b, at);
  },
};

const manyStandbys = (id: string, standbys: number): Row => ({
  id,
  fault: `SIGKILL of supervisor and worker, ${standbys} standbys`,
  async run(scene) {
    const { a } = await scene.pair({ more: standbys - 1 });
    await pause(2 * scene.timing.renewMs);
    const killedAtMs = scene.fault();
    a.crash();
    const started = async () => {
      for (;;) {
        const line = scene.journal().find(({ ev, at }) => ev === 'start' && at > killedAtMs);
        if (line) return line;
        if (nowMs() - killedAtMs > 2 * scene.timing.ttlMs) throw new Error('nobody took over');
        await pause(10);
      }
    };
    const { at } = await started();
    checkTakeover(scene, killedAtMs, at);
    await pause(2 * scene.timing.renewMs);
    const workers = scene.journal().filter(({ ev, at: when }) => ev === 'start' && when > killedAtMs);
    scene.check(
      'exactly one took over',
      workers.length === 1,
      workers.map(({ name }) => name),
    );
  },
});

export const twoStandbys = manyStandbys('14a', 2);
export const tenStandbys = manyStandbys('14b', 10);
