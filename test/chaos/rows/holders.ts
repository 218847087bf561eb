// Holders that go, stand still, or whose clocks jump; workers that do not go when they are asked to; many standbys.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { until } from '../../support/wait.ts';
import { nowMs } from '../journal.ts';
import { WORKER } from '../machine.ts';
import type { Row } from '../row.ts';
import type { Scene } from '../scene.ts';
import { makeWallClock } from '../wall-clock.ts';
import { noWorkerOf, ROOM_MS, takenOver, takenWithinMs, undisturbed } from './expect.ts';

/** With the start of Node, beside other rows; a standby that nothing wakes needs most of a second and more. */
const HANDOVER_MS = 500;

async function crashed(scene: Scene, what: 'supervisor' | 'all'): Promise<void> {
  const { a, b } = await scene.pair();
  const killedAtMs = scene.fault();
  if (what === 'all') a.crash();
  else a.run.signal('SIGKILL');
  await takenOver(scene, b, killedAtMs);
}

async function stoodStill(scene: Scene, what: 'supervisor' | 'all'): Promise<void> {
  const { a, b } = await scene.pair();
  const frozenAtMs = scene.fault();
  await a.freeze(what);
  await takenOver(scene, b, frozenAtMs, scene.waitMs + ROOM_MS);
  await pause(2 * scene.timing.renewMs);
  const standingBy = a.run.stderr().length;
  a.thaw();
  await scene.backToStandby(a, standingBy);
  await pause(2 * scene.timing.renewMs);
  scene.check('B holds it still', !/lost: /.test(b.run.stderr()));
  noWorkerOf(scene, a, frozenAtMs);
}

const STUBBORN = { worker: [process.execPath, WORKER, 'stubborn'] };

const manyStandbys = (id: string, standbys: number): Row => ({
  id,
  fault: `SIGKILL of supervisor and worker, ${standbys} standbys`,
  async run(scene) {
    const { a } = await scene.pair({ more: standbys - 1 });
    await pause(2 * scene.timing.renewMs);
    const killedAtMs = scene.fault();
    a.crash();
    const started = () => scene.journal().filter(({ ev, at }) => ev === 'start' && at > killedAtMs);
    const { at } = await until('somebody to take over', () => started()[0], {
      ms: 2 * scene.timing.ttlMs,
      everyMs: 10,
    });
    scene.figures.takeoverMs = at - killedAtMs;
    scene.takes('taken over', at - killedAtMs, takenWithinMs(scene));
    await pause(2 * scene.timing.renewMs);
    const names = started().map(({ name }) => name);
    scene.check('exactly one took over', names.length === 1, names);
  },
});

export const HOLDER_ROWS: readonly Row[] = [
  {
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
  },
  { id: '2', fault: 'SIGKILL of supervisor and worker', run: (scene) => crashed(scene, 'all') },
  { id: '2b', fault: 'SIGKILL of the supervisor alone', run: (scene) => crashed(scene, 'supervisor') },
  {
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
  },
  {
    id: '6',
    fault: 'SIGSTOP of the supervisor past the ttl, then SIGCONT',
    workersMayOverlap: true,
    run: (scene) => stoodStill(scene, 'supervisor'),
  },
  {
    id: '7',
    fault: 'SIGSTOP of supervisor and worker past the ttl, then SIGCONT',
    limit: { stale: 1, overlapMs: 1_000 },
    workersMayOverlap: true,
    run: (scene) => stoodStill(scene, 'all'),
  },
  {
    id: '12a',
    fault: "the holder's wall clock set by +1 h, then by −1 h",
    async run(scene) {
      const clock = makeWallClock(scene.dir);
      const { a } = await scene.pair({ a: { env: clock.env } });
      scene.fault();
      for (const ahead of [3_600_000, -3_600_000]) {
        clock.set(ahead);
        await pause(1.1 * scene.timing.ttlMs);
        undisturbed(scene, a, null, ` (${ahead} ms)`);
      }
    },
  },
  {
    id: '12b',
    fault: "the holder's machine was suspended for an hour (its boot clock jumps)",
    async run(scene) {
      const uptime = join(scene.dir, 'uptime');
      writeFileSync(uptime, '5000.00 5000.00\n');
      const a = await scene.machine('A');
      const [file, ...args] = a.ground.enter(['mount', '--bind', uptime, '/proc/uptime']);
      execFileSync(file, args);
      const { b } = await scene.pair({ first: a });
      const wokenAtMs = scene.fault();
      writeFileSync(uptime, '8600.00 8600.00\n');
      await a.run.waitFor(/lost: /, scene.timing.renewMs + ROOM_MS);
      scene.figures.stoppedMs = nowMs() - wokenAtMs;
      await Promise.any([scene.workerOf(a, wokenAtMs), scene.workerOf(b, wokenAtMs)]);
    },
  },
  {
    id: '13a',
    fault: 'worker ignores SIGTERM, has a child in a session of its own; way to the engine frozen',
    async run(scene) {
      const { a, b } = await scene.pair({ a: STUBBORN });
      const cutAtMs = scene.fault();
      a.line.freeze('both');
      await takenOver(scene, b, cutAtMs, null);
      a.line.thaw();
      await pause(2 * scene.timing.renewMs);
    },
  },
  {
    id: '13b',
    fault: 'worker ignores SIGTERM, has a child in a session of its own; SIGTERM to the holder',
    async run(scene) {
      const { a, b } = await scene.pair({ a: { ...STUBBORN, args: ['--stop-timeout', '2s'] } });
      const askedAtMs = scene.fault();
      a.run.signal('SIGTERM');
      const tookMs = (await takenOver(scene, b, askedAtMs, null)) - askedAtMs;
      scene.check('released after the kill', tookMs > 1_900 && tookMs < 4_000, tookMs);
    },
  },
  manyStandbys('14a', 2),
  manyStandbys('14b', 10),
];
