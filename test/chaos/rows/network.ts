// Ways that are cut or frozen.
import { setTimeout as pause } from 'node:timers/promises';
import { type Machine, WORKER } from '../machine.ts';
import type { Row } from '../row.ts';
import type { PairOptions, Scene } from '../scene.ts';
import { ROOM_MS } from './bounds.ts';

/** The holder loses its way to the engine: stopped in time, taken over by B, a standby again when the way is mended. */
async function partition(
  scene: Scene,
  cut: (a: Machine) => unknown,
  mend: (a: Machine) => unknown,
  options: PairOptions = {},
): Promise<void> {
  const { a, b } = await scene.pair(options);
  const cutAtMs = scene.fault();
  await cut(a);
  const { at } = await scene.workerOf(b, cutAtMs);
  await scene.pollOf(b, at);
  scene.figures.takeoverMs = at - cutAtMs;
  const limitMs = scene.waitMs + scene.timing.renewMs + ROOM_MS;
  scene.takes('taken over', scene.figures.takeoverMs, limitMs);
  await pause(scene.timing.renewMs);
  const standingBy = a.run.stderr().length;
  await mend(a);
  await a.run.waitFor(/lost: /);
  await scene.backToStandby(a, standingBy);
  await pause(2 * scene.timing.renewMs);
  scene.check('A lives and stands by', a.run.ended() === null);
  const again = scene
    .journal()
    .filter(({ ev, name, at: when }) => ev === 'start' && name === 'A' && when > cutAtMs);
  scene.check('A starts no worker while B polls', again.length === 0, again.length);
}

export const frozenBothWays: Row = {
  id: '3',
  fault: 'way to the engine frozen both ways',
  run: (scene) =>
    partition(
      scene,
      (a) => a.line.freeze('both'),
      (a) => a.line.thaw(),
    ),
};

export const cableCut: Row = {
  id: '3b',
  fault: 'cable of the holder cut, mended later',
  run: (scene) =>
    partition(
      scene,
      (a) => a.cut(),
      (a) => a.mend(),
    ),
};

/** What the kernel still has to deliver of a poll that was given up must not leave when the way is mended. */
export const cableCutBetweenPolls: Row = {
  id: '3c',
  fault: 'cable of the holder cut between two polls, mended later',
  run: (scene) =>
    partition(
      scene,
      (a) => a.cut(),
      (a) => a.mend(),
      { a: { worker: [process.execPath, WORKER, 'brisk'] } },
    ),
};

export const reset: Row = {
  id: '4',
  fault: 'connections to the engine reset, new ones too',
  run: (scene) =>
    partition(
      scene,
      (a) => {
        a.line.turnAway();
        a.line.cut();
      },
      (a) => a.line.accept(),
    ),
};

export const answersFrozen: Row = {
  id: '5b',
  fault: "the engine's answers frozen for good (writes land)",
  run: (scene) =>
    partition(
      scene,
      (a) => a.line.freeze('down'),
      (a) => a.line.thaw(),
    ),
};

export const oneAnswerLost: Row = {
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
    const starts = scene.journal().filter(({ ev }) => ev === 'start');
    scene.check('the same worker goes on', starts.length === 1, starts.length);
    scene.check('A has not lost it', !/lost: /.test(a.run.stderr()));
    scene.check('B stands by', !/lease\].*ours/.test(b.run.stderr()));
  },
};
