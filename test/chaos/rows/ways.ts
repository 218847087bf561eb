// Ways to the engine that are cut or frozen, and a pooler, which has no sessions.
import { setTimeout as pause } from 'node:timers/promises';
import { openPgbouncer } from '../../support/pgbouncer.ts';
import { nowMs } from '../journal.ts';
import { type Machine, WORKER } from '../machine.ts';
import type { Row } from '../row.ts';
import type { PairOptions } from '../scene.ts';
import { noWorkerOf, ROOM_MS, takenOver, takenWithinMs, undisturbed } from './expect.ts';

/** The holder loses its way to the engine: stopped in time, taken over by B, a standby again when the way is mended. */
const partition = (
  id: string,
  fault: string,
  cut: (a: Machine) => unknown,
  mend: (a: Machine) => unknown,
  options: PairOptions = {},
): Row => ({
  id,
  fault,
  async run(scene) {
    const { a, b } = await scene.pair(options);
    const cutAtMs = scene.fault();
    await cut(a);
    await takenOver(scene, b, cutAtMs, scene.waitMs + scene.timing.renewMs + ROOM_MS);
    await pause(scene.timing.renewMs);
    const standingBy = a.run.stderr().length;
    await mend(a);
    await a.run.waitFor(/lost: /);
    await scene.backToStandby(a, standingBy);
    await pause(2 * scene.timing.renewMs);
    scene.check('A lives and stands by', a.run.ended() === null);
    noWorkerOf(scene, a, cutAtMs);
  },
});

const turnAway = ({ line }: Machine): void => {
  line.turnAway();
  line.cut();
};
const freeze = (what: 'both' | 'down') => (a: Machine) => a.line.freeze(what);
const thaw = (a: Machine) => a.line.thaw();
const cutCable = (a: Machine) => a.cut();
const mendCable = (a: Machine) => a.mend();
const BRISK = { a: { worker: [process.execPath, WORKER, 'brisk'] } };

export const WAY_ROWS: readonly Row[] = [
  partition('3', 'way to the engine frozen both ways', freeze('both'), thaw),
  partition('3b', 'cable of the holder cut, mended later', cutCable, mendCable),
  // What the kernel still has to deliver of a poll that was given up must not leave when the way is mended.
  partition('3c', 'cable of the holder cut between two polls, mended later', cutCable, mendCable, BRISK),
  partition('4', 'connections to the engine reset, new ones too', turnAway, (a) => a.line.accept()),
  {
    id: '5a',
    fault: "the engine's answer to one renewal lost (the write lands)",
    async run(scene) {
      const { a, b } = await scene.pair();
      scene.fault();
      a.line.freeze('down');
      await pause(scene.timing.renewMs + scene.timing.requestMs / 2);
      a.line.strand();
      a.line.thaw();
      await pause(scene.timing.ttlMs);
      undisturbed(scene, a, b);
    },
  },
  partition('5b', "the engine's answers frozen for good (writes land)", freeze('down'), thaw),
  {
    id: '15',
    fault: 'pgbouncer in transaction mode: SIGTERM, then SIGKILL of supervisor and worker',
    engines: ['postgres'],
    async run(scene) {
      const { port } = await openPgbouncer(scene.engine.port);
      const { a, b } = await scene.pair({ port });
      const askedAtMs = scene.fault();
      a.run.signal('SIGTERM');
      const { at } = await scene.workerOf(b, askedAtMs);
      scene.figures.handoverMs = at - askedAtMs;
      // Nothing wakes a standby here: it looks.
      const looksMs = 1.2 * scene.timing.pollMs;
      scene.takes('hand-over', scene.figures.handoverMs, looksMs + ROOM_MS);
      await a.run.exit();
      await a.start();
      await a.run.waitFor(/standing by/);
      await scene.served(5);
      const killedAtMs = nowMs();
      b.crash();
      await takenOver(scene, a, killedAtMs, takenWithinMs(scene) + looksMs);
    },
  },
];
